"""The kinds of residue that PEFT is known to leave, each tried on the PEFT that is installed.

Run as a program it prints one line of JSON: for each kind whether PEFT behaves so (judged by behaviour, never by
peftviz), which rules found it, and whether peftviz mended it. `null` means that this PEFT does not have what the kind
needs.
"""

from __future__ import annotations

import contextlib
import gc
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

import peftviz
from tests.live.audited import HEAD, base, delete_per_layer, lora, two
from tests.live.zoo import HAS_TOKENS, output
from tests.oracle import differences


@dataclass(frozen=True)
class Shown:
    """What was seen of a kind.

    Attributes:
        behaves: Whether PEFT behaves so.
        found: Codes of the rules that found it.
        mended: Whether peftviz mended it, or does the same thing right; None where nothing can.
    """

    behaves: bool
    found: tuple[str, ...] = ()
    mended: bool | None = None


@dataclass(frozen=True)
class Kind:
    """A kind of residue.

    Attributes:
        title: What happens, for the page.
        issue: Where it is reported.
        rules: Rules of which one at the least must find it where it happens; none when no state shows it.
        show: Tries it.
    """

    title: str
    issue: str
    rules: frozenset[str]
    show: Callable[[], Shown | None]


KINDS: dict[str, Kind] = {}


def kind(title: str, issue: str, *rules: str) -> Callable[[Callable[[], Shown | None]], Callable[[], Shown | None]]:
    def note(show: Callable[[], Shown | None]) -> Callable[[], Shown | None]:
        KINDS[show.__name__] = Kind(title, issue, frozenset(rules), show)
        return show

    return note


def codes(model: Any, baseline: Any = None, **options: Any) -> tuple[str, ...]:
    found = peftviz.audit(model, baseline=baseline, **options)
    return tuple(sorted({finding.rule for finding in found if finding.severity != "info"}))


def clean(model: Any, baseline: Any = None) -> bool:
    return peftviz.audit(model, baseline=baseline).clean


def fails(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


def layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def reloaded(model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder).eval()


# Silently wrong results, lost weights ---------------------------------------------------------------------------------


@kind("Deleting the last adapter leaves wrappers: the base saves keys that no loader knows", "diffusers#11592", "PV102")
def wrappers_after_the_last_deletion() -> Shown:
    plain = base()
    model = peft.get_peft_model(plain, lora(**HEAD), adapter_name="a")
    model.delete_adapter("a")
    lost = [key for key in plain.state_dict() if ".base_layer." in key or ".original_module." in key]
    found = codes(model)
    left = peftviz.repair(model).model
    return Shown(bool(lost), found, torch.equal(output(reloaded(left)), output(base())))


@kind(
    "The same through transformers, which says nothing: loading draws those weights at random",
    "transformers#34650",
    "PV402",
)
def wrappers_after_the_last_deletion_by_transformers() -> Shown:
    model = base()
    model.add_adapter(lora(), "a")
    model.delete_adapter("a")
    behaves = not torch.equal(output(reloaded(model)), output(base()))
    found = codes(model)
    left = peftviz.repair(model).model
    return Shown(behaves, found, torch.equal(output(reloaded(left)), output(base())))


@kind("The adapter that deletion falls back to runs without its trained head", "peft#3716", "PV201", "PV202")
def fallback_without_its_head() -> Shown:
    model = two(lora(**HEAD), lora()).eval()
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["a"].weight += 1
    model.set_adapter("a")
    wanted = output(model)
    model.set_adapter("b")
    model.delete_adapter("b")
    behaves = fails(lambda: output(model)) or not torch.equal(output(model), wanted)
    found = codes(model)
    return Shown(behaves, found, torch.equal(output(peftviz.repair(model).model), wanted))


@kind("The trained copy of a head outlives PeftModel.delete_adapter", "peft#2381", "PV101")
def head_after_deletion() -> Shown:
    model = two(lora(**HEAD), lora(**HEAD))
    model.delete_adapter("b")
    behaves = "b" in model.base_model.model.lm_head.modules_to_save
    found = codes(model)
    report = peftviz.repair(model)
    return Shown(behaves, found, "b" not in model.base_model.model.lm_head.modules_to_save and report.audit.clean)


@kind("The trained copy of a head outlives deletion layer by layer", "transformers#41252", "PV101")
def head_after_deletion_layer_by_layer() -> Shown:
    model = two(lora(**HEAD), lora(**HEAD))
    delete_per_layer(model, "b")
    behaves = "b" in model.base_model.model.lm_head.modules_to_save
    found = codes(model)
    peftviz.repair(model)
    return Shown(behaves, found, "b" not in model.base_model.model.lm_head.modules_to_save and clean(model))


@kind("Trained tokens outlive PeftModel.delete_adapter", "peft#2381", "PV101")
def tokens_after_deletion() -> Shown | None:
    if not HAS_TOKENS:
        return None
    model = two(lora(), lora(trainable_token_indices=[1, 2]))
    model.delete_adapter("b")
    wrapper = model.base_model.model.model.embed_tokens
    behaves = hasattr(wrapper, "token_adapter") and "b" in wrapper.token_adapter.trainable_tokens_delta
    found = codes(model)
    return Shown(behaves, found, clean(peftviz.repair(model).model))


@kind(
    "An initialiser (PiSSA) changes base weights, and deleting the adapter does not give them back",
    "peft#1860",
    "PV302",
)
def base_changed_by_an_initialiser() -> Shown:
    model = peft.get_peft_model(base(), lora(), adapter_name="a")
    before = peftviz.capture(model)
    layer = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer
    weight = layer.weight.detach().clone()
    model.add_adapter("b", lora(init_lora_weights="pissa"))
    model.delete_adapter("b")
    return Shown(not torch.equal(layer.weight, weight), codes(model, before))


@kind("A second adapter with layer_replication replicates the layers once more", "peft#1933")
def layers_replicated_again() -> Shown:
    config = lambda: lora(layer_replication=[[0, 2], [0, 2]])  # noqa: E731
    model = peft.get_peft_model(base(), config(), adapter_name="a")
    repeated = model.base_model.model.model.layers[2]
    model.add_adapter("b", config())
    return Shown(model.base_model.model.model.layers[2] is not repeated)


@kind("unload() puts the trained head in place of the original and unties it", "none known", "PV303")
def unload_keeps_the_trained_head() -> Shown:
    def model(plain: Any) -> Any:
        made = peft.get_peft_model(plain, lora(**HEAD))
        with torch.no_grad():
            made.base_model.model.lm_head.modules_to_save["default"].weight += 1
        return made.eval()

    plain = base(tie=True)
    before = peftviz.capture(plain)
    unloaded = model(plain).unload()
    behaves = not torch.equal(output(unloaded), output(base(tie=True)))
    other = base(tie=True)
    baseline = peftviz.capture(other)
    ours = peftviz.unload(model(other), baseline=baseline).model
    return Shown(behaves, codes(unloaded, before), differences(ours, base(tie=True)) == [])


@kind('bias="all" trains biases of the base in place, and deletion leaves them trained', "none known", "PV302")
def bias_trained_in_place() -> Shown:
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model = peft.get_peft_model(plain, lora("0", bias="all"), adapter_name="a")
    model.add_adapter("b", lora("0"))
    before = peftviz.capture(model)
    bias = model.base_model.model[1].bias
    first = bias.detach().clone()
    optimizer = torch.optim.SGD([bias], lr=0.1)
    if bias.requires_grad:
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    model.delete_adapter("a")
    return Shown(not torch.equal(bias, first), codes(model, before))


@kind("An adapter that is deleted while merged stays in the base weights", "peft#3498", "PV203")
def deleted_while_merged() -> Shown:
    def merged() -> Any:
        model = two().eval()
        model.set_adapter("b")
        model.merge_adapter()
        return model

    model = merged()
    plain = base().model.layers[0].self_attn.q_proj.weight
    weight = model.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    refused = fails(lambda: model.delete_adapter("b"))
    behaves = not refused and not torch.allclose(weight, plain, atol=1e-6)
    found = codes(model)
    other = merged()
    mended = fails(lambda: peftviz.delete_adapter(other, "b"))
    left = peftviz.delete_adapter(other, "b", merged="unmerge").model
    kept = left.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    return Shown(behaves, found, mended and torch.allclose(kept, plain, atol=1e-6))


@kind("A cell that runs twice initialises the trained adapter of the same name anew", "peft#2295", "PV305")
def trained_adapter_made_anew() -> Shown:
    plain = base()
    model = peft.get_peft_model(plain, lora())
    trained = layers(model)[0].lora_A["default"].weight.detach().clone()
    before = peftviz.capture(model)
    again = peft.get_peft_model(plain, lora())
    return Shown(not torch.equal(layers(again)[0].lora_A["default"].weight, trained), codes(again, before))


@kind("A cell that runs twice puts a PeftModel into a PeftModel", "trl#4713", "PV401")
def a_peft_model_in_a_peft_model() -> Shown:
    nested = peft.get_peft_model(peft.get_peft_model(base(), lora()), lora())
    return Shown(isinstance(nested.base_model.model, peft.PeftModel), codes(nested))


@kind("Of two active adapters one is merged: the other is silently not applied", "peft#3763", "PV203")
def merged_subset() -> Shown:
    model = two().eval()
    model.base_model.set_adapter(["a", "b"])
    both = output(model)
    model.merge_adapter(adapter_names=["a"])
    return Shown(not torch.allclose(output(model), both, atol=1e-5), codes(model))


# Operations that break ------------------------------------------------------------------------------------------------


@kind("After the last deletion the handle names a dead adapter: forward raises", "none known", "PV201")
def stale_handle() -> Shown:
    model = peft.get_peft_model(base(), lora(), adapter_name="a").eval()
    model.delete_adapter("a")
    behaves = fails(lambda: output(model))
    found = codes(model)
    peftviz.repair(model)
    return Shown(behaves, found, torch.equal(output(model), output(base())))


@kind("After the last deletion no adapter with a head can be added again", "peft#3431")
def no_second_life() -> Shown:
    model = peft.get_peft_model(base(), lora(**HEAD), adapter_name="a")
    model.delete_adapter("a")
    behaves = fails(lambda: model.add_adapter("b", lora(**HEAD)))
    other = peft.get_peft_model(base(), lora(**HEAD), adapter_name="a")
    peftviz.delete_adapter(other, "a")
    other.add_adapter("b", lora(**HEAD))
    other.set_adapter("b")
    return Shown(behaves, (), clean(other))


@kind("The same with VeRA, whose shared projections are gone", "peft#3431")
def no_second_life_with_shared_projections() -> Shown:
    config = lambda: peft.VeraConfig(r=2, target_modules=["q_proj"])  # noqa: E731
    model = peft.get_peft_model(base(), config(), adapter_name="a")
    model.delete_adapter("a")
    behaves = fails(lambda: model.add_adapter("b", config()))
    other = peft.get_peft_model(base(), config(), adapter_name="a")
    left = peftviz.delete_adapter(other, "a").model
    return Shown(behaves, (), clean(peft.get_peft_model(left, config(), adapter_name="b")))


@kind("With two adapters active, deleting a third with a head leaves it behind", "none known", "PV101")
def third_adapter_keeps_its_head() -> Shown:
    def three() -> Any:
        model = two()
        model.add_adapter("c", lora(**HEAD))
        model.base_model.set_adapter(["a", "b"])
        return model

    model = three()
    fails(lambda: model.delete_adapter("c"))
    behaves = "c" in model.base_model.model.lm_head.modules_to_save
    found = codes(model)
    peftviz.repair(model)
    other = three()
    peftviz.delete_adapter(other, "c")
    return Shown(behaves, found, clean(model) and clean(other))


@kind("add_adapter fails, and its layers stay: a ghost that nobody can delete", "peft#3707", "PV103")
def ghost() -> Shown:
    model = two()
    with contextlib.suppress(TypeError, ValueError):
        model.add_adapter("ghost", lora("v_proj", modules_to_save=["q_proj"]))
    behaves = any("ghost" in layer.lora_A for layer in layers(model)) and "ghost" not in model.peft_config
    found = codes(model)
    return Shown(behaves, found, clean(peftviz.repair(model).model))


@kind("A forward with adapter_names that raises leaves its hooks behind", "peft#3475", "PV304")
def hooks_of_a_forward_that_raised() -> Shown:
    model = two().eval()
    with contextlib.suppress(Exception):
        model(torch.tensor([[1, 2]]), adapter_names=["a"], labels="no labels")
    return Shown(any(module._forward_pre_hooks for module in model.modules()), codes(model))


@kind("Deleting a prompt-learning adapter raises and deletes nothing", "peft#3638")
def prompt_cannot_be_deleted() -> Shown:
    def model() -> Any:
        config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
        made = peft.get_peft_model(base(), config, adapter_name="a")
        made.add_adapter("b", peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
        return made

    theirs, ours = model(), model()
    behaves = fails(lambda: theirs.delete_adapter("b"))
    peftviz.delete_adapter(ours, "b")
    return Shown(behaves, (), list(ours.peft_config) == ["a"] and clean(ours))


@kind(
    "The head of a tied model runs the trained tokens of an adapter that was added and is not active",
    "none known",
    "PV201",
)
def inactive_tokens_run() -> Shown | None:
    if not HAS_TOKENS:
        return None
    torch.manual_seed(0)
    model = peft.get_peft_model(base(tie=True), lora(), adapter_name="a").eval()
    wanted = output(model)
    model.add_adapter("b", lora(trainable_token_indices=[1, 2]))
    with torch.no_grad():
        model.base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta["b"] += 1
    model.eval()
    behaves = not torch.equal(output(model), wanted)
    found = codes(model)
    peftviz.delete_adapter(model, "b")
    return Shown(behaves, found, torch.equal(output(model), wanted))


# Drift and leaks ------------------------------------------------------------------------------------------------------


@kind("The base stays frozen after unload()", "peft#3025", "PV301")
def base_stays_frozen() -> Shown:
    plain = base()
    before = peftviz.capture(plain)
    unloaded = peft.get_peft_model(plain, lora()).unload()
    behaves = not any(parameter.requires_grad for parameter in unloaded.parameters())
    found = codes(unloaded, before)
    second = base()
    baseline = peftviz.capture(second)
    ours = peftviz.unload(peft.get_peft_model(second, lora()), baseline=baseline).model
    return Shown(behaves, found, all(parameter.requires_grad for parameter in ours.parameters()))


@kind("Modules that only the deleted adapter targeted stay wrapped", "none known", "PV102")
def wrappers_beside_living_adapters() -> Shown:
    model = two(lora("q_proj"), lora("q_proj", "k_proj"))
    model.delete_adapter("b")
    attention = model.base_model.model.model.layers[0].self_attn
    behaves = isinstance(attention.k_proj, BaseTunerLayer)
    found = codes(model)
    peftviz.repair(model)
    return Shown(behaves, found, type(attention.k_proj) is torch.nn.Linear and clean(model))


@kind("Dictionaries of the layers keep the name of the deleted adapter", "peft#3376", "PV104")
def names_in_dictionaries() -> Shown:
    model = two()
    model.delete_adapter("b")
    kept = [name for name, value in vars(layers(model)[0]).items() if isinstance(value, dict) and "b" in value]
    found = codes(model)
    return Shown(bool(kept), found, clean(peftviz.repair(model).model))


@kind("VeRA's stores of buffers keep the name of the deleted adapter", "none known", "PV104")
def names_of_buffers() -> Shown:
    config = lambda: peft.VeraConfig(r=2, target_modules=["q_proj"], save_projection=False)  # noqa: E731
    model = peft.get_peft_model(base(), config(), adapter_name="a")
    model.add_adapter("b", config())
    model.delete_adapter("b")
    stores = [module for module in model.modules() if type(module).__name__ == "BufferDict"]
    behaves = any("b" in store._non_persistent_buffers_set for store in stores)
    found = codes(model)
    return Shown(behaves, found, clean(peftviz.repair(model).model))


@kind("With gradient checkpointing each wrapping and unloading adds a hook", "none known", "PV304")
def hooks_pile_up() -> Shown:
    model = base()
    model.gradient_checkpointing_enable()
    before = peftviz.capture(model)
    for _ in range(4):
        model = peft.get_peft_model(model, lora()).unload()
    return Shown(len(model.get_input_embeddings()._forward_hooks) > 2, codes(model, before))


@kind("Deletion makes a frozen fallback trainable", "peft#3717")
def frozen_fallback_trains() -> Shown:
    def model() -> Any:
        made = peft.get_peft_model(base(), lora(inference_mode=True), adapter_name="a")
        made.add_adapter("b", lora())
        made.set_adapter("b")
        for name, parameter in made.named_parameters():
            if ".a." in name:
                parameter.requires_grad_(False)
        return made

    def trains(made: Any) -> bool:
        return any(parameter.requires_grad for name, parameter in made.named_parameters() if ".a." in name)

    theirs, ours = model(), model()
    theirs.delete_adapter("b")
    peftviz.delete_adapter(ours, "b")
    return Shown(trains(theirs), (), not trains(ours))


@kind("disable_adapter() makes an adapter that was loaded for inference trainable", "peft#3447")
def disabling_unfreezes() -> Shown:
    model = peft.get_peft_model(base(), lora(inference_mode=True), adapter_name="a")
    before = any(parameter.requires_grad for parameter in model.parameters())
    with model.disable_adapter():
        pass
    return Shown(not before and any(parameter.requires_grad for parameter in model.parameters()))


@kind("unload() leaves the configs on the plain model", "peft#3067", "PV204")
def configs_after_unload() -> Shown:
    model = peft.get_peft_model(base(), lora()).unload()
    behaves = "peft_config" in vars(model)
    found = codes(model)
    return Shown(behaves, found, "peft_config" not in vars(peftviz.repair(model).model))


@kind("An optimizer keeps the tensors of a deleted adapter alive", "diffusers#8532", "PV501")
def an_optimizer_holds_them() -> Shown:
    model = two()
    model.set_adapter("b")
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    reference = layers(model)[0].lora_A["b"].weight
    number = id(reference)
    del reference
    report = peftviz.delete_adapter(model, "b")
    gc.collect()
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    said = any("AdamW" in holder for _, holders in report.freed.alive for holder in holders)
    return Shown(number in held, codes(model, optimizer=optimizer), said)


@kind("DoRA declares its vector of magnitudes once more with each adapter", "none known")
def dora_declares_again() -> Shown:
    def cycle(delete: Callable[[Any], Any], times: int = 2) -> int:
        model = two(lora(), lora(use_dora=True))
        for _ in range(times):
            delete(model)
            model.add_adapter("b", lora(use_dora=True))
        return max(list(layer.adapter_layer_names).count("lora_magnitude_vector") for layer in layers(model))

    first = cycle(lambda model: None, times=0)
    theirs = cycle(lambda model: model.delete_adapter("b"))
    ours = cycle(lambda model: peftviz.delete_adapter(model, "b"))
    return Shown(theirs > first, (), ours == first)


def main() -> None:
    """Tries every kind and prints what was seen."""
    warnings.simplefilter("ignore")
    seen: dict[str, Any] = {}
    for name, entry in KINDS.items():
        torch.manual_seed(0)
        shown = entry.show()
        seen[name] = None if shown is None else asdict(shown)
    print(json.dumps({"peft": peft.__version__, "kinds": seen}))


if __name__ == "__main__":
    main()
