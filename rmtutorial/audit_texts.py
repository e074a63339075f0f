"""What an audit finds in single texts: control tokens, damage, scripts and languages; and what shortcuts tell."""

import re
from collections import Counter

from rmtutorial import scripts
from rmtutorial.audit_findings import Finding
from rmtutorial.chat import any_of, control_tokens
from rmtutorial.preference_rows import texts_of
from rmtutorial.shortcuts import LONGER

MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|eot_id|>",
         "<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>",
         "<end_of_turn>", "<bos>", "<eos>", "</s>", "### Response:", "### Instruction:")  # fmt: skip
# UTF-8 that was read as Latin 1 or Windows-1252, and what stands for a byte that could not be read.
DAMAGED = re.compile("\ufffd|Ã[\u0080-\u00bf]|â€[\u0080-\u2122]|Â[\u00a0-\u00bf]")
SURE, STRONG = 0.9, 0.6  # lower end of a shortcut's interval


def with_control_tokens(pairs, tokenizer):
    """Pairs with a text that has a control token of the tokenizer in it, or one of another known model."""
    known = any_of({*control_tokens(tokenizer), *MARKS})
    rows, names, sides = [], Counter(), Counter()
    for i, pair in enumerate(pairs.pairs):
        texts = {"prompts": "\n".join(texts_of(pair.prompt)), "chosen": pair.chosen, "rejected": pair.rejected}
        there = {side: found for side, text in texts.items() if (found := set(known.findall(text)))}
        if there:
            rows.append(i)
            names.update(sorted(set().union(*there.values())))  # a set's order changes from run to run
            sides.update(list(there))
    most = ", ".join(f"{name} {n:,}" for name, n in names.most_common(3))
    where = ", ".join(f"{n:,} {side}" for side, n in sides.items())
    why = f"({most}; in {where}) Left over from a template: a mark that is in one side only is learned; here all are read as text, elsewhere one of the model's own ends a turn."
    do = "Cut them off before training: the chat template writes its own."
    return pairs.finding(pairs.level(rows, 0.01), "pairs with control tokens in their texts", rows, why, do)


def damage(pairs):
    """Pairs with a text whose characters were read in a wrong encoding."""
    rows = [
        i
        for i, p in enumerate(pairs.pairs)
        if any(DAMAGED.search(t) for t in (*texts_of(p.prompt), p.chosen, p.rejected))
    ]
    why = "UTF-8 that was read as something else, or bytes that were lost: if it is in one side only, it is what is learned."
    return pairs.finding(
        pairs.level(rows, 0.1), "pairs with damaged characters", rows, why, "Read the source anew as UTF-8."
    )


def scripts_of(pairs):
    """({script: share of the texts}, findings): answers in another script than the prompt or each other."""
    told = [tuple(map(scripts.script, ("\n".join(texts_of(p.prompt)), p.chosen, p.rejected))) for p in pairs.pairs]
    apart = [i for i, (_, chosen, rejected) in enumerate(told) if chosen and rejected and chosen != rejected]
    off = [i for i, (prompt, chosen, _) in enumerate(told) if prompt and chosen and prompt != chosen]
    why = "A judge that looks at the alphabet alone ranks them right."
    found = pairs.finding(pairs.level(apart, 0.2), "pairs whose answers are in different scripts", apart, why,
                          "Let both answers be written in the language that was asked for.")  # fmt: skip
    why = "Right for a translation; else the better answer is in a language that nobody asked for."
    found += pairs.finding(
        "note", "pairs whose chosen answer is in another script than the prompt", off, why, "Read some of them."
    )
    return shares(Counter(name or "no letters" for row in told for name in row)), found


def shares(count):
    """{name: share} of at least a hundredth, the greatest first."""
    total = sum(count.values())
    most = sorted(count.items(), key=lambda item: -item[1])
    return {name: round(n / total, 3) for name, n in most if n >= 0.01 * total}


def languages_of(pairs):
    """({language: share of the chosen answers}, findings)."""
    if not scripts.languages_available():
        why = "The library py3langid is not installed."
        return {}, [Finding("note", "languages were not looked at", 0, [], why, scripts.INSTALL)]
    return shares(scripts.languages([pair.chosen for pair in pairs.pairs])), []


def shortcut_findings(shortcuts):
    """Judges that understand nothing and are right far too often."""
    found = []
    do = "Balance it with pairs where it is wrong, and report the accuracy on those."
    for judge in shortcuts:
        name, accuracy, low, high = judge.name, judge.accuracy, judge.low, judge.high
        if name == LONGER and accuracy < 0.5:  # the others learn which way round they are right
            name, accuracy, low, high = "the shorter answer", 1 - accuracy, 1 - high, 1 - low
        if low >= STRONG:
            level = "spoils" if low >= SURE else "look"
            why = f"It ranks {accuracy:.2f} [{low:.2f}, {high:.2f}] of the pairs right: a reward model may learn that alone."
            found.append(Finding(level, f"a shortcut: {name}", 0, [], why, do))
    return found
