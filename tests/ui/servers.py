"""The programs that show a widget: a Jupyter server with JupyterLab and Notebook 7, and marimo."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
SETTINGS = {"@jupyterlab/apputils-extension:notification": QUIET}
START_SECONDS = 60


@dataclass
class Server:
    """A running server, and the folder that it serves."""

    url: str
    folder: Path


@contextlib.contextmanager
def jupyter(home: Path, folder: Path) -> Iterator[Server]:
    """JupyterLab at `/lab` and Notebook 7 at `/notebooks`, with a kernel for each older PEFT that is installed.

    Args:
        home: An empty folder for the configuration, and for what the server writes.
        folder: The folder of the notebooks.
    """
    overrides = home / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(SETTINGS))
    for site in sorted((ROOT / ".upstream").glob("peft-*")):
        spec = home / "share" / "kernels" / site.name / "kernel.json"
        spec.parent.mkdir(parents=True)
        start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        path = os.pathsep.join([str(site), str(ROOT)])
        spec.write_text(json.dumps({"argv": start, "display_name": site.name, "env": {"PYTHONPATH": path}}))
    port = _free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        f"--ServerApp.root_dir={folder}", "--ServerApp.disable_check_xsrf=True",
        "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    environment = {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_PATH": str(home / "share"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    url = f"http://127.0.0.1:{port}"
    with _running(command, environment, f"{url}/api", home / "log.txt"):
        yield Server(url, folder)


@contextlib.contextmanager
def marimo(home: Path, app: Path) -> Iterator[Server]:
    """Marimo with one notebook, as a reader of `marimo run` sees it: at most one kernel, nothing to edit."""
    port = _free_port()
    command = [
        sys.executable, "-m", "marimo", "--quiet", "run", str(app), "--headless", "--no-token",
        "--host=127.0.0.1", f"--port={port}",
    ]  # fmt: skip
    environment = {"XDG_CONFIG_HOME": str(home), "XDG_STATE_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    url = f"http://127.0.0.1:{port}"
    with _running(command, environment, f"{url}/health", home / "log.txt"):
        yield Server(url, app.parent)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], answers: str, log: Path) -> Iterator[None]:
    surroundings = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        **environment,
    }
    with log.open("w") as output:
        process = subprocess.Popen(command, env=surroundings, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(answers, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(START_SECONDS * 4):
        if process.poll() is not None:
            break
        try:
            with opener.open(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise TimeoutError(f"{address} does not answer:\n{log.read_text()[-3000:]}")
