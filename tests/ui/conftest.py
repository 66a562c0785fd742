"""A real JupyterLab and a headless Chromium, one of each for all tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("jupyterlab")
pytest.importorskip("anywidget")
sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
QUIET = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
SETTINGS = {"@jupyterlab/apputils-extension:notification": QUIET}
CONNECTED = """() => {
  const shown = window.jupyterapp?.shell?.currentWidget;
  const kernel = shown?.context?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
}"""
START_SECONDS = 60


@dataclass
class Lab:
    """A running JupyterLab."""

    url: str
    folder: Path


@dataclass
class Notebook:
    """A notebook that is open in the browser.

    Attributes:
        page: The browser page.
        requests: Addresses that the browser has asked for.
        errors: Uncaught errors of the page.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def run_all(self) -> None:
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def run(self, code: str) -> str:
        """Runs code in the kernel and returns what it printed."""
        return str(
            self.page.evaluate(
                """async (code) => {
                  const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
                  const future = kernel.requestExecute({ code, store_history: false });
                  let text = '';
                  future.onIOPub = (message) => {
                    if (message.header.msg_type === 'stream') text += message.content.text;
                    if (message.header.msg_type === 'error') text += message.content.traceback.join('\\n');
                  };
                  await future.done;
                  return text;
                }""",
                code,
            )
        ).strip()

    def outside_requests(self) -> list[str]:
        """What the browser asked of any other host than this one."""
        local = {"127.0.0.1", "localhost", ""}
        return [address for address in self.requests if (urlsplit(address).hostname or "") not in local]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("jupyter")
    folder = tmp_path_factory.mktemp("notebooks")
    overrides = home / "config" / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(SETTINGS))
    root = Path(__file__).parents[2]
    for site in sorted((root / ".upstream").glob("peft-*")):  # a kernel for each older PEFT
        spec = home / "share" / "kernels" / site.name / "kernel.json"
        spec.parent.mkdir(parents=True)
        start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        path = os.pathsep.join([str(site), str(root)])
        spec.write_text(json.dumps({"argv": start, "display_name": site.name, "env": {"PYTHONPATH": path}}))
    port = _free_port()
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTER_PATH": str(home / "share"),
        "IPYTHONDIR": str(home / "ipython"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")])),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password=",
        f"--ServerApp.root_dir={folder}", "--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    log = home / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log)
        yield Lab(url, folder)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_notebook(lab: Lab, browser: Any) -> Iterator[Callable[..., Notebook]]:
    """Writes a notebook of the given cells and opens it, with its kernel connected."""
    contexts = []

    def open_it(name: str, cells: list[str], *, kernel: str = "python3") -> Notebook:
        blank = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        sources = [{**blank, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
        spec = {"kernelspec": {"display_name": kernel, "language": "python", "name": kernel}}
        content = {"cells": sources, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        (lab.folder / f"{name}.ipynb").write_text(json.dumps(content))
        context = browser.new_context(viewport={"width": 1500, "height": 1150}, color_scheme="light")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        notebook = Notebook(page)
        page.on("request", lambda request: notebook.requests.append(request.url))
        page.on("pageerror", lambda error: notebook.errors.append(str(error)))
        page.goto(f"{lab.url}/lab/tree/{name}.ipynb?reset")
        page.wait_for_function(CONNECTED, timeout=60_000)
        return notebook

    yield open_it
    for context in contexts:
        context.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(START_SECONDS * 4):
        if process.poll() is not None:
            break
        try:
            with opener.open(f"{url}/api", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
