"""Which script a text is written in (Unicode's names), and which language (the library `py3langid`)."""

import importlib.util
import unicodedata
from collections import Counter
from functools import lru_cache

LOOKED_AT = 300  # characters of a text
INSTALL = "pip install py3langid"
JAPANESE = {"HIRAGANA", "KATAKANA"}
NAMES = {"CJK": "Han"}


def languages_available():
    """Is `py3langid` installed?"""
    return importlib.util.find_spec("py3langid") is not None


def script(text):
    """The script of most letters of a text: Latin, Han, Cyrillic, ...; "" where it has no letters."""
    count = Counter()
    for character, n in Counter(text[:LOOKED_AT]).items():
        if character.isalpha():
            count[_script(character)] += n
    if not count:
        return ""
    return (
        "Japanese" if JAPANESE & set(count) and set(count) <= JAPANESE | {"CJK"} else _name(count.most_common(1)[0][0])
    )


def _name(script):
    return NAMES.get(script, script.capitalize())


@lru_cache(maxsize=4096)
def _script(character):
    return unicodedata.name(character, "unknown").split(" ")[0].split("-")[0]


def languages(texts):
    """{language code: how many of the texts}, the most frequent first. Short texts are often taken for another."""
    import py3langid

    return dict(Counter(py3langid.classify(text[:1000])[0] for text in texts).most_common())
