"""Do other libraries give a saved reward model's scores? Each in an environment of its own, under out/interop.

`make interop-test`, on demand: it downloads about 2 GB and takes 10 to 30 minutes. A failed check is a line that says
FAILED and exit code 1; the whole output of each is in out/interop/NAME.log.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUT = ROOT / "out" / "interop"
TORCH = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)[0]
ENVIRONMENTS = {
    # rewardbench 0.1.4 wants transformers 4.51.0 and imports pkg_resources, which setuptools no longer has
    "old": [["transformers==4.51.0", "rewardbench==0.1.4", "setuptools<81"]],
    "new": [["transformers", "trl"], ["sentence-transformers"]],
}
SHOWN = ("transformers", "tokenizers", "rewardbench", "trl", "sentence-transformers", "torch")
MODELS = ("default", "gpt2", "qwen")


def python(name):
    """The interpreter of an environment, made at first use. With INTEROP_ENVS=folder, environments that are there."""
    folder = Path(os.environ.get("INTEROP_ENVS", OUT / "envs")) / name
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "ready").exists() and "INTEROP_ENVS" not in os.environ:
        print(f"== setting up {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        for packages in ([TORCH], *ENVIRONMENTS[name]):
            subprocess.run([found, "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "ready").touch()
    return found


def versions(interpreter):
    code = "import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
    installed = json.loads(subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout)
    return ", ".join(f"{name} {installed[name]}" for name in SHOWN if name in installed)


def check(title, interpreter, script, *arguments):
    """Run one script; the last line that it prints is its result. Returns whether it held."""
    quiet = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **quiet}
    environment.pop("PYTHONPATH", None)
    ran = subprocess.run([interpreter, HERE / script, *arguments], capture_output=True, text=True, env=environment)
    (OUT / f"{title.replace(' ', '-')}.log").write_text(ran.stdout + ran.stderr, encoding="utf-8")
    last = (ran.stdout.strip() or ran.stderr.strip() or "-").splitlines()[-1]
    print(f"{'ok    ' if ran.returncode == 0 else 'FAILED'} {title}: {last[:200]}", flush=True)
    return ran.returncode == 0


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, HERE / "make_folders.py", OUT], check=True, cwd=ROOT)
    held = []
    for name in ENVIRONMENTS:
        interpreter = python(name)
        print(f"== {name}: {versions(interpreter)}", flush=True)
        for model in MODELS:
            expected = OUT / f"{model}.json"
            held.append(check(f"{name} transformers {model}", interpreter, "with_transformers.py", expected))
            if name == "old":
                held.append(
                    check(f"rewardbench {model}", interpreter, "with_rewardbench.py", expected, OUT / "pairs.json")
                )
                continue
            held.append(check(f"sentence-transformers {model}", interpreter, "with_sentence_transformers.py", expected))
            seen, policy = OUT / f"seen-{model}.json", OUT / "models" / "policy"
            held.append(check(f"trl {model}", interpreter, "with_trl.py", expected, policy, seen)
                        and check(f"trl {model} same rewards", sys.executable, "same_rewards.py", expected, seen))  # fmt: skip
    print(f"{sum(held)} of {len(held)} hold")
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
