"""GitHub's workflows do what README says: the same Pythons, the same commands, and versions that stand in one place."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
README, MAKEFILE, PROJECT = ((ROOT / name).read_text("utf-8") for name in ("README.md", "Makefile", "pyproject.toml"))
TEXTS = {path.name: path.read_text("utf-8") for path in ROOT.glob(".github/*/**/*.yml")}
FILES = {name: yaml.safe_load(text) for name, text in TEXTS.items()}


def from_project(match):
    """What $(grep -o 'pattern' file) prints: here it must be one thing."""
    lines = (ROOT / match[2]).read_text("utf-8").splitlines()
    (found,) = [found for line in lines for found in re.findall(match[1], line)]
    return found


def commands(name):
    """The commands of a workflow or an action, as the shell runs them."""
    jobs = FILES[name]["jobs"].values() if "jobs" in FILES[name] else [FILES[name]["runs"]]
    text = "\n".join(step["run"] for job in jobs for step in job["steps"] if "run" in step)
    return re.sub(r"\$\(grep -o '(.*?)' (\S+)\)", from_project, text).replace('"', "").splitlines()


def test_the_pythons_that_the_project_promises_are_tested():
    """Those of pyproject.toml and of README, each of them on Linux; and no workflow has another."""
    allowed = SpecifierSet(re.search(r'requires-python = "(.*)"', PROJECT)[1])
    promised = [f"3.{minor}" for minor in range(50) if f"3.{minor}" in allowed]
    assert f"Python {promised[0]} to {promised[-1]};" in README
    assert FILES["tests.yml"]["jobs"]["unit"]["strategy"]["matrix"]["python"] == promised
    assert set(re.findall(r'"(3\.\d+)"', "".join(TEXTS.values()))) == set(promised)


def test_versions_are_those_of_the_project():
    """README's installation, the embedded model included, comes out of files that exist; no version is typed."""
    cpu_torch = re.search(r"`(pip install torch==[^`]*)`", README)[1]
    readme = re.findall(r"^(?:pip install|python -m rmtutorial\.backbones).*", README, re.MULTILINE)
    assert [line for line in commands("action.yml") if line.startswith(("pip ", "python "))] == [cpu_torch, *readme]
    assert re.findall(r"==\d", "".join(TEXTS.values())) == []
    assert all((ROOT / file).is_file() for file in re.findall(r"'([\w/]+\.\w+)'", TEXTS["action.yml"]))


def test_the_checks_are_those_of_readme_and_make():
    """Who breaks CI finds out with the commands that README has."""
    *lint, unit = [line for line in commands("tests.yml") if line.startswith(("ruff ", "python "))]
    assert [unit, *commands("notebooks.yml")] == re.findall(r"`(python -m pytest[^`]*)`", README)[:2]
    assert lint == re.findall(r"\$\(BIN\)/(ruff .*)", MAKEFILE)


@pytest.mark.parametrize("name", ["tests.yml", "notebooks.yml"])
def test_a_workflow_may_only_read_and_ends(name):
    """Without these lines GitHub's token may write in older repositories, and a job that hangs runs for six hours."""
    assert FILES[name]["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in FILES[name]["jobs"].values())
