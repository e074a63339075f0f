"""What judges of several makes say of answers that were kept, for grpo_runs.py and grpo_others.py.

reward      the reward model that was followed; its scores come with the answers
gold        another one of the same make, trained on every bundled row (see pool.py)
panda       a judge of another make: 30 layers, another pooling, a head on human labels; left out where these are absent
likelihood  the untrained language model: nats a token of the words, without the end mark
words       how many words
"""

import json

import torch
from pool import gold, panda

from rmtutorial.backbones import load_sft
from rmtutorial.encoding import Encoded
from rmtutorial.files import write_text
from rmtutorial.lesson.collapse import distinct_words, openers
from rmtutorial.policy import Policy
from rmtutorial.reward_functions import rewards_of

TEXTS = 6  # of every so many prompts the answers themselves are recorded


def judged(evaluations, prompts, folder):
    """{judge: (K, P, G)} of K evaluations, rows with `rewards` and `answers`; each judge is asked once, then kept."""
    found = {"reward": torch.tensor([row["rewards"] for row in evaluations])}
    for name, load in {"gold": gold, "panda": panda, "likelihood": likelihood, "words": words}.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            judge = load()
            if judge is None:
                continue
            scores = [judge_of(judge)(prompts, row["answers"]) for row in evaluations]
            write_text(path, json.dumps(torch.stack(scores).tolist()))
            print(f"{folder.name}: judged by {name}", flush=True)
        found[name] = torch.tensor(json.loads(path.read_text(encoding="utf-8")))
    return found


def judge_of(judge):
    """A function (prompts, P lists of G answers) -> (P, G), of a reward model or of a function that is one already."""
    return judge if not isinstance(judge, torch.nn.Module) else lambda *texts: rewards_of(judge, *texts)


def likelihood():
    policy = Policy(*load_sft())

    def without_end(answer):
        """An answer that was cut has no end mark, so none is asked for; of one without words the end mark is all."""
        ids, end = answer.ids, policy.tokenizer.eos_token_id
        stop = ids.index(end, answer.start) if end in ids[answer.start :] else len(ids)
        return Encoded(ids[: max(stop, answer.start + 1)], answer.start)

    def judge(prompts, answers):
        encoded = [[without_end(a) for a in group] for group in policy.encode_rows(list(zip(prompts, answers)))]
        tokens = torch.tensor([[len(a.ids) - a.start for a in group] for group in encoded])
        return policy.logprobs_encoded(encoded) / tokens

    return judge


def words():
    return lambda prompts, answers: torch.tensor([[float(len(text.split())) for text in group] for group in answers])


def record_of(evaluations, prompts, folder):
    """What is kept of K evaluations: their measures, the judges' scores, and some of the texts."""
    rows = []
    for row in evaluations:
        texts = [text for group in row["answers"] for text in group]
        share, opener = openers(texts)
        kept = {key: value for key, value in row.items() if key not in ("rewards", "answers")}
        rows.append({**kept, "openers": share, "opener": opener, "distinct": distinct_words(texts)})
    return {
        "prompts": prompts,
        "evaluations": rows,
        "scores": {name: scores.tolist() for name, scores in judged(evaluations, prompts, folder).items()},
        "texts": {str(p): [row["answers"][p] for row in evaluations] for p in range(0, len(prompts), TEXTS)},
    }
