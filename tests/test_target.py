"""The target that a machine checks: one short sentence that ends."""

import torch

from conftest import tiny_sft
from rmtutorial.lesson import target
from rmtutorial.sampling import sample


class Fixed:
    """A tokenizer and samples of given texts."""

    def __init__(self, texts, finished):
        self.given, self.finished = texts, torch.tensor(finished)

    def texts(self, tokenizer):
        return self.given


def test_an_answer_passes_if_it_is_one_short_sentence_and_has_ended():
    """Cut, two sentences, none, sixteen words: no."""
    texts = [["It is blue.", "It is blue.", "It is. Blue."], ["", "Blue", " ".join(["so"] * 16) + "."]]
    samples = Fixed(texts, [[True, False, True], [True, True, True]])
    assert target.passed(samples, None).tolist() == [[True, False, False], [False, False, False]]


def test_own_pairs_have_the_tokens_that_were_written():
    """One pair for each prompt with both kinds; no end mark is added to an answer that was cut."""
    lm, tokenizer = tiny_sft("llama")
    samples = sample(lm, tokenizer, ["Why is the sky blue?", "Who sat?"], group=6, max_new_tokens=12, temperature=4.0)
    ok = torch.zeros(2, 6, dtype=torch.bool)
    ok[0, 2] = True
    which, encoded = target.own_pairs(samples, ok)
    assert which == [(0, 2, 0)] and len(encoded) == 1
    for answer, k in zip(encoded[0], (2, 0)):
        assert answer.ids[answer.start :] == samples.ids[0, k, : samples.lengths[0, k]].tolist()


def test_the_interval_is_by_prompt():
    """Four prompts that always pass and four that never do: eight answers each make the rate no surer than one."""
    ok = torch.tensor([[True]] * 4 + [[False]] * 4)
    assert target.pass_rate(ok) == target.pass_rate(ok.expand(8, 8))
    rate, low, high = target.pass_rate(ok)
    assert rate == 0.5 and low < 0.25 and high > 0.75


def test_prompts_are_distinct_held_out_and_free_of_other_forms():
    """At least 64 to judge on, none of which is among those to learn from."""
    train, judged = target.prompts("train"), target.prompts("test", "ood")
    assert len(judged) >= 64 and len(set(train + judged)) == len(train) + len(judged)
    assert all(prompt.endswith(target.INSTRUCTION) for prompt in train + judged)
