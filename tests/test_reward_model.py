"""The reward model against transformers' own classes and against the source note's forward, transcribed."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rmtutorial.encoding import encode
from rmtutorial.losses import bradley_terry_loss
from rmtutorial.preferences import PreferencePair
from rmtutorial.reward_model import RewardModel

FINAL_NORM = {"llama": "norm", "gpt2": "ln_f"}


def with_random_head(sft, **arguments):
    """A reward head starts at zero and would hide every difference."""
    model = RewardModel.from_sft(*sft, **{"layers": None, **arguments})
    torch.manual_seed(1)
    torch.nn.init.normal_(model.reward_head.weight)
    return model


def plain_states(language_model, ids):
    """Hidden states (T, H) of one sequence alone, without the LM head."""
    ids = torch.tensor([ids])  # (1, T)
    with torch.no_grad():
        return language_model.base_model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]


def answers(pairs):
    return [(pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]


def assert_close(actual, expected):
    assert torch.as_tensor(expected).std() > 0.1  # a comparison of constants would show nothing
    torch.testing.assert_close(torch.as_tensor(actual), torch.as_tensor(expected), atol=1e-5, rtol=0)


def snapshot(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_first_scores_are_zero_and_the_first_loss_is_ln_2(sft, pairs, pooling):
    """A head of zeros has no opinion, and -ln sigmoid(0) = ln 2."""
    chosen, rejected = RewardModel.from_sft(*sft, layers=None, pooling=pooling).score_pairs(pairs)
    assert not chosen.any() and not rejected.any()
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(math.log(2), abs=1e-7)


def test_training_the_reward_model_leaves_the_sft_model_as_it_is(sft, pairs):
    """The SFT model is the policy or the reference later on; sharing its tensors would train it in secret."""
    model = with_random_head(sft)
    sft_before, backbone_before = snapshot(sft[0]), snapshot(model.backbone)
    model(model.batch([[encode(model.tokenizer, *answer, 1024)] for answer in answers(pairs)])).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not same(backbone_before, model.backbone.state_dict())
    assert same(sft_before, sft[0].state_dict())
    assert all(parameter.grad is None for parameter in sft[0].parameters())


def test_from_sft_leaves_config_and_tokenizer_of_the_sft_model_as_they_are(sft):
    """A cut backbone and the plain template belong to the reward model only."""
    model, tokenizer = sft
    template, layers = tokenizer.chat_template, model.config.num_hidden_layers
    RewardModel.from_sft(model, tokenizer, layers=2, template="plain")
    assert (tokenizer.chat_template, model.config.num_hidden_layers) == (template, layers)


def test_dropout_is_off(sft, pairs):
    """GPT-2 has dropout 0.1; two scores of one answer would differ by more than the answers do."""
    model = with_random_head(sft)
    assert not any(module.training for module in model.modules())
    batch = model.batch([[encode(model.tokenizer, *answer, 1024)] for answer in answers(pairs)])
    assert torch.equal(model(batch), model(batch))


@pytest.mark.parametrize("layers", [None, 4, 2, 1])
def test_backbone_is_the_first_layers_and_the_final_norm(sft, layers):
    """hidden_states[n] of the full model is the state after n blocks, before the final norm (but for the last n)."""
    language_model = sft[0]
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        states = language_model.base_model(ids, output_hidden_states=True)
        norm = language_model.base_model.get_submodule(FINAL_NORM[language_model.config.model_type])
        kept = layers or 4
        expected = states.last_hidden_state if kept == 4 else norm(states.hidden_states[kept])
        backbone = RewardModel.from_sft(*sft, layers=layers).backbone
        actual = backbone(ids).last_hidden_state
    assert backbone.config.num_hidden_layers == kept
    assert_close(actual, expected)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_score_does_not_depend_on_batch_or_padding(sft, pairs, pooling):
    """Alone, among shorter and longer answers, and beside one so long that most of the row is padding."""
    model = with_random_head(sft, pooling=pooling)
    alone = torch.tensor([model.score(*answer) for answer in answers(pairs)])
    assert_close(model.score_batch(answers(pairs)), alone)
    long = encode(model.tokenizer, "Why?", 50 * "Because. ", model.max_length)
    for answer, expected in zip(answers(pairs), alone):
        example = encode(model.tokenizer, *answer, model.max_length)
        batch = model.batch([[example], [long]])
        assert batch.ids.shape[1] > len(example.ids) + 20
        assert model(batch)[0].item() == pytest.approx(expected.item(), abs=1e-5)


def test_score_pairs_equals_the_score_of_each_answer(sft, pairs):
    """The pair reads its prompt once, the single score reads it each time."""
    model = with_random_head(sft)
    chosen, rejected = model.score_pairs(pairs)
    assert_close(chosen, [model.score(pair.prompt, pair.chosen) for pair in pairs])
    assert_close(rejected, [model.score(pair.prompt, pair.rejected) for pair in pairs])


def test_scores_come_back_in_their_order_whatever_the_token_budget(sft, pairs):
    """Micro-batches are sorted by length; the rewards must not be."""
    model = with_random_head(sft)
    examples = [[encode(model.tokenizer, *answer, 1024)] for answer in answers(pairs)]
    assert_close(model.score_encoded(examples, max_tokens=70), model.score_encoded(examples, max_tokens=10_000))


def talk(*contents):
    """Messages of user and assistant in turn; the templates end each turn with EOS."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def awkward(pairs):
    """Answers with EOS, which is the pad token too, inside the prompt: once, and more often."""
    longer = talk("Why?", "Because.", "The cat?", "On the mat.", "See it?")
    return [*answers(pairs), (talk("The cat", " sat.", "Who?"), "We see it."), (longer, "Yes.")]


def transformers_scores(folder, prompts_and_responses):
    """What any tool does with the folder: AutoModel, AutoTokenizer, chat template, right padding."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompts = [talk(prompt) if isinstance(prompt, str) else prompt for prompt, _ in prompts_and_responses]
    talks = [
        [*prompt, {"role": "assistant", "content": response}]
        for prompt, (_, response) in zip(prompts, prompts_and_responses)
    ]
    texts = tokenizer.apply_chat_template(talks, tokenize=False)
    inputs = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt")
    assert (inputs.attention_mask == 0).any()
    with torch.no_grad():
        return model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).logits[:, 0]


@pytest.mark.parametrize("arguments", [{}, {"layers": 2}, {"template": "plain"}], ids=["chat", "cut", "plain"])
def test_saved_folder_scores_the_same_in_transformers(sft, pairs, tmp_path, arguments):
    """The folder is an ordinary AutoModelForSequenceClassification, so TRL and RewardBench give our numbers."""
    model = with_random_head(sft, **arguments)
    model.save_pretrained(tmp_path / "rm")
    rows = awkward(pairs)
    assert_close(model.score_batch(rows), transformers_scores(tmp_path / "rm", rows))


def test_saved_folder_holds_what_other_tools_look_for(sft, tmp_path):
    """One label, `score.weight` in safetensors, the pad id in the config, the chat template, nothing pickled."""
    model = with_random_head(sft)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert len(config["id2label"]) == 1
    assert config["architectures"][0].endswith("ForSequenceClassification")
    assert config["pad_token_id"] == model.tokenizer.pad_token_id
    assert torch.equal(load_file(tmp_path / "model.safetensors")["score.weight"], model.reward_head.weight.data)
    assert (tmp_path / "chat_template.jinja").read_text(encoding="utf-8") == model.tokenizer.chat_template
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".jinja", ".safetensors"}


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("arguments", [{}, {"layers": 2, "template": "plain", "max_length": 20}], ids=["full", "cut"])
def test_from_pretrained_gives_the_same_scores(sft, pairs, tmp_path, pooling, arguments):
    """Weights, pooling, template and maximum length all come back, also after a second round."""
    model = with_random_head(sft, pooling=pooling, **arguments)
    model.save_pretrained(tmp_path / "first")
    RewardModel.from_pretrained(tmp_path / "first").save_pretrained(tmp_path / "second")
    again = RewardModel.from_pretrained(tmp_path / "second")
    assert (again.pooling, again.max_length) == (model.pooling, model.max_length)
    assert_close(again.score_batch(answers(pairs)), model.score_batch(answers(pairs)))


def test_only_rmtutorial_reads_a_mean_pooled_model_and_says_so(sft, tmp_path, capsys):
    """transformers would load it and pool the last token: other scores, no error. So it finds no weights."""
    with_random_head(sft, pooling="mean").save_pretrained(tmp_path)
    assert "only rmtutorial reads this folder" in capsys.readouterr().out
    with pytest.raises(OSError):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_save_replaces_the_first(sft, pairs, tmp_path):
    """No file of the old folder stays beside the new ones, and no temporary folder beside both."""
    with_random_head(sft, pooling="mean").save_pretrained(tmp_path / "rm")
    model = with_random_head(sft, layers=2)
    model.save_pretrained(tmp_path / "rm")
    assert_close(
        RewardModel.from_pretrained(tmp_path / "rm").score_batch(answers(pairs)), model.score_batch(answers(pairs))
    )
    assert "reward_model.safetensors" not in contents(tmp_path / "rm")
    assert [path.name for path in tmp_path.iterdir()] == ["rm"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("stopped")], ids=["disk full", "Ctrl-C"])
def test_an_interrupted_save_leaves_the_old_folder_whole(sft, tmp_path, monkeypatch, error):
    """The weights are written before the tokenizer: half of a save would be new weights without a template."""
    model = with_random_head(sft)
    model.save_pretrained(tmp_path / "rm")
    before = contents(tmp_path / "rm")
    torch.nn.init.ones_(model.reward_head.weight)

    def interrupted(folder):
        assert (folder / "model.safetensors").is_file()
        raise error

    monkeypatch.setattr(model.tokenizer, "save_pretrained", interrupted)
    with pytest.raises(type(error), match=str(error)):
        model.save_pretrained(tmp_path / "rm")
    assert contents(tmp_path / "rm") == before
    assert [path.name for path in tmp_path.iterdir()] == ["rm"]


def note_forward(language_model, tokenizer, reward_head, prompt, response, max_length):
    """The source note: prompt + EOS + response, cut from the left, response states averaged, one linear head.

    Earlier turns are joined in the same way; a control token in a text is text.
    """
    turns = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
    *before, response_ids = (
        tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for text in (*turns, response)
    )
    ids = [token for turn in before for token in (*turn, tokenizer.eos_token_id)]
    ids = [*ids, *response_ids][-max_length:]
    hidden = plain_states(language_model, ids)  # (T, H)
    return reward_head(hidden[-len(response_ids) :].mean(dim=0)).item()


@pytest.mark.parametrize("max_length", [1024, 20, 6], ids=["whole", "prompt cut", "answer cut"])
def test_plain_template_with_mean_pooling_is_the_forward_of_the_source_note(sft, pairs, max_length):
    """Same ids, same truncation, same average: the note's model is one setting of ours."""
    model = with_random_head(sft, template="plain", pooling="mean", max_length=max_length)
    eos = model.tokenizer.eos_token
    marked = [(f"The cat{eos} sat.{eos}", "We see it."), ("Why?", f"Because.{eos}")]
    rows = [*awkward(pairs), *marked, (90 * "Why is the sky? ", "Because."), ("Why?", 150 * "Because. ")]
    limit = min(max_length, sft[0].config.max_position_embeddings)
    expected = [note_forward(*sft, model.reward_head, prompt, response, limit) for prompt, response in rows]
    assert_close(model.score_batch(rows), expected)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_eos_inside_the_prompt_does_not_move_the_pooled_token(sft, pooling):
    """Pad is EOS here: counting up to the first pad id would score the prompt, equally for both answers."""
    model = with_random_head(sft, pooling=pooling)
    encoded = encode(model.tokenizer, talk("Why?", " Is the sky", " blue?"), "We see it.", 1024)
    assert encoded.ids[: encoded.start].count(model.tokenizer.pad_token_id) >= 2
    hidden = plain_states(sft[0], encoded.ids)  # (T, H)
    pooled = hidden[-1] if pooling == "last" else hidden[encoded.start :].mean(dim=0)
    padded = model.batch([[encoded], [encode(model.tokenizer, "Why?", 40 * "Because. ", 1024)]])
    assert model(padded)[0].item() == pytest.approx(model.reward_head(pooled).item(), abs=1e-5)


@pytest.mark.parametrize(
    "arguments, value",
    [
        ({"pooling": "max"}, "'max'"),
        ({"max_length": 0}, "max_length=0"),
        ({"template": "alpaca"}, "'alpaca'"),
        ({"layers": 0}, "layers=0"),
        ({"layers": -1}, "layers=-1"),
        ({"layers": 5}, "layers=5: this model has 4 layers"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_with_their_value(sft, arguments, value):
    """The message repeats what was passed, so that the reader finds it in the call."""
    with pytest.raises(ValueError) as error:
        RewardModel.from_sft(*sft, **{"layers": None, **arguments})
    assert value in str(error.value)


@pytest.mark.parametrize("response", ["", " \n"])
def test_an_empty_response_is_refused_with_its_prompt(sft, response):
    """The end mark would be scored, a number about nothing."""
    model = with_random_head(sft)
    with pytest.raises(ValueError, match=r"empty response.*Who sat"):
        model.score_batch([("Why?", "Because."), ("Who sat?", response)])


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_pair_with_an_empty_answer_is_refused_with_its_prompt(sft, pooling):
    """The average over no tokens is 0/0: one NaN reward, and the mean loss of the batch is NaN."""
    model = with_random_head(sft, template="plain", pooling=pooling)
    with pytest.raises(ValueError, match=r"empty.*Who sat"):
        model.score_pairs([PreferencePair("Why?", "Because.", "No."), PreferencePair("Who sat?", "", "The cat.")])


def test_an_empty_list_of_pairs_is_refused(sft):
    """The same sentence as for an empty list of answers, not an IndexError of the inside."""
    with pytest.raises(ValueError, match="nothing to score"):
        with_random_head(sft).score_pairs([])


def test_an_empty_list_is_refused(sft):
    """Also an iterator that has run out."""
    model = with_random_head(sft)
    for nothing in ([], iter([])):
        with pytest.raises(ValueError, match="nothing to score"):
            model.score_batch(nothing)


def test_a_folder_without_a_model_is_refused_with_its_path(tmp_path):
    """A path that is not there, and a folder with other files."""
    (tmp_path / "notes.txt").write_text("no model", encoding="utf-8")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError) as error:
            RewardModel.from_pretrained(folder)
        assert f"{folder}: no reward model here" in str(error.value)


def test_a_folder_with_two_labels_is_refused_with_their_number(sft, tmp_path):
    """A sentiment classifier is no reward model; its first logit would pass for a reward."""
    with_random_head(sft).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config.update(id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1})
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="2 labels"):
        RewardModel.from_pretrained(tmp_path)


def test_a_folder_without_a_reward_head_is_refused(sft, tmp_path):
    """transformers fills missing weights with random ones and only warns: another reward at every load."""
    with_random_head(sft).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"score\.weight"):
        RewardModel.from_pretrained(tmp_path)
