"""JupyterLab as a learner meets it: a server of its own on a copy of the notebooks, and Chromium in front of it."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell in the page, so that all can be looked at
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # asks no server
}
INSTALL_CHROMIUM = "install it (Debian, Ubuntu: apt install chromium) or set CHROMIUM to its path"


def chromium():
    """Path of the browser; FileNotFoundError with the remedy where there is none."""
    named = os.environ.get("CHROMIUM")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome", "chrome"]
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise FileNotFoundError(f"No Chromium: tried {', '.join(names)}; {INSTALL_CHROMIUM}")
    return path


@contextmanager
def browser():
    """Chromium without a window, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.name == "posix" and os.getuid() == 0 else []  # as root there is no sandbox
        running = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield running
        running.close()


@contextmanager
def server(folder):
    """JupyterLab of this Python on `folder`/notebooks, a fresh copy; gives the URL, a function of a notebook's stem."""
    skip = shutil.ignore_patterns("out", ".ipynb_checkpoints")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=skip)
    port, token = free_port(), secrets.token_hex(16)
    options = {
        "ServerApp.root_dir": folder, "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.ip": "127.0.0.1",
        "ServerApp.allow_root": True, "IdentityProvider.token": token, "LabApp.open_browser": False,
    }  # fmt: skip
    log = (folder / "server.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())],
        env=environment(folder), stdout=log, stderr=log, cwd=folder, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}/api/status?token={token}", folder / "server.log")
        # A workspace for each notebook, or Lab would open the one before beside it.
        lab = f"http://127.0.0.1:{port}/lab"
        yield lambda stem: f"{lab}/workspaces/{stem}/tree/notebooks/{stem}.ipynb?token={token}"
    finally:
        stop(process)
        log.close()


def environment(folder):
    """Ours, with the settings of nobody: all of Jupyter's folders lie in `folder`; progress bars as a learner has them."""
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
           "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}  # fmt: skip
    inherited = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    return inherited | {name: str(folder / place) for name, place in own.items()}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(process, url, log, seconds=60):
    """RuntimeError with the end of the log if the server ends or does not answer in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not answer within {seconds} s; its log ends:\n{log.read_text()[-1500:]}")


def stop(process):
    """The server and its kernels: it shuts them down itself when asked, and is killed if it takes longer than 15 s."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":  # `make browser-test` asks before it starts anything
    try:
        print(chromium())
    except FileNotFoundError as error:
        sys.exit(str(error))
