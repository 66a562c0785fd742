"""What all tests share: quiet surroundings and tiny real models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test may ask a network for anything
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import settings

# No test here asserts a time. What CI says of a commit must not depend on luck; elsewhere each run tries new cases.
settings.register_profile("peftviz", max_examples=50, deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("peftviz")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives a process a file as a whole, but the tests on older PEFT one by one: each starts a process anyway."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith("tests/upstream/") else str(super()._split_scope(nodeid))

    return Scheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models run slower on many threads, and sums are the same on every machine only on one."""
    try:
        import torch
    except ImportError:  # the core tests need no torch
        yield
        return
    torch.set_num_threads(1)
    yield


@pytest.fixture
def tiny_llama() -> Callable[..., Any]:
    """Makes a transformers Llama of about 30,000 parameters from a config; the same weights each time."""

    def make(*, tied: bool = False, layers: int = 2, seed: int = 0) -> Any:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(seed)
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=64,
            tie_word_embeddings=tied,
        )
        return LlamaForCausalLM(config).eval()

    return make


@pytest.fixture
def lora() -> Callable[..., Any]:
    """Makes a LoRA config for `tiny_llama`, with weights that make a difference to the output."""

    def make(*targets: str, **options: Any) -> Any:
        from peft import LoraConfig

        options = {"r": 4, "init_lora_weights": False, **options}
        return LoraConfig(target_modules=list(targets) or ["q_proj", "v_proj"], **options)

    return make


@pytest.fixture
def sentences(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each sentence that a rule says in the test, and each key of its evidence, is in the message files."""
    from peftviz.core.rules.rule import Rule
    from peftviz.views.inspector.language import english
    from peftviz.views.inspector.wording import said

    unknown = []
    make = Rule.finding

    def finding(rule: Rule, *arguments: Any, **options: Any) -> Any:
        made = make(rule, *arguments, **options)
        told = {f"finding.{rule.code}.": made.message, f"remedy.{rule.code}.": made.remedy}
        unknown.extend(text for family, text in told.items() if said(text, family) is None)
        unknown.extend(f"evidence.{key}" for key in made.evidence if f"evidence.{key}" not in english())
        return made

    monkeypatch.setattr(Rule, "finding", finding)
    yield
    assert unknown == [], "peftviz/views/messages has no text that says this"
