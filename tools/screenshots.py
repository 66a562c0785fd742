"""Takes the pictures of the widget in the README: the first tutorial, run in a real JupyterLab up to the leftover.

Needs Chromium and the `test` extra. Writes docs/images/inspector-light.png and docs/images/inspector-dark.png.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "notebooks" / "01_leftover_modules_to_save.ipynb"
IMAGES = ROOT / "docs" / "images"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
LAST_CELL = "red"

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
IDLE = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  const kernel = panel?.context?.sessionContext?.session?.kernel;
  return kernel?.connectionStatus === "connected" && kernel?.status === "idle";
}"""


@contextlib.contextmanager
def jupyterlab(folder: Path, theme: str) -> Iterator[str]:
    """Serves a folder with a throw-away configuration in one of Lab's themes."""
    config = folder / ".config"
    (config / "labconfig").mkdir(parents=True)
    settings = {
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/apputils-extension:themes": {"theme": theme},
    }
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(settings))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={folder}"]
    command += ["--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True"]
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(config), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/api")
            yield address
        finally:
            server.terminate()


def wait_for(address: str, *, seconds: float = 60) -> None:
    for _ in range(int(seconds * 4)):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.25)
    raise TimeoutError(address)


def shorten(source: Path, target: Path) -> None:
    """Writes the tutorial up to the cell that shows the leftover, the session's own view alone shown."""
    notebook = nbformat.read(source, as_version=4)
    names = [cell["id"] for cell in notebook.cells]
    cells = [cell for cell in notebook.cells[: names.index(LAST_CELL)] if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = []
        cell.source = cell.source.removesuffix("session.timeline[0].diff")
    watch = cells.pop(next(index for index, cell in enumerate(cells) if cell["id"] == "watch"))
    watch.source = "session.inspector"
    cells[0].source += "\n\nsession = peftviz.watch(model, display=False)"
    notebook.cells = [*cells, watch]
    nbformat.write(notebook, target)


def take(page: Page, address: str, picture: Path) -> None:
    page.goto(f"{address}/lab/tree/tutorial.ipynb?reset")
    page.wait_for_function(IDLE, timeout=120_000)
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    widget = page.get_by_role("treegrid").last
    widget.wait_for(timeout=180_000)
    page.wait_for_function(IDLE, timeout=120_000)
    page.keyboard.press("Escape")
    view = page.locator(".peftviz").last
    view.scroll_into_view_if_needed()
    widget.get_by_role("row").filter(has_text="v_proj").first.click()
    page.keyboard.press("ArrowLeft")  # fold what is like q_proj, to have the leftover in the picture
    page.keyboard.press("End")
    widget.get_by_role("row").filter(has_text="LEFTOVER").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_000)  # transitions
    view.screenshot(path=str(picture))


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    for name, theme in THEMES.items():
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            shorten(TUTORIAL, Path(folder) / "tutorial.ipynb")
            with jupyterlab(Path(folder), theme) as address:
                browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
                page = browser.new_page(viewport={"width": 1700, "height": 1100}, device_scale_factor=1.5)
                take(page, address, IMAGES / f"inspector-{name}.png")
                browser.close()
        print(IMAGES / f"inspector-{name}.png")


if __name__ == "__main__":
    main()
