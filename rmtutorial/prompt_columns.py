"""Columns beside the prompt that an answer depends on: read into the prompt, or refused by name; none is dropped."""

from rmtutorial.messages import read_messages

# What no chat message here can carry; an instruction beside a prompt that does not have it.
UNREADABLE = ("tools", "functions", "image", "images", "video", "videos", "audio", "audios", "document", "documents",
              "context", "instruction", "tool_calls", "reasoning_content")  # fmt: skip
LONG = 20  # characters
NOTHING = (None, "", [], {}, False, "[]", "null")
LEAVE_OUT = "if the answers do not depend on it, columns={{{0!r}: None}} (--columns {0}=) leaves it out"


def with_columns(row, prompt):
    """The messages of the prompt with the row's `history`, `input` and `system` in them.

    What stands in the prompt already is not added again. ValueError for a column that cannot be read.
    """
    there = "\n".join(["", *(message["content"].strip() for message in prompt), ""])
    columns = {name: value for name, value in row.items() if value not in NOTHING and not _stands_in(value, there)}
    for name in UNREADABLE:
        if name in columns:
            raise ValueError(f"column {name!r} cannot be read: {str(columns[name])[:40]}; {LEAVE_OUT.format(name)}")
    prompt = _with_input(prompt, columns.get("input"))
    prompt = _with_history(prompt, columns.get("history"))
    for name in ("system", "system_prompt"):
        prompt = _with_system(prompt, columns.get(name), name)
    return prompt


def _stands_in(value, text):
    """Is the value's text there, as whole lines or, where it is no mere word, anywhere? Blanks are everywhere."""
    said = str(value).strip()
    return not said or f"\n{said}\n" in text or (len(said) >= LONG and said in text)


def _with_history(prompt, history):
    """Turns before the prompt: messages, or pairs [question, answer] as LLaMA-Factory has them."""
    if history is None:
        return prompt
    if not isinstance(history, list):
        raise ValueError(f"column 'history' is no list of turns: {str(history)[:40]}; {LEAVE_OUT.format('history')}")
    if all(isinstance(turn, dict) for turn in history):
        turns = read_messages(history, "history")
    elif all(isinstance(turn, list) and len(turn) == 2 and all(isinstance(x, str) for x in turn) for turn in history):
        turns = [{"role": role, "content": x} for turn in history for role, x in zip(("user", "assistant"), turn)]
    else:
        raise ValueError(f"column 'history' has neither messages nor pairs of texts: {str(history)[:40]}")
    if prompt[: len(turns)] == turns:
        return prompt
    first = [message for message in prompt[:1] if message["role"] == "system"]
    return first + turns + prompt[len(first) :]


def _with_input(prompt, value):
    """Alpaca's: the text that the instruction is about, in a line of its own below it."""
    if value is None:
        return prompt
    if not isinstance(value, str) or [message["role"] for message in prompt] != ["user"]:
        raise ValueError(
            f"column 'input' cannot be joined to this prompt: {str(value)[:40]}; {LEAVE_OUT.format('input')}"
        )
    return [{"role": "user", "content": f"{prompt[0]['content']}\n{value}"}]


def _with_system(prompt, value, name):
    if value is None:
        return prompt
    if not isinstance(value, str) or any(message["role"] == "system" for message in prompt):
        why = "is not text" if not isinstance(value, str) else "is beside another system message in the prompt"
        raise ValueError(f"column {name!r} {why}: {str(value)[:40]}; {LEAVE_OUT.format(name)}")
    return [{"role": "system", "content": value}, *prompt]


def check_prompt(prompt):
    """ValueError unless the messages say something and leave the next turn to the assistant."""
    if not prompt:
        raise ValueError("no prompt: nothing stands before the answers; add a column 'prompt'")
    if not any(message["content"].strip() for message in prompt):
        raise ValueError("prompt is empty")
    if prompt[-1]["role"] == "assistant":
        raise ValueError(
            "prompt ends with an assistant turn, and the answer would be a second one: its last turn must be the user's"
        )
    return prompt
