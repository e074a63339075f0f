"""Notebooks as reveal.js slides in out/slides, which need no network: reveal.js and KaTeX lie beside the pages.

    python tools/slides.py notebooks/03_bradley_terry_training.ipynb ...     (or: make slides)

No slide metadata is typed into the notebooks: `slide_pieces` finds where a slide begins.
"""

import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from slide_pieces import as_slides
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "slides"
NODE = ROOT / "out" / "node" / "node_modules"
LIBRARIES = ("reveal.js/dist/reveal.js", "reveal.js/dist/reveal.css", "reveal.js/dist/theme/white.css",
             "reveal.js/dist/theme/fonts/source-sans-pro/source-sans-pro.css", "katex/dist/katex.min.css", "katex/dist/katex.min.js",
             "katex/dist/contrib/auto-render.min.js", "katex/dist/fonts")  # fmt: skip


def write_slides(path):
    """out/slides/NAME.html of one notebook."""
    hide = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": ["output-only"]}})
    template = str(Path(__file__).with_name("slides.html.j2"))
    exporter = SlidesExporter(
        template_file=template, reveal_url_prefix="lib/reveal.js", reveal_theme="white", config=hide
    )
    notebook = as_slides(nbformat.read(path, as_version=4))
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": path.stem}})
    (OUT / f"{path.stem}.html").write_text(page, encoding="utf-8")


def copy_libraries():
    """reveal.js and KaTeX beside the pages; FileNotFoundError with the remedy if they were not fetched."""
    for name in LIBRARIES:
        source, target = NODE / name, OUT / "lib" / name
        if not source.exists():
            raise FileNotFoundError(f"{source} is missing; `make slides` fetches it with npm")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)


if __name__ == "__main__":
    copy_libraries()
    for name in sys.argv[1:]:
        write_slides(Path(name).expanduser())
        print(f"out/slides/{Path(name).stem}.html")
