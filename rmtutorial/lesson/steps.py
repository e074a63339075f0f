"""The weights of a model at each step of a short training, kept small, to score a text at all of them afterwards."""

import torch


class Steps:
    """A model's weights before training and after each step that is kept.

    What is kept of a step is how far each weight has moved since the start, in float16: half the memory of the
    weights, and far finer for such small numbers than the weights themselves in 16 bits would be.
    """

    def __init__(self, model):
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.start = [p.detach().clone() for p in self.weights]
        self.moves = []  # of each kept step, one tensor a weight

    def keep(self):
        """Keep the weights as they are now."""
        self.moves.append([(p.detach() - start).half() for p, start in zip(self.weights, self.start)])

    @torch.no_grad()
    def at_each(self, function):
        """`function()` with the weights of the start, then of each kept step: a list. The weights come back after it."""
        now = [p.detach().clone() for p in self.weights]
        results = []
        try:
            for moves in (None, *self.moves):
                for i, p in enumerate(self.weights):
                    p.copy_(self.start[i] if moves is None else self.start[i] + moves[i])
                results.append(function())
        finally:
            for p, value in zip(self.weights, now):
                p.copy_(value)
        return results


@torch.no_grad()
def margins(model, pairs):
    """r(chosen) - r(rejected) of each pair, floats in logits, by a model that takes a prompt and an answer."""
    return [(model(p.prompt, p.chosen) - model(p.prompt, p.rejected)).item() for p in pairs]
