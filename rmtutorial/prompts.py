"""What an answer answers: a row's prompt from the columns that have it, without inventing, doubling or losing any."""

from rmtutorial.messages import contains, has_turns, is_parts, read_content, read_messages, read_turns
from rmtutorial.prompt_columns import NOTHING, check_prompt, with_columns

# Where a row without `prompt` may have it. `messages` of a set that has `prompt` too (UltraFeedback) is not looked at.
LIKE_PROMPT = ("question", "instruction", "query", "input", "conversations", "conversation", "messages")
SHORT = 12  # bytes: a prompt of "Hello" may well be how both answers begin


def prompt_and_answers(row, answers, implicit=False):
    """(prompt, [text of each answer]) of a row.

    Args:
        row: with `prompt`, or a column of LIKE_PROMPT; `system`, `history` and `input` join the prompt.
        answers: {column: value}: text, one assistant message, or a whole conversation that ends with the answer.
        implicit: the texts have no prompt of their own: it is the words that they begin with.
    Returns: prompt, text where it is one user turn, else messages.
    Raises: ValueError that names the column.
    """
    read = {column: _answer(value, column) for column, value in answers.items()}
    history = _common_history({column: before for column, (before, _) in read.items() if before})
    texts = [text for _, text in read.values()]
    own = None if implicit else _own_prompt(row, history)
    if own is None and history is None:
        prompt, texts = (_common_words if implicit else _no_prompt)(row, texts)
    else:
        prompt = _merged(own, history)
        texts = _without_prompt(prompt, texts)
        if isinstance(row.get("prompt"), str) and has_turns(row["prompt"]):
            texts = [text.strip() for text in texts]  # of "Assistant: Yes." the space belongs to neither
    prompt = check_prompt(with_columns(row, prompt) if prompt else prompt)
    for column, text in zip(answers, texts):
        if not text.strip():
            raise ValueError(f"{column} is empty")
    return prompt[0]["content"] if [m["role"] for m in prompt] == ["user"] else prompt, texts


def _answer(value, column):
    """(messages before the answer, the answer's text)."""
    if is_parts(value) or (isinstance(value, str) and not has_turns(value)):
        return [], read_content(value, column)
    if not isinstance(value, (str, list, dict)):
        read_content(value, column)  # raises
    turns = read_turns(value) if isinstance(value, str) else read_messages(value, column)
    if not turns or turns[-1]["role"] != "assistant":
        last = f"with the role {turns[-1]['role']!r}" if turns else "nowhere"
        raise ValueError(f"{column} ends {last}; it must be text, or end with the assistant message that answers")
    return turns[:-1], turns[-1]["content"]


def _common_history(histories):
    if not histories:
        return None
    first, *others = histories.values()
    for column, other in zip(list(histories)[1:], others):
        if other != first:
            same = next((i for i, (a, b) in enumerate(zip(first, other)) if a != b), min(len(first), len(other)))
            raise ValueError(
                f"{next(iter(histories))} and {column} are conversations that differ from message {same + 1} of "
                f"{len(first) + 1} on; only the last turn may differ"
            )
    return first


def _own_prompt(row, history):
    """The messages of `prompt` or of the column that stands for it, or None."""
    value = row.get("prompt")
    if "prompt" not in row and history is None:
        like = [name for name in LIKE_PROMPT if row.get(name) not in NOTHING]
        like = [name for name in like if name != "input"] or like  # Alpaca: `input` goes with `instruction`
        if len(like) > 1:
            raise ValueError(f"no column 'prompt', and {' and '.join(like)} may both be it; {_name_it(like[0])}")
        value = row[like[0]] if like else None
    if value is None or (history is not None and value in NOTHING):
        return None
    return _messages(value, "prompt")


def _messages(value, column):
    """Messages of a column that is text, messages, or a text with turns."""
    if isinstance(value, str) and has_turns(value):
        turns = read_turns(value)
        return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns
    if isinstance(value, (list, dict)) and not is_parts(value):
        return read_messages(value, column)
    return [{"role": "user", "content": read_content(value, column)}]


def _merged(own, history):
    """One prompt of the row's own and of what stands before the answers, of which one contains the other."""
    if own is None or history is None:
        return own or history or []
    if contains(history, own):
        return history
    if contains(own[-len(history) :], history):
        return own
    raise ValueError(
        "prompt is not what the conversations in chosen and rejected begin with; take one of them: "
        "columns={'prompt': None} (--columns prompt=) leaves the column out"
    )


def _without_prompt(prompt, texts):
    """The answers alone, where all of them repeat a prompt that is no mere greeting and ends there."""
    said = prompt[-1]["content"].strip() if prompt else ""
    if len(texts) < 2 or len(said.encode(errors="replace")) < SHORT:
        return texts
    rests = [text.lstrip()[len(said) :] for text in texts if text.lstrip().startswith(said)]
    ends = len(rests) == len(texts) and (not said[-1].isalnum() or all(rest[:1].isspace() for rest in rests))
    return [rest.lstrip() for rest in rests] if ends else texts


def _no_prompt(row, texts):
    if "prompt" in row and row["prompt"] is None:
        raise ValueError("prompt is null")
    others = [str(name) for name in row if name not in ("chosen", "rejected", "response", "responses")]
    remedy = _name_it(others[0]) if others else "add it"
    raise ValueError(
        f"no prompt: there is no column 'prompt' ({', '.join(others) or 'none but the answers'}); {remedy}; or, where "
        "the texts begin with it, columns={'prompt': None} (--columns prompt=)"
    )


def _name_it(column):
    return f"say which: columns={{'prompt': {column!r}}} (--columns prompt={column})"


def _common_words(row, texts):
    """TRL's implicit prompt: the whole words that all texts begin with."""
    same = 0
    while same < min(map(len, texts)) and len({text[same] for text in texts}) == 1:
        same += 1
    same = max(texts[0].rfind(" ", 0, same), texts[0].rfind("\n", 0, same)) + 1
    if same == 0:
        raise ValueError("no prompt: the column is left out, and chosen and rejected have no common beginning")
    return [{"role": "user", "content": texts[0][:same]}], [text[same:] for text in texts]
