"""Small files in the forms in which people have preference data, written by us: authored, no excerpts of any set."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "data" / "raw"
FORMS = ("ultrafeedback", "hh", "sharegpt", "chat", "chinese", "long")  # `load_preferences` reads them as they are


def path(name):
    """The file of one form; also "rankings", which are no pairs yet, and "broken", for `audit`."""
    return FOLDER / f"{name}.jsonl"
