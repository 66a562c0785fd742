"""Takes the pictures of the documentation from real exported pages: `to_html`, opened in Chromium.

Needs Chromium and the `test` extra. Writes docs/images/{wrapped,leftover,deleted}.png.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from playwright.sync_api import sync_playwright
from transformers import LlamaConfig, LlamaForCausalLM

import peftviz

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = {"width": 1280, "height": 640}


def delete_layer_by_layer(model: Any, name: str) -> None:
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.delete_adapter(name)
    del model.peft_config[name]


def subjects() -> dict[str, tuple[Any, str]]:
    """What each picture shows, and a text in the row to select."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 1000}
    config = LlamaConfig(**sizes, num_hidden_layers=2, num_attention_heads=4, tie_word_embeddings=False)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["lm_head"])
    model = LlamaForCausalLM(config)
    plain = peftviz.capture(model, label="plain model")
    model = get_peft_model(model, lora, adapter_name="chat")
    chat_only = peftviz.capture(model, label="chat only")
    model.add_adapter("math", lora)
    delete_layer_by_layer(model, "math")
    left = peftviz.capture(model, label="math deleted")
    report = peftviz.delete_adapter(model, "math")
    return {
        "wrapped": (peftviz.diff(plain, chat_only), "q_proj"),
        "leftover": (peftviz.diff(chat_only, left), "LEFTOVER"),
        "deleted": (report, "math"),
    }


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        for name, (subject, row) in subjects().items():
            path = Path(folder) / f"{name}.html"
            subject.to_html(path)
            page.goto(path.as_uri())
            found = page.get_by_role("treegrid").get_by_role("row").filter(has_text=row).first
            found.wait_for()
            found.click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)  # transitions
            page.get_by_role("region", name="peftviz inspector").screenshot(path=str(IMAGES / f"{name}.png"))
            print(IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
