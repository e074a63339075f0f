"""What an exercise is, and how an answer to it is asked for and compared."""

import copy
import dis
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Exercise:
    """One exercise: its reference, its hints, and a function that names the mistake of an answer or returns None."""

    reference: Callable
    hints: tuple
    mistake: Callable


class Wrong(AssertionError):
    """An answer that is not right; the message names the mistake."""


class NotTried(Exception):
    """The stub came back as it was handed out."""


def tried(function, *arguments):
    """The learner's answer to these arguments, which must come out as they went in.

    Raises: NotTried for a stub; Wrong for an answer of None or `...`, and for an argument that is changed in place.
    """
    if untouched(function):
        raise NotTried
    given = [_copy(argument) for argument in arguments]  # the next exercise may use the same ones
    answer = function(*given)
    if answer is None or answer is ...:
        raise Wrong(_nothing_returned(function, answer))
    for old, new in zip(arguments, given):
        if what := _changed(old, new):
            raise Wrong(f"it changes the {what} that it is given, which the caller still needs; work on a copy")
    return answer


def untouched(function):
    """Whether the body is `...`, `pass` or a docstring alone. A result of None does not say so: print gives it too."""
    if (code := _code(function)) is None:
        return False
    steps = list(dis.get_instructions(code))
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}  # of Python 3.10 to 3.13
    constants = [step.argval for step in steps if step.opname.endswith("_CONST")]
    return all(step.opname in idle for step in steps) and all(value in (None, ...) for value in constants)


def as_tensor(answer):
    """Numbers of any kind, as a tensor. Raises: Wrong for what holds none."""
    try:
        return torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave a {type(answer).__name__}, {answer!r}; numbers are asked for") from None


def same(answer, expected, tolerance=1e-6):
    """Tensors or numbers that agree in shape and value."""
    answer, expected = as_tensor(answer), as_tensor(expected)
    return answer.shape == expected.shape and torch.allclose(answer.double(), expected.double(), atol=tolerance)


def named(answer, mistakes):
    """The message of the first (wrong value, message) whose value this answer has, or None."""
    return next((message for value, message in mistakes if same(answer, value)), None)


def shown(answer):
    """Numbers to 4 decimals; with the shape unless it is one number, since a wrong shape can hold the right numbers."""
    answer = as_tensor(answer).detach()
    numbers = (answer.double().round(decimals=4) + 0.0).tolist()  # -0.0 + 0.0 is 0.0
    return f"{numbers}" if answer.ndim == 0 else f"{numbers} of shape {tuple(answer.shape)}"


def _code(function):
    return getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None  # unwrap: @no_grad()


def _nothing_returned(function, answer):
    if answer is ...:
        return "it returned `...`: put your answer in its place"
    if {"print", "ic"} & set(getattr(_code(function), "co_names", ())):
        return "it returned None: it prints, and what is printed is lost to the cells below; `return` it instead"
    return "it returned None: `return` is missing, or what stands behind it gives None, as list.sort() does"


def _copy(argument):
    if isinstance(argument, torch.Tensor):
        return argument if argument.requires_grad else argument.clone()  # gradients shall reach the caller's
    return copy.copy(argument)


def _changed(old, new):
    if isinstance(new, torch.Tensor):
        return None if torch.equal(old, new) else "tensor"
    if not isinstance(new, list) or old == new:
        return None
    return "order of the list" if sorted(map(id, old)) == sorted(map(id, new)) else "list"
