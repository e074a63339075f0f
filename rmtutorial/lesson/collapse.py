"""How alike the answers of a policy have become, read from their words alone."""

from collections import Counter


def openers(texts, words=1):
    """Share of the texts that begin with the same words as most of them, and these words; texts shorter than that count whole.

    Args: texts, a list of str, of one prompt or of many. Returns: (float, str), the words in lower case.
    """
    found = Counter(" ".join(text.lower().split()[:words]) for text in texts)
    opener, count = found.most_common(1)[0]
    return count / len(texts), opener


def distinct_words(texts):
    """Distinct words as a share of all words; it falls as texts get longer, so compare texts of one length alone."""
    words = [word for text in texts for word in text.lower().split()]
    return len(set(words)) / max(1, len(words))
