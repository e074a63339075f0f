"""Build what Binder builds, as far as it can be had here, then execute every notebook in 2 GB on one core.

    python tests/launch/binder.py     builds a new environment in out/launch/binder; 15 minutes on two cores

Like Binder: binder/requirements.txt alone, postBuild and start run as scripts by their names, an empty home folder.
Unlike Binder: torch from PyPI in place of +cpu, this Python, no conda, nbconvert in place of JupyterLab beside the
kernel, and the container is a control group (without root nothing kills; the peak is measured).
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import places
from memory_group import inside, killed, memory_group
from offline_bundle import copy_of_checkout

LIMIT = 2_000_000_000  # bytes; Binder's 2 GB may mean 2**31
SERVER = ["jupyterlab", "nbconvert"]  # Binder's own image has these


def requirements():
    """binder/requirements.txt without the index that only torch's CPU build needs, and what the image has."""
    lines = (places.ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").replace("+cpu", "").splitlines()
    versions = places.pinned("requirements.txt")
    wanted = [line.split("#")[0].strip() for line in lines if not line.startswith("--")]
    return [line for line in wanted if line] + [f"{name}=={versions[name]}" for name in SERVER]


def tree_memory(pid):
    """Resident bytes of a process and all below it, shared pages counted once for each."""
    total = 0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # it ended while we looked
        pass
    return total


def run_and_measure(command, **keywords):
    """Run a command; returns (exit code, its stderr, peak resident bytes of its processes, looked at 10 times a second)."""
    peak = 0
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(command, stderr=errors, **keywords) as process:
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(0.1)
        errors.seek(0)
        return process.returncode, errors.read(), peak


def execute(path, repository, variables):
    """One notebook behind start, limited; returns what is wrong with it."""
    command = [repository / "binder" / "start", *places.execution(path.name, repository / "executed")]
    with memory_group(LIMIT) as group:
        code, errors, peak = run_and_measure(inside(group, command), cwd=repository / "notebooks", env=variables)
        kills = killed(group)
    print(f"   {path.name}: exit code {code}, peak {peak / 2**30:.2f} GiB, {kills} killed", flush=True)
    if code or kills:
        return [f"{path.name} failed:\n{errors[-3000:]}"]
    for line in places.complaints(repository / "executed" / path.name):
        print(f"   stderr of cell {line}")
    return [f"{path.name} needed {peak / 1e9:.2f} GB"] if group is None and peak > LIMIT else []


def main():
    folder = places.OUT / "binder"
    repository = copy_of_checkout(folder / "repository")
    asked = places.new_environment(folder / "repo2docker", ["jupyter-repo2docker"])
    print("== What repo2docker finds", flush=True)
    subprocess.run([asked / "python", places.ROOT / "tests" / "launch" / "detection.py"], cwd=repository, check=True)
    programs = places.new_environment(folder / "environment", requirements())
    shutil.rmtree(folder / "home", ignore_errors=True)
    variables = places.clean_variables(programs, folder / "home")
    print("== binder/postBuild", flush=True)
    subprocess.run([repository / "binder" / "postBuild"], cwd=repository, env=variables, check=True)
    print(f"== Every notebook behind binder/start, {LIMIT / 1e9:.0f} GB, one core", flush=True)
    wrong = []
    for path in sorted(repository.glob("notebooks/[0-9]*.ipynb")):
        wrong += execute(path, repository, variables)
    print("\n".join(wrong) or "== Binder, imitated: every notebook ran and none was killed")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
