"""A check-up for any reward model: may its scores be believed, and what is to be known before they are used?"""

import os
from dataclasses import asdict, dataclass, field

from tqdm.auto import tqdm

from rmtutorial import examine_biases, examine_padding, examine_reading, examine_texts, examine_weights
from rmtutorial.examine_findings import Finding, order
from rmtutorial.examine_rows import rows_of
from rmtutorial.examine_subject import open_subject

FIRST = examine_weights.FIRST
CHECKS = (
    *FIRST,
    *examine_padding.CHECKS,
    *examine_weights.CHECKS,
    *examine_texts.CHECKS,
    *examine_reading.CHECKS,
    *examine_biases.CHECKS,
)  # each (Subject, Rows) -> Finding, in an order in which later ones may rely on earlier ones


@dataclass
class Examination:
    """What `examine` found. Rewards are in the model's own unit; "of a margin" is a share of an ordinary margin."""

    model: str
    kind: str  # class, weights, precision, device
    texts: int = 0  # that were read
    notes: list = field(default_factory=list)
    findings: list = field(default_factory=list)  # the worst first

    @property
    def wrong(self):
        """Did a check fail that makes scores wrong?"""
        return any(finding.status == "fail" for finding in self.findings)

    def __getitem__(self, name):
        """The Finding of the check with that name."""
        return next(finding for finding in self.findings if finding.name == name)

    def __str__(self):
        from rmtutorial.examine_page import page

        return page(self)

    def to_html(self):
        """One self-contained page."""
        from rmtutorial.examine_html import page

        return page(self)

    def _repr_html_(self):
        from rmtutorial.examine_html import body

        return body(self)

    def to_dict(self):
        """Plain values, for JSON."""
        return asdict(self) | {"wrong": self.wrong}


def examine(model, tokenizer=None, pairs=None, device=None):
    """Look at a reward model as a careful person would before using it: 25 checks, each with what to do.

    Args:
        model: folder or Hub id of a sequence classification model with one label, or the model itself, as it is.
        tokenizer: of a model in memory.
        pairs: PreferencePairs of your own whose better answer is plain, in place of the bundled rankings.
        device: "cuda", "cpu" ...; None leaves the model where it is.
    Returns: an Examination; print it, or show it in a notebook.
    Raises: FileNotFoundError, ModelNotAvailable; ValueError for what is no reward model, or fewer than 8 pairs.
    """
    rows = rows_of(pairs)
    subject = open_subject(model, tokenizer)
    if device is not None:
        subject.model.to(device)
    found = Examination(subject.name, _kind(subject.model), notes=subject.notes)
    for check in tqdm(CHECKS, desc="examining", disable="TQDM_DISABLE" in os.environ):
        failed = [finding.name for finding in found.findings[: len(FIRST)] if finding.status == "fail"]
        found.findings.append(_skipped(check, failed[0]) if failed else check(subject, rows))
    found.findings = order(found.findings)
    found.texts = len(subject.known)
    return found


def _skipped(check, failed):
    name = check.__name__.replace("_", " ")
    return Finding(
        name, "skipped", f"Nothing can be said while `{failed}` fails.", "", "Mend that, then examine again."
    )


def _kind(model):
    weights, first = sum(p.numel() for p in model.parameters()), next(model.parameters())
    return f"{type(model).__name__}, {weights / 1e6:,.0f} M weights, {str(first.dtype).removeprefix('torch.')}, {first.device}"
