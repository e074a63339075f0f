"""What a careful person looks at in a preference file before training on it, on one page."""

from dataclasses import asdict, dataclass, field

from rmtutorial import audit_lengths, audit_near, audit_pairs, audit_rows, audit_texts
from rmtutorial.audit_findings import Pairs, order
from rmtutorial.preference_pairs import no_prompt, read_source, read_split
from rmtutorial.preference_rows import to_pair
from rmtutorial.preferences import BUNDLED, SPLITS
from rmtutorial.shortcuts import shortcuts

LANGUAGES = 1000  # answers whose language is guessed
SAMPLE = 4000  # pairs that are tokenized, and that the shortcuts are tried on


@dataclass
class Audit:
    """What `audit` found. Counts are of rows or pairs, lengths in tokens, shortcuts the share that they rank right."""

    source: str
    rows: int
    pairs: int
    forms: dict = field(default_factory=dict)  # {what a row looks like: how many}
    splits: dict = field(default_factory=dict)  # {split: pairs}
    ratings: str = ""  # columns of strength or scores, and how many ties they have
    tokens: dict = field(default_factory=dict)  # {part: {"5 %": tokens, "half": ..., "95 %": ..., "longest": ...}}
    max_length: int = 1024
    looked_at: int = 0  # pairs that were tokenized
    scripts: dict = field(default_factory=dict)  # {script: share of the texts}
    languages: dict = field(default_factory=dict)  # {code: share}; empty without py3langid
    shortcuts: list = field(default_factory=list)
    findings: list = field(default_factory=list)  # the worst first

    @property
    def spoils(self):
        """Is there a finding that would spoil a training?"""
        return any(finding.level == "spoils" for finding in self.findings)

    def __str__(self):
        from rmtutorial.audit_text import page

        return page(self)

    def to_html(self):
        """One self-contained page."""
        from rmtutorial.audit_html import page

        return page(self)

    def _repr_html_(self):
        from rmtutorial.audit_html import body

        return body(self)

    def to_dict(self):
        """Plain values, for JSON."""
        return asdict(self) | {"spoils": self.spoils}


def audit(source=None, columns=None, model=None, max_length=1024):
    """Look at a preference set, and say for each finding why it matters and what to do.

    Args:
        source, columns: a file or rows in memory, as `load_preferences` takes them; None for the bundled pairs.
        model: folder or Hub id whose tokenizer counts; None for the embedded one.
        max_length: of the training, in tokens.
    Returns: an Audit; print it, or show it in a notebook.
    Raises: what reading raises where nothing can be read; rows that cannot be used are a finding.
    """
    rows, errors, name, unit = _rows(source, columns)
    numbered, good, total = [], [], len(rows) + len(errors)
    for number, row in rows:
        try:
            numbered.append((number, to_pair(row, no_prompt(columns)), read_split(row, SPLITS)))
            good.append((number, row))
        except ValueError as error:
            errors.append((number, str(error)))
    found = Audit(name, total, len(numbered), max_length=max_length)
    found.forms = audit_rows.forms(rows)
    found.findings = audit_rows.bad_rows(errors, unit)
    if numbered:
        _look(found, Pairs(*map(list, zip(*numbered)), unit), good, model)
    found.findings = order(found.findings)
    return found


def _rows(source, columns):
    if source is not None:
        return read_source(source, columns)
    if columns:
        raise ValueError(f"columns={columns}: the bundled pairs have our names; leave columns out")
    parts = [read_source(BUNDLED / f"{split}.jsonl") for split in SPLITS]
    rows = [row for part, *_ in parts for _, row in part]
    return list(enumerate(rows, 1)), [], "the bundled pairs", "row"


def _look(found, pairs, rows, model):
    found.ratings, rated = audit_rows.ratings(rows, pairs.unit)
    units, splits, divided = audit_pairs.division(pairs)
    found.splits = {name: splits.count(name) for name in SPLITS if name in splits}
    found.findings += [*rated, *divided, *audit_pairs.checks(pairs), *audit_near.near_repeats(pairs, units, splits)]
    sample, tokenizer = pairs.sample(SAMPLE), audit_lengths.load_tokenizer(model)
    found.looked_at = len(sample.pairs)
    found.tokens, cut = audit_lengths.lengths(sample, tokenizer, found.max_length)
    found.findings += [*cut, *audit_texts.with_control_tokens(pairs, tokenizer), *audit_texts.damage(pairs)]
    found.scripts, written = audit_texts.scripts_of(pairs)
    found.languages, spoken = audit_texts.languages_of(pairs.sample(LANGUAGES))
    found.shortcuts = shortcuts(sample.pairs, [units[i] for i in pairs.every(SAMPLE)])
    found.findings += [*written, *spoken, *audit_texts.shortcut_findings(found.shortcuts)]
