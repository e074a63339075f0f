"""What a row's answers answer: nothing is invented, read twice, or dropped without a word."""

import pytest

from rmtutorial.preference_rows import to_pair

ASK, REPLY = "Which river runs through Prague?", "The Vltava does."
OTHER = "The Rhine does."


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **fields):
    return {"role": "assistant", "content": text, **fields}


def system(text):
    return {"role": "system", "content": text}


def read(**row):
    pair = to_pair({"chosen": REPLY, "rejected": OTHER, **row})
    return pair.prompt, pair.chosen, pair.rejected


def refusal(**row):
    with pytest.raises(ValueError) as error:
        to_pair({"chosen": REPLY, "rejected": OTHER, **row})
    return str(error.value)


def whole(*before):
    """Both sides as whole conversations."""
    return {"chosen": [*before, assistant(REPLY)], "rejected": [*before, assistant(OTHER)]}


# The prompt stands in a column, in the answers, in both, or under another name.


@pytest.mark.parametrize("prompt", [ASK, f" {ASK}\n", [user(ASK)], user(ASK), [{"from": "human", "value": ASK}]])
def test_conversations_that_repeat_the_prompt_are_cut_to_their_answers(prompt):
    """UltraFeedback's columns: the prompt once, then again at the head of each answer."""
    assert read(prompt=prompt, **whole(user(ASK))) == (ASK, REPLY, OTHER)


def test_a_conversation_that_knows_more_than_the_prompt_is_the_prompt():
    """The column has the first question only, the conversation what was said since, and the system's words."""
    turns = [system("Be brief."), user("Hello."), assistant("Hello."), user(ASK)]
    for prompt in ("Hello.", ASK, [user("Hello.")], turns, None, ""):
        assert read(prompt=prompt, **whole(*turns)) == (turns, REPLY, OTHER)


def test_a_prompt_that_knows_more_than_the_conversation_stays_whole():
    """Here the answers repeat the last question only."""
    turns = [system("Be brief."), user(ASK)]
    assert read(prompt=turns, **whole(user(ASK))) == (turns, REPLY, OTHER)


def test_a_prompt_that_the_conversations_do_not_have_is_refused():
    """One of the two is wrong, and which one cannot be known."""
    assert "columns={'prompt': None}" in refusal(prompt="Something else?", **whole(user(ASK)))


def test_texts_that_repeat_the_prompt_lose_it():
    """Both begin with it, to the letter: otherwise it is read twice, once as part of the answer."""
    for gap in (" ", "\n", ""):
        assert read(prompt=ASK, chosen=ASK + gap + REPLY, rejected=ASK + gap + OTHER) == (ASK, REPLY, OTHER)


@pytest.mark.parametrize(
    "prompt, chosen, rejected",
    [
        ("Hello", "Hello, what can I do?", "Hello yourself."),  # a greeting is returned
        (ASK, ASK + " " + REPLY, OTHER),  # one of them repeats the question: that is part of its answer
        ("Name the capital", "Name the capitals? Why?", "Name the capitalists."),  # it ends within a word
    ],
)
def test_an_answer_that_merely_begins_like_the_prompt_stays_whole(prompt, chosen, rejected):
    """Cutting it would train on half sentences."""
    assert read(prompt=prompt, chosen=chosen, rejected=rejected) == (prompt, chosen, rejected)


@pytest.mark.parametrize("name", ["question", "instruction", "query", "input", "messages", "conversations"])
def test_a_prompt_under_another_name_is_read_where_it_is_the_only_one(name):
    """Orca says question, Alpaca instruction: the common words of two answers are no prompt."""
    value = [{"from": "human", "value": ASK}] if name in ("messages", "conversations") else ASK
    assert read(**{name: value, "source": "x", "score": 3}) == (ASK, REPLY, OTHER)


def test_two_columns_that_may_be_the_prompt_are_both_named():
    """Taking the first would drop the other."""
    message = refusal(question=ASK, instruction="Answer in one word.")
    assert "question and instruction" in message and "columns={'prompt': 'question'}" in message


@pytest.mark.parametrize("row", [{}, {"prompt": None}, {"task": ASK}, {"prompt": None, "task": ASK}])
def test_common_words_of_two_answers_are_no_prompt(row):
    """Both begin with "The": that was never asked. null is no prompt either."""
    message = refusal(**row)
    assert message == "prompt is null" if "prompt" in row else "no prompt: there is no column 'prompt'" in message
    assert "prompt" in row or "--columns prompt=" in message


def test_common_words_are_the_prompt_where_the_caller_says_so():
    """TRL's implicit form for texts."""
    pair = to_pair({"chosen": "Q: red? A: yes", "rejected": "Q: red? A: no"}, implicit=True)
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Q: red? A: ", "yes", "no")


# HH-RLHF's texts.


def hh(*turns):
    return "".join(f"\n\n{name}: {text}" for name, text in zip(("Human", "Assistant") * 9, turns))


def test_a_text_with_turns_ends_its_prompt_where_the_assistant_begins():
    """Answers that share their first words keep them; turns become messages."""
    assert read(chosen=hh(ASK, REPLY), rejected=hh(ASK, OTHER)) == (ASK, REPLY, OTHER)
    turns = [user("Hello."), assistant("Hello: you.\n\nWell?"), user(ASK)]
    texts = ["Hello.", "Hello: you.\n\nWell?", ASK]
    assert read(chosen=hh(*texts, REPLY), rejected=hh(*texts, OTHER)) == (turns, REPLY, OTHER)


@pytest.mark.parametrize("prompt", [hh(ASK, ""), hh(ASK).rstrip(), ASK])
def test_a_prompt_with_turns_is_read_beside_answers_of_either_form(prompt):
    """Sets derived from HH have the prompt in a column, and the answers alone or with all that was said before."""
    assert read(prompt=prompt) == read(prompt=prompt, chosen=hh(ASK, REPLY), rejected=hh(ASK, OTHER)) == (ASK, REPLY, OTHER)  # fmt: skip


def test_answers_behind_a_prompt_with_turns_lose_the_space_between():
    """ "Assistant:" and " Yes." were one text once."""
    assert read(prompt=hh(ASK, "").rstrip(), chosen=f" {REPLY}", rejected=f" {OTHER}\n") == (ASK, REPLY, OTHER)


def test_a_text_that_ends_with_the_human_has_no_answer():
    """A few of HH's do."""
    assert "chosen ends with the role 'user'" in refusal(chosen=hh(ASK, REPLY, "Thanks."), rejected=hh(ASK, OTHER))


# Turns.


def test_conversations_that_part_early_say_where():
    """Two different talks cannot be compared by their last answers."""
    chosen = [user("Hello."), assistant("Hello."), user(ASK), assistant(REPLY)]
    rejected = [user("Hello."), assistant("What?"), user("Nothing."), assistant(OTHER)]
    assert "differ from message 2 of 4 on; only the last turn may differ" in refusal(chosen=chosen, rejected=rejected)
    assert "differ from message 2" in refusal(chosen=chosen, rejected=[user("Hello."), assistant("What?")])


def test_a_prompt_that_ends_with_the_assistant_is_refused():
    """The template would write two assistant turns in a row."""
    assert "prompt ends with an assistant turn" in refusal(prompt=[user(ASK), assistant("Well")])


def test_answers_alone_as_messages_need_a_prompt():
    """Nothing stands before them."""
    assert "no prompt" in refusal(chosen=[assistant(REPLY)], rejected=[assistant(OTHER)])


# What the answers depend on.


def test_a_system_text_becomes_a_system_message():
    """It decides which answer is better as often as the question does."""
    for name in ("system", "system_prompt"):
        assert read(prompt=ASK, **{name: "Talk in verse."})[0] == [system("Talk in verse."), user(ASK)]
        assert read(**{name: "Talk in verse."}, **whole(user(ASK)))[0] == [system("Talk in verse."), user(ASK)]
    for nothing in (None, "", []):
        assert read(prompt=ASK, system=nothing)[0] == ASK


def test_a_system_text_that_is_there_already_is_not_added_twice():
    """A second one that says something else is refused."""
    turns = [system("Talk in verse."), user(ASK)]
    assert read(prompt=turns, system="Talk in verse.")[0] == turns
    assert "column 'system' is beside another system message" in refusal(prompt=turns, system="Talk in prose.")


def test_alpacas_input_is_a_line_below_the_instruction():
    """Empty for most rows; for the others the text that the instruction is about, however short."""
    assert read(instruction="Repeat:", input="a")[0] == read(prompt="Repeat:", input="a")[0] == "Repeat:\na"
    assert read(instruction="Repeat:", input="")[0] == "Repeat:"
    assert read(prompt="Repeat:\na", input="a")[0] == "Repeat:\na"


@pytest.mark.parametrize("history", [[["Hello.", "Hi."]], [user("Hello."), assistant("Hi.")], [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Hi."}]])  # fmt: skip
def test_a_history_becomes_the_turns_before_the_prompt(history):
    """LLaMA-Factory's pairs or messages; behind the system's words."""
    talk = [user("Hello."), assistant("Hi."), user(ASK)]
    assert read(prompt=ASK, history=history)[0] == talk
    assert read(prompt=ASK, history=history, system="Be brief.")[0] == [system("Be brief."), *talk]


@pytest.mark.parametrize(
    "column, value",
    [("tools", [{"name": "weather"}]), ("tools", '[{"name": "weather"}]'), ("images", ["a.png"]), ("image", "a.png"),
     ("context", "Ulm lies on the Danube."), ("history", "Hello."), ("history", [["one"]]), ("audio", {"array": [0.1]}),
     ("documents", ["x"]), ("input", {"a": 1}), ("system", ["x"])],
)  # fmt: skip
def test_a_column_that_cannot_be_read_is_refused_by_name_and_can_be_left_out(column, value):
    """Without it the preference may be the other way round. The remedy of the message works."""
    message = refusal(prompt=ASK, **{column: value})
    assert repr(column) in message
    assert read(prompt=ASK, **{column: type(value)()}) == (ASK, REPLY, OTHER)  # empty: nothing is lost


def test_an_instruction_beside_the_prompt_is_not_dropped():
    """Unless the prompt has it already, in whatever sentence."""
    assert "column 'instruction'" in refusal(prompt=ASK, instruction="Answer in verse.")
    assert read(prompt=f"Q: {ASK} A:", instruction=ASK)[0] == f"Q: {ASK} A:"
    assert read(prompt=f" {ASK}", instruction=f" {ASK}", input=" ", system="\n")[0] == f" {ASK}"


def test_a_column_whose_text_stands_in_the_prompt_is_not_lost():
    """RAG sets have the passage both ways."""
    prompt = f"Ulm lies on the Danube.\n{ASK}"
    assert read(prompt=prompt, context="Ulm lies on the Danube.")[0] == prompt


@pytest.mark.parametrize(
    "fields",
    [{"tool_calls": [{"function": {"name": "w"}}]}, {"reasoning_content": "first"}, {"thinking": "first"}, {"reasoning": "x"},
     {"function_call": {"name": "w"}}, {"images": ["a.png"]}, {"anything": {"deep": 1}}],
)  # fmt: skip
def test_a_field_of_a_message_that_would_be_lost_is_refused_by_name(fields):
    """Also where the texts are the same, or null: the answers differ in the tool call, so they are not identical."""
    (name,) = fields
    for content in (REPLY, OTHER, None, ""):
        assert repr(name) in refusal(prompt=ASK, chosen=[assistant(content, **fields)], rejected=[assistant(OTHER)])
    assert repr(name) in refusal(prompt=[user(ASK) | fields])


def test_fields_that_say_nothing_do_not_matter():
    """Parquet fills every field that one row of the set has with null; an id is no content."""
    chosen = [assistant(REPLY, tool_calls=None, images=[], reasoning_content="", id="m1", weight=1, metadata={"a": 1})]
    assert read(prompt=ASK, chosen=chosen) == (ASK, REPLY, OTHER)


# Messages in other people's words.


def test_sharegpt_and_llamafactory_are_read():
    """from and value, human and gpt; the answers as one message each."""
    sides = {"chosen": {"from": "gpt", "value": REPLY}, "rejected": {"from": "gpt", "value": OTHER}}
    assert read(conversations=[{"from": "human", "value": ASK}], **sides) == (ASK, REPLY, OTHER)
    turns = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": ASK}]
    assert read(conversations=turns, **sides)[0] == [system("Be brief."), user(ASK)]
    assert read(**{side: [*turns, message] for side, message in sides.items()}) == ([system("Be brief."), user(ASK)], REPLY, OTHER)  # fmt: skip


def test_text_parts_are_joined():
    """As vision templates write them: one behind the other."""
    parts = [{"type": "text", "text": "Which river "}, {"type": "text", "text": "runs through Prague?", "image": None}]
    chosen = [{"role": "assistant", "content": [{"type": "text", "text": REPLY}]}]
    assert read(prompt=parts, chosen=chosen[0]["content"]) == (ASK, REPLY, OTHER)
    assert read(prompt=[{"role": "user", "content": parts}], chosen=chosen) == (ASK, REPLY, OTHER)


@pytest.mark.parametrize("kind", ["image", "image_url", "audio", "thinking", "tool_use"])
def test_a_part_that_is_no_text_is_refused_by_its_type(kind):
    """A picture cannot be read, and the rest of the message is about it."""
    parts = [{"type": kind, kind: "x"}, {"type": "text", "text": ASK}]
    assert repr(kind) in refusal(prompt=[{"role": "user", "content": parts}])


@pytest.mark.parametrize("role", ["tool", "function", "observation", "function_call", None, 3])
def test_a_role_that_cannot_be_read_is_named(role):
    """With those that can."""
    message = refusal(prompt=[{"role": role, "content": "x"}, user(ASK)])
    assert f"the role {role!r}" in message and "system, user, assistant" in message and "gpt" in message


@pytest.mark.parametrize("value", [None, 3, [], [[]], ["text"], [None], True])
def test_an_answer_that_is_no_text_is_refused_by_the_column(value):
    """Before the loss, and not by an exception of somebody else."""
    assert "rejected" in refusal(prompt=ASK, rejected=value)
