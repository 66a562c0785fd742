"""Trained tokens, on one module and on a tied pair: the audit speaks exactly where a model does not run what it says.

What a model ought to compute is had by noting the active adapter in each layer and wrapper by hand.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from peftviz.auditing import audit
from peftviz.live.removal.repair import repair
from tests.live.zoo import HAS_TOKENS, Handle, llama, lora, output
from tests.live.zoo.handles import has_mixin

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not HAS_TOKENS, reason="this PEFT trains no single tokens"),
]

TOKENS = {"trainable_token_indices": [1, 2]}
FIRST, SECOND, BOTH = (TOKENS, {}), ({}, TOKENS), (TOKENS, TOKENS)
SWITCHED = ((), ("a",), ("b",), ("b", "a"), ("a", "b"))


def model_with(way: str, options: tuple[dict[str, Any], dict[str, Any]], *, tie: bool) -> Any:
    handle = Handle(way, llama(tie=tie))
    for name, more in zip("ab", options, strict=True):
        handle.add(name, lora(("q_proj",), **more), seed=ord(name))
    return handle.model


def run_by_hand(model: Any, name: str) -> torch.Tensor:
    """What the model answers when the adapter runs wherever there is something of it, and nothing else does."""
    for module in model.modules():
        wrapper = "token_adapter" in vars(module)["_modules"]
        layer = module.token_adapter if wrapper else module
        if not isinstance(layer, BaseTunerLayer):
            continue
        tokens = vars(layer)["_modules"].get("trainable_tokens_delta")
        runs = [name] if tokens is None or name in tokens else []
        module._active_adapter = (runs[0] if runs else []) if wrapper else runs
        module._disable_adapters = False
    return output(model)


@pytest.mark.parametrize(("way", "tie"), list(itertools.product(("peft", "mixin"), (False, True))))
@pytest.mark.parametrize("options", [FIRST, SECOND, BOTH], ids=["on a", "on b", "on both"])
def test_a_finding_where_the_tokens_that_run_are_not_those_of_the_active_adapter(
    options: tuple[dict[str, Any], dict[str, Any]], way: str, tie: bool
) -> None:
    if way == "mixin" and not has_mixin(llama):
        pytest.skip("this transformers has no mixin that fits")
    for switched in SWITCHED:
        model = model_with(way, options, tie=tie)
        for name in switched:
            model.set_adapter(name)
        active = (switched or ("a" if way == "peft" else "b",))[-1]
        try:
            answered = output(model)
        except KeyError:  # transformers tells every layer to run an adapter that some have nothing of
            answered = None
        found = {finding.rule for finding in audit(model) if finding.severity == "error"}
        repaired = output(repair(model).model)
        wanted = run_by_hand(model, active)
        right = answered is not None and torch.equal(answered, wanted)
        assert found <= {"PV201", "PV202"}
        assert right == (not found), (switched, found)
        assert torch.equal(repaired, wanted), switched


def test_the_head_of_a_tied_pair_runs_the_tokens_of_an_adapter_that_is_not_active() -> None:
    model = model_with("peft", SECOND, tie=True)
    found = audit(model).of("PV201")
    at = [finding.path for finding in found]
    assert "base_model.model.lm_head" in at, "PEFT 0.15 has the embeddings run them as well"
    assert {finding.adapter for finding in found} == {"b"}
    assert audit(repair(model).model).clean


def test_a_layer_that_is_to_run_what_it_has_nothing_of() -> None:
    model = model_with("peft", SECOND, tie=True)
    model.set_adapter("b")
    model.base_model.model.lm_head.token_adapter._active_adapter = ["a"]
    with pytest.raises(KeyError):
        output(model)
    (finding,) = audit(model).of("PV201")
    assert (finding.path, finding.adapter) == ("base_model.model.lm_head", "a")
    assert finding.evidence["lacking"] == ["a"]
    output(repair(model).model)
    assert audit(model).clean
