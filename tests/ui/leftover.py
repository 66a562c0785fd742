"""The cells that lead to the leftover, and how the tests find the widget."""

from __future__ import annotations

import re
from typing import Any

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


def red_row(notebook: Any, *, first: bool = False) -> Any:
    """Runs all cells and waits for the leftover's row; of several views, for that of the first."""
    notebook.run_all()
    widget = inspector(notebook.page)
    red = (widget.first if first else widget).get_by_role("row", name=re.compile("LEFTOVER"))
    red.wait_for(timeout=90_000)
    return red


def delete_it(widget: Any) -> None:
    """Selects the leftover, looks at the plan of its deletion, agrees, and reads what came of it."""
    widget.get_by_role("row", name=re.compile("LEFTOVER")).click()
    widget.get_by_role("button", name="Delete correctly…").click()
    dialog = widget.get_by_role("dialog")
    dialog.get_by_text("Nothing has been done yet").wait_for()
    dialog.get_by_role("button", name="Delete now").click()
    dialog.get_by_text("no trace of 'math' is left").wait_for()
    dialog.get_by_role("button", name="Close").click()
    widget.get_by_text("nothing left over").wait_for()


def filter_rows(widget: Any, text: str, *, found: str) -> None:
    """Types a filter and waits for a row that it leaves, then takes the filter away."""
    box = widget.get_by_role("searchbox", name="Filter rows")
    box.fill(text)
    widget.get_by_role("row", name=re.compile(found)).first.wait_for()
    box.fill("")
