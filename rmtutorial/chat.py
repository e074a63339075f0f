"""From messages to token ids by the chat template: the same ids every day, and no text that passes for a turn."""

import contextlib
import re
import weakref
from datetime import datetime

from jinja2 import TemplateError

from rmtutorial.pieces import MARK, PieceTokenizer

DATE = datetime(2024, 7, 26)  # what Llama 3.2's template writes where it has no clock
CLOCK = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_patterns = weakref.WeakKeyDictionary()  # tokenizer -> (what it depends on, pattern)


def chat_ids(tokenizer, messages, add_generation_prompt=False):
    """Token ids of chat messages, written by the tokenizer's chat template. ValueError when it refuses them."""
    messages = _shield(messages, control_pattern(tokenizer))
    return PieceTokenizer(tokenizer).ids([_written(tokenizer, messages, add_generation_prompt)])[0]


def rendered(tokenizer, prompt, responses):
    """[the text before an answer, then that of each answer with its prompt], as a PieceTokenizer reads them.

    A control token within a message (`<|im_end|>`) has a MARK inside, so it is read as the text that it is: only the
    template can open or close a turn.
    Raises: ValueError with the template's own words when it refuses the messages.
    """
    pattern = control_pattern(tokenizer)
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    messages = _shield(messages, pattern)
    before = _written(tokenizer, messages, add_generation_prompt=True)
    answers = [{"role": "assistant", "content": _shield(response, pattern)} for response in responses]
    return [before, *(_written(tokenizer, [*messages, answer], add_generation_prompt=False) for answer in answers)]


def tell_control_tokens(tokenizer, pairs):
    """Print how many PreferencePairs have control tokens in their text, if any: other libraries let them act."""
    pattern = control_pattern(tokenizer)
    found = [token for p in pairs if (token := pattern.search(f"{p.prompt}\0{p.chosen}\0{p.rejected}"))]
    if found:
        print(
            f"{len(found)} of {len(pairs)} pairs have control tokens of the tokenizer in their text (such as "
            f"{found[0][0]}): read as text here; remove them if they were meant as marks"
        )


def control_pattern(tokenizer):
    """Matches every token that could forge a turn; found anew when tokens or template have changed."""
    depends_on = len(tokenizer), tokenizer.chat_template
    known = _patterns.get(tokenizer)
    if known is None or known[0] != depends_on:
        _patterns[tokenizer] = known = depends_on, any_of(control_tokens(tokenizer))
    return known[1]


def any_of(texts):
    """A pattern that finds the longest of the texts that stands somewhere; nothing where there are none."""
    return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")


def control_tokens(tokenizer):
    """Special tokens, and added ones that the template writes around a turn (a few tokenizers do not call them special).

    `<think>` and its like are left alone: templates look for them in an answer.
    """
    added = tokenizer.added_tokens_decoder  # {id: AddedToken}
    written = set()
    if tokenizer.chat_template:
        talk = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
        with contextlib.suppress(ValueError):  # a template that refuses this refuses it aloud when it is used
            written = set(tokenizer(_written(tokenizer, talk, False), add_special_tokens=False)["input_ids"])
    found = {token.content for number, token in added.items() if token.special or number in written}
    return {content for content in found if len(content.strip()) > 1}


def _shield(value, pattern):
    """Messages with a MARK in every control token of their texts, however they are nested."""
    if isinstance(value, dict):
        return {key: _shield(inner, pattern) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shield(inner, pattern) for inner in value]
    if not isinstance(value, str):
        return value
    value = value.replace(MARK, "")
    while pattern.search(value):  # again: behind the cut another one may begin
        value = pattern.sub(lambda token: token[0][0] + MARK + token[0][1:], value)
    return value


def _written(tokenizer, messages, add_generation_prompt):
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False)
    except (TemplateError, TypeError, AttributeError) as error:
        said = "; ".join(f"{m.get('role')}: {str(m.get('content'))[:60]!r}" for m in messages[:3]).replace(MARK, "")
        raise ValueError(
            f"the model's chat template refuses this conversation ({said}): {error}. Mend the messages, or use "
            "template='plain'"
        ) from error


def settle_template(tokenizer):
    """Keep one chat template, in place, and let it write a fixed date: tomorrow a text must encode as it does today.

    Raises: ValueError for a template whose date cannot be fixed.
    """
    if tokenizer.chat_template is None:
        return
    template = tokenizer.get_chat_template()  # of several, the one that is used
    fixed = CLOCK.sub(lambda call: repr(DATE.strftime(call[2])), template)
    if re.search(r"strftime_now\s*\(", fixed):
        raise ValueError(
            "the chat template asks for the date (strftime_now) in a form that cannot be fixed, so the same text would "
            "have another score tomorrow: set tokenizer.chat_template to one without a date"
        )
    if fixed != template:
        print(
            f"The chat template writes today's date (strftime_now); here it is always {DATE:%d %b %Y}, also in what is "
            "saved, so that a text keeps its score."
        )
    tokenizer.chat_template = fixed
