"""Machine checks of single answers: `verify` (form) and `check` (arithmetic) of the set files."""

import ast
import operator
import re

_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.USub: operator.neg,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.Gt: operator.gt,
    ast.LtE: operator.le, ast.GtE: operator.ge,
}  # fmt: skip


def check_arithmetic(expression):
    """True when a comparison such as `6*14==84` holds. Numbers and operators only; anything else is a ValueError."""
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"check {expression!r} is not an expression") from error
    if not isinstance(tree, ast.Compare):
        raise ValueError(f"check {expression!r} compares nothing; write e.g. 6*14==84")
    return bool(_evaluate(tree, expression))


def _evaluate(node, expression):
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.operand, expression))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left, expression), _evaluate(node.right, expression))
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _OPERATORS:
        left, right = _evaluate(node.left, expression), _evaluate(node.comparators[0], expression)
        if type(node.ops[0]) is ast.Eq:
            return abs(left - right) < 1e-9  # 0.1 * 3 == 0.3
        return _OPERATORS[type(node.ops[0])](left, right)
    raise ValueError(f"check {expression!r} may hold numbers and + - * / // % ** only")


def verify(condition, answer):
    """True when `answer` meets every part of `condition`, e.g. `"bullets:3 & excludes:sugar"`."""
    return all(_verify_one(part.strip(), answer) for part in condition.split(" & "))


def _verify_one(part, answer):
    name, _, argument = part.partition(":")
    if name not in VERIFIERS:
        raise ValueError(f"verify {part!r}: unknown check; known are {', '.join(VERIFIERS)}")
    return bool(VERIFIERS[name](answer, argument))


def _lines(text):
    return [line for line in text.split("\n") if line.strip()]


def _words(text):
    return re.findall(r"[A-Za-z0-9']+(?:-[A-Za-z0-9']+)*", text)


def _sentences(text):
    return re.findall(r"[^.!?\n]+[.!?]+", re.sub(r"(\d)\.(\d)", r"\1\2", text))


def _items(text):
    return [item.strip(" .-") for item in (text.split(",") if "," in text else _lines(text))]


def _comma_list(text, n):
    return len(_lines(text)) == 1 and text.count(",") == int(n) - 1 and not text.endswith(".")


def _bullets(text, n):
    return len(_lines(text)) == int(n) and all(line.startswith("- ") for line in _lines(text))


def _numbered(text, n):
    lines = _lines(text)
    return len(lines) == int(n) and all(line.startswith(f"{i}. ") for i, line in enumerate(lines, 1))


def _paragraph(text, _):
    marked = any(re.match(r"(- |\* |\d+\. |#|\|)", line) for line in _lines(text))
    return len(_lines(text)) == 1 and not marked and len(_sentences(text)) >= 1


def _order(text, argument):
    places = [re.search(rf"\b{re.escape(word.strip().lower())}", text.lower()) for word in argument.split(">")]
    return all(places) and sorted(p.start() for p in places) == [p.start() for p in places]


def _sorted(text, _):
    items = [item.lower() for item in _items(text)]
    return len(items) > 1 and items == sorted(items)


def _count(text, argument):
    word, _, n = argument.rpartition("=")
    return len(re.findall(rf"\b{re.escape(word.lower())}\b", text.lower())) == int(n)


def _person(text, n):
    words = {word.lower().split("'")[0] for word in _words(text)}
    first, second = words & {"i", "me", "my", "mine", "we", "us", "our"}, words & {"you", "your", "yours"}
    return bool(first and not second) if n == "1" else bool(second and not first)


def _letters(text):
    return [c for c in text if c.isalpha()]


def _table(text, n):
    rows = [line for line in _lines(text) if line.startswith("|")]
    return len(rows) == int(n) + 2 and set(rows[1]) <= set("|-: ")


VERIFIERS = {
    "words": lambda a, n: len(_words(a)) == int(n),
    "max_words": lambda a, n: len(_words(a)) <= int(n),
    "min_words": lambda a, n: len(_words(a)) >= int(n),
    "sentences": lambda a, n: len(_sentences(a)) == int(n),
    "lines": lambda a, n: len(_lines(a)) == int(n),
    "comma_list": _comma_list,
    "bullets": _bullets,
    "numbered": _numbered,
    "starts": lambda a, text: a.startswith(text),
    "ends": lambda a, text: a.endswith(text),
    "contains": lambda a, text: text.lower() in a.lower(),
    "excludes": lambda a, text: text.lower() not in a.lower(),
    "question": lambda a, _: a.rstrip().endswith("?"),
    "uppercase": lambda a, _: all(c.isupper() for c in _letters(a)),
    "lowercase": lambda a, _: all(c.islower() for c in _letters(a)),
    "paragraph": _paragraph,
    "order": _order,
    "sorted": _sorted,
    "count": _count,
    "person": _person,
    "digits": lambda a, _: any(c.isdigit() for c in a),
    "no_digits": lambda a, _: not any(c.isdigit() for c in a),
    "initial": lambda a, letter: all(w[0].lower() == letter.lower() for w in _words(a)),
    "table": _table,
}
