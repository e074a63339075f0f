"""The ids of many texts at once: each is cut into pieces where that changes no id, and equal pieces are read once."""

import functools
import gc
import re
from contextlib import contextmanager
from itertools import chain

from tokenizers import pre_tokenizers

SPACE = re.compile(r" (?=[!-~])(?<=[!-~] )")  # between two ASCII characters that are no spaces themselves
MARK = "\ufdd0"  # Unicode keeps this code point out of texts; where it stands, a text is always cut
SHORT = 24  # characters; such a piece is a word that comes again


@contextmanager
def collection_paused():
    """Without Python's search for circles: among millions of new lists of numbers there are none, and it takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class PieceTokenizer:
    """Ids of many texts: each is cut where that changes no id, and equal pieces are tokenized once.

    The prompt of a pair, which stands in three texts, is read once; words are looked up where a cut before a space is
    safe. Tokenizing is nearly all the work of encoding, so this makes it several times faster.
    """

    def __init__(self, tokenizer):
        self.tokenizer, self.known = tokenizer, {}
        marks = cutting_marks(tokenizer)
        self.marks = re.compile(f"({'|'.join(map(re.escape, marks))})") if marks else None
        self.at_spaces = cuts_at_spaces(tokenizer)
        self.numbers = _numbers(len(tokenizer))

    def ids(self, texts):
        """The ids of every text, as the tokenizer alone gives them of what stands between MARKs, without marks of its own."""
        parts = [self.cut(text) for text in texts]
        found = self._ids_of_parts(set(chain.from_iterable(parts)))
        return [list(chain.from_iterable(map(found.__getitem__, cut))) for cut in parts]

    def cut(self, text):
        """Parts of a text: what stands between MARKs, and of that each mark with what follows it."""
        return list(chain.from_iterable(map(self._cut_at_marks, text.split(MARK))))

    def _cut_at_marks(self, text):
        parts = self.marks.split(text) if self.marks else [text]
        return [parts[0], *map("".join, zip(parts[1::2], parts[2::2]))]

    def _ids_of_parts(self, parts):
        words = {part: _words(part) if self.at_spaces else [part] for part in parts}
        new = list({word for word in chain.from_iterable(words.values()) if word not in self.known})
        if new:  # the template has written all marks already: no special tokens
            rows = self.tokenizer(new, add_special_tokens=False, return_attention_mask=False)["input_ids"]
            self.known.update(zip(new, map(self._shared, rows)))
        found = {part: list(chain.from_iterable(map(self.known.__getitem__, cut))) for part, cut in words.items()}
        for word in new:
            if len(word) > SHORT:
                del self.known[word]
        return found

    def _shared(self, ids):
        """Equal ids as one object: a Python int takes 32 bytes, a reference to it 8."""
        try:
            return list(map(self.numbers.__getitem__, ids))
        except IndexError:  # an id beyond the size: this vocabulary has holes
            return ids


def _words(part):
    first, *others = SPACE.split(part)
    return [first, *map(" ".__add__, others)]


@functools.cache
def _numbers(size):
    return tuple(range(size))


def cutting_marks(tokenizer):
    """Special tokens before which a text can be cut, so that the ids of the parts are those of the whole.

    A fast tokenizer divides a text at its special tokens first, then treats each part alone. Not so where the token
    takes the spaces before it along, stands in normalized text or only between words, or could overlap another one.
    """
    if not tokenizer.is_fast or getattr(tokenizer, "split_special_tokens", False):
        return ()
    added = tuple(tokenizer.added_tokens_decoder.values())
    texts = tuple(token.content for token in added)
    plain = (t.content for t in added if t.special and not (t.lstrip or t.normalized or t.single_word))
    return tuple(mark for mark in plain if not _overlapped(mark, texts))


@functools.cache
def _overlapped(mark, texts):
    """Can one of the texts reach across the beginning of `mark`?"""
    ends = (text[at:] for text in texts for at in range(1, len(text)) if text[at] == mark[0])
    return any(mark.startswith(end) or end.startswith(mark) for end in ends)


def cuts_at_spaces(tokenizer):
    """Does every word begin anew at a space? True of byte-level BPE as GPT-2 and SmolLM2 have it.

    Its pattern takes a single space into the word behind it, whatever stands before; other patterns are not looked
    into. A token that takes spaces along, or has one within, would be cut apart.
    """
    if not tokenizer.is_fast:
        return False
    backend, added = tokenizer.backend_tokenizer, tokenizer.added_tokens_decoder.values()
    split = backend.pre_tokenizer
    gpt2 = isinstance(split, pre_tokenizers.ByteLevel) and split.use_regex and not split.add_prefix_space
    whole = not any(token.lstrip or token.rstrip or " " in token.content for token in added)
    return gpt2 and whole and backend.normalizer is None
