"""The training loop: against a loop written by hand, against itself stopped half-way, and against what breaks runs."""

import json
import math
import shutil
import signal
import threading
import warnings
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from conftest import tiny_sft
from rmtutorial.checkpoints import load_checkpoint
from rmtutorial.features import pooled_features
from rmtutorial.history import History
from rmtutorial.preferences import PreferencePair
from rmtutorial.probe import fit_head
from rmtutorial.recipe import TrainConfig, batch_order, freeze, lr_factor
from rmtutorial.reward_model import RewardModel
from rmtutorial.training import train_reward_model


def reward_model(sft, **settings):
    """All four layers, and a head that is not zero: with a zero head the backbone would get no gradient."""
    rm = RewardModel.from_sft(*sft, **{"layers": None, **settings})
    torch.nn.init.normal_(rm.reward_head.weight, generator=torch.Generator().manual_seed(1))
    return rm


@pytest.fixture
def pairs(pairs):
    """Each a set of its own, so that three of six make a batch."""
    return [replace(pair, group=pair.id) for pair in pairs]


@pytest.fixture
def config(tmp_path):
    """Two steps an epoch of three of the six pairs, three epochs: six steps."""
    return TrainConfig(epochs=3, batch_size=3, lr=1e-3, train_top=2, checkpoint_dir=str(tmp_path / "checkpoint"))


def same_weights(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def largest_difference(left, right):
    return max((p - q).abs().max().item() for p, q in zip(left.parameters(), right.parameters()))


def in_forward(rm, number, action):
    """Call `action` in the forward pass with this number, which is the step as long as a batch fits into one."""
    seen = []

    def count(*_):
        seen.append(1)
        if len(seen) == number:
            action()

    rm.backbone.register_forward_hook(count)


def die():
    raise RuntimeError("killed")


def without_seconds(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history.steps]


# It learns, and it does what the formulas say.


def color_pairs(things):
    """The answer that says blue is the better one, whatever the thing and wherever the word stands."""
    early = [PreferencePair(f"Why the {thing}?", f"Blue is the {thing}.", f"Red is the {thing}.") for thing in things]
    late = [PreferencePair(f"See the {thing}?", f"The {thing} is blue.", f"The {thing} is red.") for thing in things]
    return early + late


def test_loss_falls_from_ln2_and_held_out_accuracy_rises(sft):
    """The zero head gives sigma(0) = 1/2 to every pair; a rule that holds for other things too must be found."""
    rm = RewardModel.from_sft(*sft, layers=None)
    config = TrainConfig(epochs=8, batch_size=6, lr=3e-3, head_lr=1e-2, head_ridge=0, train_top=None)
    train, held_out = color_pairs(["cat", "mat", "light", "air", "cause", "wall"]), color_pairs(["sky", "hat", "sea"])
    history = train_reward_model(rm, train, config, held_out)
    losses = [row["loss"] for row in history.steps]
    assert losses[0] == pytest.approx(math.log(2)) and losses[-1] < 0.3
    assert history.evaluations[0]["accuracy"] == 0.5 and history.evaluations[-1]["accuracy"] > 0.9


def test_the_head_is_fitted_first_and_training_goes_on_from_its_optimum(sft):
    """Two phases: before the first step the head is `fit_head`'s, on the features as they are; then the layers learn.

    The first batch of all pairs has the loss of that head; a head that is not zero is left as it is, and so is one
    that starts from zero by choice (head_ridge=0).
    """
    things = ["cat", "mat", "light", "air", "cause", "wall"]
    train, rm = color_pairs(things), RewardModel.from_sft(*sft, layers=None)
    features = pooled_features(rm, train)
    w, _ = fit_head(features, ridge=64.0)
    expected = torch.nn.functional.softplus(-(features[:, 0] - features[:, 1]) @ w).mean().item()
    config = TrainConfig(epochs=1, batch_size=len(train), lr=1e-3, train_top=2)
    history = train_reward_model(rm, train, config, held_out=train)
    assert history.evaluations[0]["loss"] == pytest.approx(expected, abs=1e-4) and expected < 0.68
    assert history.steps[0]["loss"] == pytest.approx(expected, abs=1e-4)
    assert history.evaluations[-1]["loss"] < history.evaluations[0]["loss"]
    kept = reward_model(sft)
    before = kept.reward_head.weight.clone()
    train_reward_model(kept, train, replace(config, lr=0, head_lr=0))
    assert torch.equal(kept.reward_head.weight, before)
    zero = RewardModel.from_sft(*sft, layers=None)
    first = train_reward_model(zero, train, replace(config, head_ridge=0)).steps[0]
    assert first["loss"] == pytest.approx(math.log(2))


def test_one_step_is_the_step_of_a_loop_written_by_hand(sft, pairs):
    """Every answer alone through the plain backbone, -log sigma(r+ - r-) spelled out, clipping, torch's own AdamW."""
    model = sft[0].double()  # AdamW divides by |g|: in float32 the noise of a gradient that is zero becomes a step
    rm, by_hand = reward_model((model, sft[1])), reward_model((model, sft[1]))
    config = TrainConfig(
        epochs=1, batch_size=6, lr=1e-3, head_lr=1e-2, train_top=None, warmup=0, weight_decay=0.1, centering=0.01
    )
    history = train_reward_model(rm, pairs, config)

    rewards = torch.stack(
        [torch.stack([plain_reward(by_hand, p.prompt, a) for a in (p.chosen, p.rejected)]) for p in pairs]
    )
    r_chosen, r_rejected = rewards.unbind(1)
    loss = -torch.log(1 / (1 + torch.exp(r_rejected - r_chosen))).mean()
    loss = loss + 0.01 * ((r_chosen + r_rejected) ** 2).mean()
    loss.backward()
    backbone = [p for name, p in by_hand.backbone.named_parameters() if not is_embedding(name)]
    norm = torch.nn.utils.clip_grad_norm_([*backbone, by_hand.reward_head.weight], 1.0)
    groups = [{"params": backbone, "lr": 1e-3}, {"params": [by_hand.reward_head.weight], "lr": 1e-2}]
    torch.optim.AdamW(groups, weight_decay=0.1).step()

    assert history.steps[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert history.steps[0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-5) and norm > 1  # it was clipped
    assert largest_difference(rm, by_hand) < 1e-6 < 1e-3 < largest_difference(rm, reward_model((model, sft[1])))


def plain_reward(rm, prompt, answer):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    text = rm.tokenizer.apply_chat_template(messages, tokenize=False)
    ids = torch.tensor([rm.tokenizer(text, add_special_tokens=False).input_ids])
    return rm.backbone(ids).last_hidden_state[0, -1] @ rm.reward_head.weight[0]


def is_embedding(name):
    return name.startswith(("embed_tokens", "wte", "wpe"))


def test_micro_batches_add_up_to_the_gradient_of_the_batch(sft, pairs):
    """sum over micro-batches of (m / B) mean_m = mean_B, also when they are of different size; memory, not result."""
    model = sft[0].double()
    whole, one_by_one, some = (reward_model((model, sft[1])) for _ in range(3))
    config = TrainConfig(epochs=1, batch_size=6, lr=1e-3, train_top=None, warmup=0)
    losses = [
        train_reward_model(rm, pairs, replace(config, micro_batch_tokens=tokens)).steps[0]["loss"]
        for rm, tokens in ((whole, 10**6), (one_by_one, 1), (some, 150))
    ]
    assert losses[1:] == pytest.approx([losses[0]] * 2, rel=1e-5)
    assert largest_difference(whole, one_by_one) < 1e-6 and largest_difference(whole, some) < 1e-6
    assert largest_difference(whole, reward_model((model, sft[1]))) > 5e-4


@pytest.mark.parametrize("train_top", [0, 1, 3, None])
def test_train_top_moves_the_top_layers_and_freezes_the_rest(sft, pairs, train_top):
    """0: the head only; n: the head, the final norm and n layers; None: all but the embeddings.

    Centering is on because an offset of all rewards, such as GPT-2's last bias, has no gradient without it.
    """
    rm, before = reward_model(sft), reward_model(sft).state_dict()
    train_reward_model(rm, pairs, TrainConfig(train_top=train_top, lr=1e-3, centering=0.01))
    moved = {name for name, weight in rm.state_dict().items() if not torch.equal(weight, before[name])}
    top = range(4)[4 - (4 if train_top is None else train_top) :]
    parts = {f"backbone.{list_name}.{i}." for i in top for list_name in ("layers", "h")}
    parts |= {"backbone.norm.", "backbone.ln_f."} if top else set()
    assert moved == {name for name in before if name.startswith(("reward_head", *parts))}


@pytest.mark.parametrize("train_top", [-1, 5])
def test_train_top_out_of_range_is_refused_with_the_value(sft, pairs, train_top):
    """The tiny models have four layers."""
    with pytest.raises(ValueError, match=f"train_top={train_top}: this model has 4 layers"):
        train_reward_model(reward_model(sft), pairs, TrainConfig(train_top=train_top))


@pytest.mark.parametrize(
    ("steps", "warmup", "factors"),
    [
        (5, 0.0, [1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]),
        (6, 0.3, [1 / 3, 2 / 3, 1, 3 / 4, 1 / 2, 1 / 4]),
        (1, 0.1, [1 / 2]),
        (3, 1.0, [1 / 4, 1 / 2, 3 / 4]),
    ],
)
def test_learning_rate_warms_up_and_falls_linearly_to_zero(steps, warmup, factors):
    """Worked out by hand; the next step after the last would have the factor 0."""
    assert [lr_factor(step, steps, warmup) for step in range(steps)] == pytest.approx(factors)
    assert warmup == 1 or lr_factor(steps, steps, warmup) == 0


def test_the_step_uses_the_learning_rate_that_the_history_has(pairs):
    """AdamW's first step moves every weight with a clear gradient by the learning rate, here 1/2 of `head_lr`."""
    rm, before = reward_model(tiny_sft("llama")), reward_model(tiny_sft("llama"))
    config = TrainConfig(epochs=1, batch_size=6, lr=1e-4, head_lr=1e-2, train_top=1)
    history = train_reward_model(rm, pairs, config)
    moved = (rm.reward_head.weight - before.reward_head.weight).abs()
    assert history.steps[0]["lr"] == pytest.approx(1e-4 / 2)
    assert moved.median().item() == pytest.approx(1e-2 / 2, rel=1e-3)


# What is random and what is not.


def test_only_the_seed_of_the_config_decides(sft, pairs, config):
    """torch's global generator neither changes the result (dropout is off) nor is changed by the training."""
    weights = []
    for global_seed in (1, 2):
        rm = reward_model(sft)
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        train_reward_model(rm, pairs, config, held_out=pairs)
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(rm)
    other = reward_model(sft)
    train_reward_model(other, pairs, replace(config, seed=1))
    assert same_weights(*weights) and not same_weights(weights[0], other)


def test_every_epoch_sees_every_pair_once_in_an_order_of_its_own():
    """Each epoch is a permutation of 0 .. n-1, cut into batches; another seed gives another order."""
    batches = batch_order(7, TrainConfig(epochs=2, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 3, 1, 3, 3, 1]
    first, second = [*chain(*batches[:3])], [*chain(*batches[3:])]
    assert sorted(first) == sorted(second) == [*range(7)] and first != second
    assert batches != batch_order(7, TrainConfig(epochs=2, batch_size=3, seed=1))


def test_the_pairs_of_a_set_stay_in_one_batch():
    """Sets of 1, 2, 3 and 7 pairs in batches of 4: none is split but the one that is larger than a batch."""
    groups = ["a", "b", "b", "c", "c", "c", *"ddddddd", *"efgh"]
    for seed in range(20):
        config = TrainConfig(epochs=2, batch_size=4, seed=seed)
        batches = batch_order(len(groups), config, groups)
        assert sorted(chain(*batches)) == sorted([*range(len(groups))] * 2) and max(map(len, batches)) == 4
        for group in "bc":
            members = {i for i, g in enumerate(groups) if g == group}
            assert sum(members <= set(batch) for batch in batches) == 2  # in each of two epochs
        assert sum("d" in {groups[i] for i in batch} for batch in batches) <= 6


def test_gradients_left_over_from_before_do_not_enter_the_training(sft, pairs, config):
    """A learner looks at loss.backward() first and trains then; so does who goes on after a run that failed."""
    clean, touched = reward_model(sft), reward_model(sft)
    plain_reward(touched, "Why?", "We see it.").backward()
    histories = [train_reward_model(rm, pairs, config) for rm in (clean, touched)]
    assert histories[0].steps[0]["grad_norm"] == histories[1].steps[0]["grad_norm"]
    assert same_weights(clean, touched)


def test_pairs_that_became_identical_by_cutting_are_dropped_aloud(pairs, config, capsys):
    """Same tokens on both sides: no difference, no gradient; the others train as if they had been given alone."""
    same_end = PreferencePair("Why?", "No. " + "we see it " * 20, "Yes. " + "we see it " * 20)
    rm, alone = (reward_model(tiny_sft("llama"), max_length=24) for _ in range(2))
    train_reward_model(rm, [pairs[0], same_end, *pairs[1:]], config)
    assert "1 of 7 pairs dropped" in capsys.readouterr().out
    train_reward_model(alone, pairs, config)
    assert same_weights(rm, alone) and not capsys.readouterr().out


def test_no_pairs_are_refused(pairs):
    """An empty list, and a list of which nothing is left."""
    same_end = PreferencePair("Why?", "No. " + "we see it " * 20, "Yes. " + "we see it " * 20)
    for nothing in ([], [same_end]):
        with pytest.raises(ValueError, match="no pairs to train on"):
            train_reward_model(reward_model(tiny_sft("llama"), max_length=24), nothing, TrainConfig(train_top=1))


# Stop and go on.


@pytest.mark.parametrize("step", [2, 4])
def test_killed_and_resumed_gives_the_weights_of_an_uninterrupted_run(sft, pairs, config, step):
    """Bit for bit, with all measurements but the seconds: after a checkpoint nothing that matters is forgotten."""
    through, killed, resumed = (reward_model(sft) for _ in range(3))
    whole = train_reward_model(through, pairs, replace(config, checkpoint_dir="never written"), held_out=pairs[:2])
    config = replace(config, checkpoint_every=step)
    in_forward(killed, step + 1 + forwards_of_evaluations(step), die)
    with pytest.raises(RuntimeError, match="killed"):
        train_reward_model(killed, pairs, config, held_out=pairs[:2])
    history = train_reward_model(resumed, pairs, config, held_out=pairs[:2], resume_from=config.checkpoint_dir)
    assert not same_weights(through, killed) and same_weights(through, resumed)
    assert without_seconds(history) == without_seconds(whole) and history.evaluations == whole.evaluations


def forwards_of_evaluations(step):
    """One at the start and one after each epoch of two steps."""
    return 1 + step // 2


def test_a_finished_run_resumes_to_itself(pairs, config):
    """Running the cell again after the last checkpoint costs nothing and changes nothing."""
    rm, again = reward_model(tiny_sft("llama")), reward_model(tiny_sft("llama"))
    config = replace(config, checkpoint_every=6)
    history = train_reward_model(rm, pairs, config)
    assert train_reward_model(again, pairs, config, resume_from=config.checkpoint_dir) == history
    assert same_weights(rm, again)


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(pairs, config):
    """SIGINT in the middle of step 2: no half step, and the run resumed from there ends like one never stopped."""
    through, stopped, resumed = (reward_model(tiny_sft("llama")) for _ in range(3))
    whole, before = train_reward_model(through, pairs, config), signal.getsignal(signal.SIGINT)
    in_forward(stopped, 2, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as stop:
        train_reward_model(stopped, pairs, config)
    assert "stopped after step 2 of 6" in str(stop.value) and repr(config.checkpoint_dir) in str(stop.value)
    assert signal.getsignal(signal.SIGINT) is before
    history = train_reward_model(resumed, pairs, config, resume_from=config.checkpoint_dir)
    assert same_weights(through, resumed) and without_seconds(history) == without_seconds(whole)


def test_second_ctrl_c_stops_at_once_without_saving(pairs, config, request):
    """Who presses twice does not want to wait; and the next training listens to Ctrl-C as before."""
    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, was))
    rm, before = reward_model(tiny_sft("llama")), signal.getsignal(signal.SIGINT)
    in_forward(rm, 2, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt) as stop:
        train_reward_model(rm, pairs, config)
    assert "stopped after" not in str(stop.value) and not Path(config.checkpoint_dir).exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_of_ctrl_c_is_back_after_a_run_that_ends_or_fails(pairs, config):
    """A notebook whose Ctrl-C no longer works has to be killed."""
    before = signal.getsignal(signal.SIGINT)
    train_reward_model(reward_model(tiny_sft("llama")), pairs, config)
    assert signal.getsignal(signal.SIGINT) is before
    rm = reward_model(tiny_sft("llama"))
    in_forward(rm, 1, die)
    with pytest.raises(RuntimeError, match="killed"):
        train_reward_model(rm, pairs, config)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_in_a_thread(pairs, config):
    """Only the main thread may listen to signals; a widget or a server trains in another."""
    rm, in_thread = reward_model(tiny_sft("llama")), reward_model(tiny_sft("llama"))
    thread = threading.Thread(target=train_reward_model, args=(in_thread, pairs, config))
    thread.start()
    thread.join()
    train_reward_model(rm, pairs, config)
    assert same_weights(rm, in_thread)


@pytest.fixture
def checkpoint(pairs, config):
    """The config of a run that was killed in step 3, after the checkpoint of step 2."""
    rm, config = reward_model(tiny_sft("llama")), replace(config, checkpoint_every=2)
    in_forward(rm, 3, die)
    with pytest.raises(RuntimeError, match="killed"):
        train_reward_model(rm, pairs, config)
    return config


def test_resuming_is_quiet(pairs, checkpoint):
    """A warning about the order of optimizer and schedule would make the learner doubt a run that is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_reward_model(reward_model(tiny_sft("llama")), pairs, checkpoint, resume_from=checkpoint.checkpoint_dir)


@pytest.mark.parametrize("change", [{"lr": 1e-4}, {"epochs": 4}, {"seed": 3}, {"train_top": 3}])
def test_resuming_with_another_setting_is_refused_with_old_and_new_value(pairs, checkpoint, change):
    """The result would be that of no run at all."""
    (name, new), old = *change.items(), asdict(checkpoint)
    with pytest.raises(ValueError, match=f"{name} was {old[name]}, is {new}"):
        rm = reward_model(tiny_sft("llama"))
        train_reward_model(rm, pairs, replace(checkpoint, **change), resume_from=checkpoint.checkpoint_dir)


def test_resuming_with_other_pairs_is_refused(pairs, checkpoint):
    """One changed word, one pair less, or another order: the remaining steps would not be those of the run."""
    changed = [replace(pairs[0], rejected="It was."), *pairs[1:]]
    for other in (changed, pairs[:-1], pairs[::-1]):
        with pytest.raises(ValueError, match="the pairs differ"):
            train_reward_model(
                reward_model(tiny_sft("llama")), other, checkpoint, resume_from=checkpoint.checkpoint_dir
            )


@pytest.mark.parametrize("change", [{"layers": 3}, {"pooling": "mean"}, {"max_length": 16}])
def test_resuming_with_another_reward_model_is_refused_with_what_differs(pairs, checkpoint, change):
    """The trained weights of one model on the frozen weights or the pooling of another are no model of anybody."""
    rm = reward_model(tiny_sft("llama"), **change)
    with pytest.raises(ValueError, match=r"layers|pooling|max_length|frozen"):
        train_reward_model(rm, pairs, checkpoint, resume_from=checkpoint.checkpoint_dir)


def test_resuming_on_another_sft_model_is_refused(pairs, checkpoint):
    """The checkpoint has only the trained weights: the frozen ones come from the model, and must be the same."""
    model, tokenizer = tiny_sft("llama")
    model.get_input_embeddings().weight.data *= 2
    with pytest.raises(ValueError, match="resume_from"):
        train_reward_model(reward_model((model, tokenizer)), pairs, checkpoint, resume_from=checkpoint.checkpoint_dir)


def test_resuming_with_other_memory_or_checkpoint_settings_is_allowed(pairs, checkpoint, tmp_path):
    """They change no result, and a machine with less memory may have to finish the run."""
    elsewhere = str(tmp_path / "elsewhere")
    change = {"micro_batch_tokens": 50, "checkpoint_every": 3, "eval_every": 1, "checkpoint_dir": elsewhere}
    rm = reward_model(tiny_sft("llama"))
    history = train_reward_model(rm, pairs, replace(checkpoint, **change), resume_from=checkpoint.checkpoint_dir)
    assert [row["step"] for row in history.steps] == [1, 2, 3, 4, 5, 6]
    assert len(json.loads((tmp_path / "elsewhere" / "history.json").read_text())["steps"]) == 6


def test_resuming_from_nothing_is_refused_with_the_folder(pairs, config, tmp_path):
    """To start anew without a word would throw the stopped run away."""
    with pytest.raises(FileNotFoundError, match=r"resume_from=.*nowhere"):
        train_reward_model(reward_model(tiny_sft("llama")), pairs, config, resume_from=tmp_path / "nowhere")


def test_the_optimizers_state_comes_back_on_the_device_of_its_weights(pairs, checkpoint):
    """All of it, the number of the step too: fused AdamW on a GPU asks for that. The meta device stands for the GPU."""
    rm = reward_model(tiny_sft("llama"))
    freeze(rm, checkpoint.train_top)
    optimizer = torch.optim.AdamW(p for p in rm.parameters() if p.requires_grad)
    run = json.loads(Path(checkpoint.checkpoint_dir, "run.json").read_text())
    load_checkpoint(checkpoint.checkpoint_dir, rm.to("meta"), optimizer, run)
    states = [state for p, state in optimizer.state.items()]
    assert states and all(value.device.type == "meta" for state in states for value in state.values())


def test_other_things_in_the_checkpoint_folder_neither_stop_the_run_nor_get_lost(pairs, config):
    """Notes from before, and what a file manager puts there meanwhile."""
    folder = Path(config.checkpoint_dir)
    folder.mkdir()
    (folder / "notes.md").write_text("mine")
    rm = reward_model(tiny_sft("llama"))
    in_forward(rm, 4, (folder / ".DS_Store").touch)
    train_reward_model(rm, pairs, replace(config, checkpoint_every=2))
    files = ["history.json", "notes.md", "optimizer.safetensors", "run.json", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == [".DS_Store", *files]


def test_a_checkpoint_folder_that_cannot_be_is_refused_before_training(pairs, config):
    """It is a file: better known now than at the first save."""
    Path(config.checkpoint_dir).write_text("mine")
    with pytest.raises(FileExistsError, match="is a file; choose a folder"):
        train_reward_model(reward_model(tiny_sft("llama")), pairs, config)


def test_a_checkpoint_is_safetensors_and_json_and_only_of_what_learns(checkpoint, tmp_path):
    """No pickle: loading a checkpoint of somebody else runs no code. No left-over beside it either."""
    files = sorted((tmp_path / "checkpoint").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert files and {path.suffix for path in files} == {".safetensors", ".json"}
    weights = load_file(tmp_path / "checkpoint" / "weights.safetensors")
    assert {name.split(".")[1] for name in weights} == {"layers", "norm", "weight"}
    assert {name.split(".")[2] for name in weights if ".layers." in name} == {"2", "3"}


# When numbers break.


def test_a_loss_that_is_not_finite_stops_the_run_before_it_does_harm(pairs, config):
    """The pair is named, the weights are those of the last good step, and the checkpoint of that step is untouched."""
    rm, config = reward_model(tiny_sft("llama")), replace(config, batch_size=1, checkpoint_every=1)
    poison = []
    rm.reward_head.register_forward_hook(lambda module, args, rewards: rewards * torch.nan if poison else None)
    in_forward(rm, 3, lambda: poison.append(True))
    with pytest.raises(FloatingPointError) as error:
        train_reward_model(rm, pairs, config)
    culprit = batch_order(len(pairs), config)[2][0]
    assert "loss of step 3 is not finite" in str(error.value)
    assert [pair.id for pair in pairs if pair.id in str(error.value)] == [f"p{culprit}"]
    saved = load_file(f"{config.checkpoint_dir}/weights.safetensors")
    assert all(torch.equal(saved[name], p) for name, p in rm.named_parameters() if p.requires_grad)
    assert all(p.isfinite().all() for p in rm.parameters())
    assert len(History.load(f"{config.checkpoint_dir}/history.json").steps) == 2


def test_a_gradient_that_is_not_finite_changes_no_weight(pairs, config):
    """Clipping would divide by it and make every weight NaN; the three pairs of the step are named."""
    rm, config = reward_model(tiny_sft("llama")), replace(config, warmup=0)
    rm.reward_head.weight.requires_grad_(True).register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(FloatingPointError, match="gradient of step 1 is not finite") as error:
        train_reward_model(rm, pairs, config)
    named = {pair.id for pair in pairs if pair.id in str(error.value)}
    assert named == {f"p{i}" for i in batch_order(len(pairs), config)[0]}
    assert same_weights(rm, reward_model(tiny_sft("llama")))


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("lr", -1e-5), ("lr", math.nan), ("head_lr", math.inf), ("warmup", 1.5),
     ("warmup", -0.1), ("weight_decay", -1), ("clip", -1), ("centering", -0.01), ("micro_batch_tokens", 0),
     ("eval_every", -1), ("checkpoint_every", -1), ("epochs", 1.5), ("batch_size", 2.5)],
)  # fmt: skip
def test_a_bad_setting_is_refused_with_name_and_value(name, value):
    """At once, not after the model has been loaded and the pairs encoded."""
    with pytest.raises(ValueError, match=f"^{name}={value}: "):
        TrainConfig(**{name: value})


# What is recorded.


def test_the_first_row_measures_the_model_before_the_step(sft, pairs, config):
    """Loss, accuracy, margin, mean and spread of the rewards, each from the scores of the untrained model."""
    rm = reward_model(sft)
    r_chosen, r_rejected = rm.score_pairs(pairs)
    row = train_reward_model(rm, pairs, replace(config, batch_size=6)).steps[0]
    both = [*r_chosen.tolist(), *r_rejected.tolist()]
    margins = [chosen - rejected for chosen, rejected in zip(both[:6], both[6:])]
    mean = sum(both) / 12
    assert row["loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in margins) / 6, rel=1e-4)
    assert row["accuracy"] == pytest.approx(sum(m > 0 for m in margins) / 6)
    assert row["margin"] == pytest.approx(sum(margins) / 6, rel=1e-4)
    assert row["reward_mean"] == pytest.approx(mean, rel=1e-4)
    assert row["reward_std"] == pytest.approx(math.sqrt(sum((r - mean) ** 2 for r in both) / 11), rel=1e-4)


def test_tokens_count_the_shared_beginning_of_a_pair_once(sft, pairs, config):
    """The nodes of the tree of a pair: all different beginnings of its two answers, summed over the epochs so far."""
    rm, distinct = reward_model(sft), 0
    for pair in pairs:
        sides = []
        for answer in (pair.chosen, pair.rejected):
            messages = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": answer}]
            text = rm.tokenizer.apply_chat_template(messages, tokenize=False)
            sides.append(rm.tokenizer(text, add_special_tokens=False).input_ids)
        distinct += len({tuple(side[:end]) for side in sides for end in range(1, len(side) + 1)})
    history = train_reward_model(rm, pairs, config)
    assert [row["tokens"] for row in history.steps[1::2]] == [distinct, 2 * distinct, 3 * distinct]


@pytest.mark.parametrize(("eval_every", "steps"), [(0, [0, 2, 4, 6]), (4, [0, 4, 6]), (1, [0, 1, 2, 3, 4, 5, 6])])
def test_held_out_pairs_are_scored_before_during_and_after(pairs, config, eval_every, steps):
    """0 means after each epoch; the last step is always measured."""
    rm = reward_model(tiny_sft("llama"))
    history = train_reward_model(rm, pairs, replace(config, eval_every=eval_every), held_out=pairs[:3])
    assert [row["step"] for row in history.evaluations] == steps
    r_chosen, r_rejected = rm.score_pairs(pairs[:3])
    assert history.evaluations[-1]["margin"] == pytest.approx((r_chosen - r_rejected).mean().item(), rel=1e-5)


def test_history_is_the_same_after_json(pairs, config, tmp_path):
    """Floats survive: json writes the shortest text that reads back to the same number."""
    history = train_reward_model(reward_model(tiny_sft("llama")), pairs, config, held_out=pairs)
    history.save(tmp_path / "deep" / "history.json")
    assert History.load(tmp_path / "deep" / "history.json") == history
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["history.json"]


def test_the_table_of_a_history_has_the_promised_columns(pairs, config):
    """One row a step, and a row 0 for the evaluation before the first; held-out numbers only where measured."""
    history = train_reward_model(reward_model(tiny_sft("llama")), pairs, config, held_out=pairs)
    frame = history.to_frame()
    promised = [
        "epoch",
        "loss",
        "accuracy",
        "margin",
        "reward_chosen",
        "reward_rejected",
        "reward_mean",
        "reward_std",
        "lr",
        "grad_norm",
        "tokens",
        "seconds",
    ]
    assert [*frame] == [*promised, "held_out_loss", "held_out_accuracy"] and [*frame.index] == [*range(7)]
    assert frame["loss"].tolist()[1:] == [row["loss"] for row in history.steps]
    assert frame["epoch"].tolist()[1:] == pytest.approx([0.5, 1, 1.5, 2, 2.5, 3])
    assert frame["held_out_loss"].notna().tolist() == [True, False] * 3 + [True]
    assert [*History(steps=history.steps).to_frame()] == promised


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_training_ends_in_the_same_weights(pairs):
    """torch.compile changes how the products are computed, not what: the same head to 1e-6."""
    heads = []
    for compiled in (False, True):
        rm = RewardModel.from_sft(*tiny_sft("llama", layers=2), layers=None)
        train_reward_model(rm, pairs, TrainConfig(epochs=1, batch_size=2, train_top=1, compile=compiled))
        heads.append(rm.reward_head.weight.detach())
    torch.testing.assert_close(*heads, atol=1e-6, rtol=0)


def test_rewards_are_not_rounded_to_bf16(pairs):
    """Near 6 bf16 knows steps of 0.03: close answers would tie. Products are bf16, head and rewards float32."""
    rm = reward_model(tiny_sft("llama"))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        rewards = rm(rm.batch(rm.encode_pairs(pairs)))
    assert rewards.dtype == torch.float32 and (rewards != rewards.bfloat16()).any()


@pytest.mark.parametrize("by", ["environment", "another Accelerator"])
def test_the_precision_that_is_asked_for_wins_over_accelerates_configuration(pairs, config, monkeypatch, by):
    """`accelerate config` or a Trainer earlier in the kernel may say bf16; fp32 means fp32, and forward stays as it was."""
    plain, other = (reward_model(tiny_sft("llama")) for _ in range(2))
    train_reward_model(plain, pairs, replace(config, precision="fp32"))
    AcceleratorState._reset_state(reset_partial_state=True)
    if by == "environment":
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    else:
        Accelerator(mixed_precision="bf16", cpu=True)
    try:
        train_reward_model(other, pairs, replace(config, precision="fp32"))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert same_weights(plain, other) and plain.score("Why?", "We see.") == other.score("Why?", "We see.")


def test_bf16_products_train_too_and_leave_the_weights_in_float32(pairs):
    """autocast: the forward is in bf16, so rewards differ in the third digit; weights and optimizer stay exact."""
    history = {}
    for precision in ("fp32", "bf16"):
        rm = RewardModel.from_sft(*tiny_sft("llama"), layers=None)
        history[precision] = train_reward_model(
            rm, pairs, TrainConfig(epochs=3, batch_size=2, train_top=2, precision=precision)
        )
        assert all(p.dtype == torch.float32 for p in rm.parameters())
    losses = [[row["loss"] for row in run.steps] for run in history.values()]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], abs=0.05)
