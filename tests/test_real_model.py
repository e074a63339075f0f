"""The claims that matter, once more on the embedded model itself (its first layers only, to be quick)."""

import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rmtutorial.backbones import load_sft
from rmtutorial.evaluation import evaluate
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.preferences import load_preferences
from rmtutorial.reward_model import RewardModel

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def rm():
    return RewardModel.from_sft(*load_sft(layers=4), layers=4)


@pytest.fixture(scope="module")
def held_out():
    return load_preferences(split="test")[:6]


def with_random_head(rm):
    torch.manual_seed(0)
    torch.nn.init.normal_(rm.reward_head.weight, std=1 / math.sqrt(rm.backbone.config.hidden_size + 1))
    return rm


def gradients(rm, loss):
    rm.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in rm.named_parameters()}


def test_the_first_loss_is_ln_2(rm, held_out):
    """R = 0 for every answer, so -log sigmoid(0) = ln 2 for every pair."""
    torch.nn.init.zeros_(rm.reward_head.weight)
    report = evaluate(rm, held_out)
    assert report.loss == pytest.approx(math.log(2), abs=1e-6) and report.accuracy == 0.5


def test_shared_prompt_equals_two_plain_forwards(rm, held_out):
    """[prompt | chosen | rejected] with the tree mask: rewards and all gradients of two separate texts, to 1e-5."""
    from rmtutorial.encoding import encode_pairs

    with_random_head(rm)
    encoded = encode_pairs(rm.tokenizer, held_out, rm.max_length)
    together = rm(rm.batch(encoded))  # (6, 2)
    chosen, rejected = (torch.cat([rm(rm.batch([[both[k]]])) for both in encoded])[:, 0] for k in (0, 1))
    assert torch.allclose(together, torch.stack([chosen, rejected], dim=1), atol=1e-5)
    shared = gradients(rm, bradley_terry_loss(*together.unbind(1)))
    plain = gradients(rm, bradley_terry_loss(chosen, rejected))
    assert max((shared[name] - plain[name]).abs().max() for name in plain) < 1e-5


def test_transformers_alone_gives_the_same_scores(rm, held_out, tmp_path):
    """The saved folder in AutoModelForSequenceClassification, text by the saved chat template, padded on the right."""
    with_random_head(rm).save_pretrained(tmp_path / "rm")
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "rm")
    chats = [
        [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.chosen}] for pair in held_out
    ]
    inputs = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        scores = classifier(**inputs).logits[:, 0]
    assert torch.allclose(scores, rm.score_pairs(held_out)[0], atol=1e-5)


def test_the_embedded_tokenizer_ends_and_pads_with_im_end():
    """Older transformers read the BOS token for EOS from the model's file; scores would then be of another token."""
    _, tokenizer = load_sft(layers=1)
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>" and tokenizer.bos_token == "<|im_start|>"


def test_the_examination_of_a_real_folder_ends_without_a_failure(rm, tmp_path, monkeypatch):
    """Four layers and a random head, saved as trained ones are: what reads the folder is in order; what it knows is not asked."""
    from rmtutorial import examine_rows
    from rmtutorial.examine import examine

    for name, few in (("EASY", 8), ("MIRRORS", 4), ("FEW", 4), ("SLICE", 4)):
        monkeypatch.setattr(examine_rows, name, few)
    with_random_head(rm).save_pretrained(tmp_path / "rm")
    found = examine(tmp_path / "rm")
    for name in ("weights", "spread", "repeat", "batch", "padded right", "padded left", "padded far", "under mask",
                 "pad token", "saved", "maximum length", "second bos", "system turn", "position"):  # fmt: skip
        assert found[name].status == "ok", found[name]
