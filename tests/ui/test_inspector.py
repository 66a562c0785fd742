"""The story of the leftover, in a real JupyterLab with a real model and kernel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.ui

SETUP = """
import torch, transformers, peftviz
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
torch.manual_seed(0)
shape = transformers.LlamaConfig(vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=3,
                                 num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
base = transformers.LlamaForCausalLM(shape)
config = dict(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])
session = peftviz.watch(base)
"""
OPERATIONS = """
model = get_peft_model(base, LoraConfig(**config))
model.add_adapter("math", LoraConfig(**config))
with session.step("delete by hand"):
    # The idiom that leaves copies behind: each layer is asked, the saved copy is forgotten.
    for module in list(model.modules()):
        if isinstance(module, BaseTunerLayer):
            module.delete_adapter("math")
    del model.peft_config["math"]
del module  # the loop's last module; what a variable holds cannot be freed
"""
COPY = "base_model.model.lm_head.modules_to_save.math"
HAS_COPY = f"print(any(name == {COPY!r} for name, _ in session.model.named_modules(remove_duplicate=False)))"


def inspector(page: Any) -> Any:
    return page.get_by_role("region", name="peftviz inspector")


def ground(page: Any) -> str:
    return str(inspector(page).evaluate("(root) => getComputedStyle(root).backgroundColor"))


def test_red_leftover_is_deleted_with_proof(open_notebook: Callable[..., Any]) -> None:
    notebook = open_notebook("story", [SETUP, OPERATIONS])
    page = notebook.page
    notebook.run_all()
    widget = inspector(page)
    red = widget.get_by_role("row", name=re.compile("LEFTOVER"))
    red.wait_for(timeout=90_000)
    assert "modules_to_save.math" in red.text_content()
    assert widget.get_by_role("button", name=re.compile("^◆ 1 leftover")).is_visible()
    assert notebook.run(HAS_COPY) == "True"

    # Any step is a click away; the current one comes back.
    steps = widget.get_by_role("navigation", name="Operations").get_by_role("listitem")
    assert steps.count() == 4
    steps.nth(1).get_by_role("button").click()
    widget.get_by_text("step 1 of 3").wait_for()
    assert widget.get_by_role("row", name=re.compile("LEFTOVER")).count() == 0
    steps.nth(3).get_by_role("button").click()
    red.wait_for()

    # Look, plan, act, check.
    red.click()
    widget.get_by_role("button", name="Delete correctly…").click()
    dialog = widget.get_by_role("dialog")
    dialog.get_by_text("Delete adapter 'math'").wait_for()
    assert "Nothing has been done yet" in dialog.inner_text()
    assert notebook.run(HAS_COPY) == "True", "looking at a plan must change nothing"
    dialog.get_by_role("button", name="Delete now").dblclick()
    dialog.get_by_text("no trace of 'math' is left").wait_for()
    assert "freed 1 tensor" in dialog.inner_text()
    assert "still alive" not in dialog.inner_text()
    assert dialog.get_by_role("heading", name="✓ Done").is_visible()
    dialog.get_by_role("button", name="Close").click()
    widget.get_by_text("nothing left over").wait_for()
    assert widget.get_by_role("row", name=re.compile("LEFTOVER")).count() == 0

    assert notebook.run(HAS_COPY) == "False"
    assert notebook.run("print(len(session.timeline), 'delete_adapter' in session.timeline[-1].label)") == "4 True"
    assert notebook.run("print(list(session.model.peft_config))") == "['default']"
    assert notebook.run("print(peftviz.audit(session.model).clean)") == "True"
    assert notebook.outside_requests() == []
    assert notebook.errors == []


def test_keyboard_filter_themes_and_a_dead_kernel(open_notebook: Callable[..., Any]) -> None:
    notebook = open_notebook("keyboard", [SETUP, OPERATIONS])
    page = notebook.page
    notebook.run_all()
    widget = inspector(page)
    red = widget.get_by_role("row", name=re.compile("LEFTOVER"))
    red.wait_for(timeout=90_000)

    grid = widget.get_by_role("treegrid", name="Structure")
    red.click()
    page.keyboard.press("Home")
    first = grid.locator("[role=row]:focus")
    assert first.get_attribute("aria-level") == "1"
    assert first.get_attribute("aria-expanded") == "true"
    shown = int(grid.get_attribute("aria-rowcount"))
    page.keyboard.press("ArrowLeft")
    assert first.get_attribute("aria-expanded") == "false"
    assert int(grid.get_attribute("aria-rowcount")) == 2
    page.keyboard.press("ArrowRight")
    assert int(grid.get_attribute("aria-rowcount")) == shown
    page.keyboard.press("End")
    assert "LEFTOVER" in grid.locator("[role=row]:focus").inner_text()
    page.keyboard.press("?")
    widget.get_by_role("dialog").get_by_text("Keyboard help").wait_for()
    page.keyboard.press("Escape")

    # Letters typed here are no shortcuts of the notebook: "d d" deletes a cell there.
    cells = page.locator(".jp-Cell").count()
    widget.get_by_role("searchbox", name="Filter rows").fill("")
    widget.get_by_role("searchbox", name="Filter rows").press_sequentially("dd lora_a")
    grid.locator("p.nothing").get_by_text("No row matches.").wait_for()
    widget.get_by_role("searchbox", name="Filter rows").fill("lora_A.math")
    grid.get_by_role("row", name=re.compile("removed")).first.wait_for()
    assert page.locator(".jp-Cell").count() == cells
    widget.get_by_role("searchbox", name="Filter rows").fill("")

    grounds = {}
    for theme in ("Light", "Dark"):  # Jupyter remembers the theme of the test before
        change = f"window.jupyterapp.commands.execute('apputils:change-theme', {{ theme: 'JupyterLab {theme}' }})"
        page.evaluate(change)
        page.locator(f"[data-theme={theme.lower()}]").wait_for()
        grounds[theme] = ground(page)
    assert grounds["Light"] == "rgb(255, 255, 255)"
    assert grounds["Dark"] != grounds["Light"]
    red.wait_for()

    page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.sessionContext.session")
    widget.get_by_role("tab", name=re.compile("Findings")).click()
    widget.get_by_role("button", name=re.compile("PV101")).click()
    assert "LEFTOVER" in grid.locator("[role=row]:focus").inner_text()
    widget.get_by_role("tab", name="Parameters").click()
    parameters = widget.get_by_role("grid", name="Parameters")
    parameters.get_by_role("row", name=re.compile("modules_to_save.math.weight")).wait_for()
    assert notebook.outside_requests() == []
    assert notebook.errors == []
