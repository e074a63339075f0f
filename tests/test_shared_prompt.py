"""The page on the shared prompt says what its code prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "notebooks" / "shared_prompt.md"


@pytest.mark.real
def test_every_output_on_the_page_is_what_its_code_prints():
    """Blocks run in their order, in one namespace, as a reader would paste them."""
    blocks = re.findall(r"```(python|text)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * (len(blocks) // 2) and len(blocks) >= 8
    names = {}
    for (_, code), (_, said) in zip(blocks[::2], blocks[1::2]):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == said


def test_notebooks_02_and_03_lead_to_the_page():
    """It is found where pairs are made and where they are trained on."""
    for name in ("02_preference_pairs", "03_bradley_terry_training"):
        assert "(shared_prompt.md)" in (PAGE.parent / f"{name}.ipynb").read_text(encoding="utf-8"), name
