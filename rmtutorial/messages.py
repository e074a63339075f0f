"""Chat messages as files have them, read into {"role", "content"}: other names, parts of text, one text with turns."""

import re

ROLES = ("system", "user", "assistant")
SAME_ROLE = {"human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
             "model": "assistant"}  # fmt: skip
NAMES = {"role", "from", "content", "value"}
# Fields of a message that an answer may consist of. Lists and objects of any other name count too, but for these.
MATTER = {"tool_calls", "function_call", "tool_call_id", "reasoning", "reasoning_content", "thinking", "thought",
          "thoughts", "refusal", "image", "audio", "video", "file", "document", "context"}  # fmt: skip
HARMLESS = {"metadata", "meta", "info"}
EMPTY = (None, "", [], {}, False)
TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")  # of HH-RLHF's texts


def read_messages(value, column):
    """[{"role", "content"}, ...] of one message or a list of them, in the names of OpenAI or of ShareGPT.

    Raises: ValueError for what is no message, another role, or a field whose content would be lost.
    """
    return [_message(message, column) for message in (value if isinstance(value, list) else [value])]


def _message(message, column):
    if not isinstance(message, dict):
        raise ValueError(f"{column} has an entry that is no message but {type(message).__name__}: {str(message)[:40]}")
    lost = [name for name, value in message.items() if name not in NAMES and value not in EMPTY
            and (name in MATTER or (isinstance(value, (list, dict)) and name not in HARMLESS))]  # fmt: skip
    if lost:
        raise ValueError(
            f"{column} has a message with {', '.join(map(repr, lost))} beside its content: that would be lost; "
            "write it into the content, or remove it"
        )
    role, content = (message.get(a) if message.get(a) is not None else message.get(b) for a, b in (("role", "from"), ("content", "value")))  # fmt: skip
    known = str(role).lower()
    known = SAME_ROLE.get(known, known)
    if known not in ROLES:
        raise ValueError(
            f"{column} has a message with the role {role!r}; it must be one of {', '.join(ROLES)} (human and gpt are read too)"
        )
    return {"role": known, "content": read_content(content, column)}


def is_parts(value):
    """Is this a content's list of parts, and no list of messages?"""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(part, dict) and "type" in part and not {"role", "from"} & set(part) for part in value)
    )


def read_content(content, column):
    """The text of a content that is text or a list of text parts."""
    if isinstance(content, list):
        return "".join(_part(part, column) for part in content)
    if not isinstance(content, str):
        what = "null" if content is None else f"not text but {type(content).__name__}: {str(content)[:40]}"
        raise ValueError(f"{column} is {what}")
    return content


def _part(part, column):
    if isinstance(part, str):
        return part
    kind = part.get("type", "text" if "text" in part else None) if isinstance(part, dict) else type(part).__name__
    if kind != "text" or not isinstance(part.get("text"), str):
        raise ValueError(f"{column} has a part of the type {kind!r}; only text can be read")
    return part["text"]


def has_turns(text):
    """Is this a conversation in HH-RLHF's form: "Human: ...", a blank line, "Assistant: ..."?"""
    return text.startswith("\n\nHuman:") or (text.lstrip().startswith("Human:") and "\n\nAssistant:" in text)


def read_turns(text):
    """The messages of such a text. An assistant's turn that is only opened at the end is none."""
    _, *parts = TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[name], "content": said.strip()} for name, said in zip(parts[::2], parts[1::2])]


def contains(conversation, part):
    """Do the messages `part` stand one behind the other in `conversation`? Outer white space does not count."""
    whole, part = ([(m["role"], m["content"].strip()) for m in turns] for turns in (conversation, part))
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))
