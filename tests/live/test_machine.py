"""Random sequences of all adapter operations, checked after every step against a small model of the adapters.

PEFT's own operations that are known to leave things behind take part; after them the state counts as tainted until
`peftviz.repair` has mended it. In between everything must be as the small model says, and the audit silent.

`PEFTVIZ_MACHINE_EXAMPLES=2000` makes a long run; each example is a sequence of up to 25 operations.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from peft import get_peft_model

import peftviz
from peftviz.errors import AdapterError
from peftviz.live.activation import switching
from tests.live.audited import delete_per_layer
from tests.live.families import FAMILIES, Family
from tests.live.zoo import output
from tests.live.zoo.handles import perturb
from tests.oracle import compare, describe, photograph

EXAMPLES = int(os.environ.get("PEFTVIZ_MACHINE_EXAMPLES", "150"))
NAMES = ("a", "ab", "q_proj", "ü 1", "default")
ROUNDING = 1e-5

pytestmark = pytest.mark.filterwarnings("ignore")

name_of = st.sampled_from(NAMES)
pick = st.integers(0, 9)


class AdapterMachine(RuleBasedStateMachine):
    """One model and what should be true of it."""

    @initialize(family=st.sampled_from(sorted(FAMILIES)), kind=pick, name=name_of)
    def start(self, family: str, kind: int, name: str) -> None:
        warnings.simplefilter("ignore")
        note(f"family {family}")
        self.family: Family = FAMILIES[family]
        self.base = self.family.build()
        self.baseline = peftviz.capture(self.base)
        self.base_facts = describe(self.base)
        self.model: Any = self.base
        self.adapters: list[str] = []
        self.active: list[str] = []
        self.merged: list[str] = []
        self.enabled = True
        self.tainted = False
        self.expected: set[str] = set()
        self.pristine = True  # the base has its first values still
        self.rebuildable = True  # the adapters can be made anew from their configs, on a base made anew
        self.seed = 0
        self.previous: Any = None
        self.folder = Path(tempfile.mkdtemp())
        self._add(name, kind)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # PEFT's operations ------------------------------------------------------------------------------------------------

    def _kind(self, kind: int) -> Any:
        kinds = list(self.family.configs.values())
        return kinds[kind % len(kinds)]()

    def _get_peft_model(self, base: torch.nn.Module, config: Any, name: str) -> Any:
        options = {"mixed": True} if self.family.mixed else {}
        return get_peft_model(base, config, adapter_name=name, **options)

    def _add(self, name: str, kind: int) -> None:
        self.seed += 1
        torch.manual_seed(self.seed)
        config = self._kind(kind)
        if not self.adapters:
            self.model = self._get_peft_model(self.base, config, name)
            self.active, self.enabled = [name], True
        else:
            self.model.add_adapter(name, config)
            self._quiet_the_tied_head(name)
        perturb(self.model, name)
        self.model.eval()
        self.adapters.append(name)

    def _quiet_the_tied_head(self, name: str) -> None:
        """PEFT has the head of a tied model run the tokens of an adapter that was added beside the active one."""
        if self.family is FAMILIES.get("tokens"):
            found = peftviz.audit(self.model).of("PV201")
            assert {finding.adapter for finding in found} <= {name}
            self.model.set_adapter(self.active[0])

    def _other(self, which: int) -> str:
        return self.adapters[which % len(self.adapters)]

    @precondition(lambda self: not self.merged and not self.tainted and self.enabled)
    @rule(name=name_of, kind=pick)
    def add(self, name: str, kind: int) -> None:
        if name not in self.adapters:
            self._add(name, kind)

    @precondition(lambda self: self.adapters and not (self.merged or self.tainted or self.family.mixed))
    @rule(which=pick, name=name_of)
    def load_from_disk(self, which: int, name: str) -> None:
        source = self._other(which)
        tokens = self.family is FAMILIES.get("tokens")
        if name in self.adapters or (tokens and not self.model.peft_config[source].trainable_token_indices):
            return  # PEFT cannot save an adapter without tokens beside one with tokens: KeyError
        self.model.save_pretrained(self.folder, selected_adapters=[source])
        self.model.load_adapter(self.folder / source if source != "default" else self.folder, name)
        self._quiet_the_tied_head(name)
        self.model.eval()
        self.adapters.append(name)

    @precondition(lambda self: self.adapters and not self.tainted and self.enabled and not self.merged)
    @rule(which=pick)
    def set_adapter(self, which: int) -> None:
        name = self._other(which)
        self.model.set_adapter(name)
        self.active = [name]

    @precondition(lambda self: self.adapters and not self.tainted and self.enabled)
    @rule(which=pick)
    def set_adapter_of_peftviz(self, which: int) -> None:
        name = self._other(which)
        if self.merged:
            before = photograph(self.model)
            with pytest.raises(AdapterError):
                switching.set_adapter(self.model, name)
            assert photograph(self.model) == before
        else:
            switching.set_adapter(self.model, name)
            self.active = [name]

    @precondition(lambda self: len(self.adapters) > 1 and not (self.tainted or self.merged) and self.enabled)
    @rule()
    def set_several(self) -> None:
        if not self.family.several:
            return
        names = self.adapters[:2]
        handle = self.model if self.family.mixed else self.model.base_model
        handle.set_adapter(names)
        self.active = list(names)
        if not self.family.mixed and vars(self.model)["active_adapter"] not in names:
            self.taint("PV201")

    @precondition(lambda self: self.adapters and not (self.tainted or self.merged))
    @rule()
    def switch_off_and_on(self) -> None:
        tuner = self.model.base_model
        if self.enabled:
            tuner.disable_adapter_layers()
        else:
            tuner.enable_adapter_layers()
        self.enabled = not self.enabled

    @precondition(lambda self: self.adapters and not (self.tainted or self.merged) and self.enabled)
    @rule()
    def merge(self) -> None:
        self.model.merge_adapter()
        self.pristine = False
        self.merged = list(self.active)

    @precondition(lambda self: self.merged)
    @rule()
    def unmerge(self) -> None:
        self.model.unmerge_adapter()
        self.merged = []

    @precondition(lambda self: len(self.adapters) > 1 and not (self.tainted or self.merged) and self.enabled)
    @rule(name=name_of)
    def add_weighted_adapter(self, name: str) -> None:
        if not self.family.sums or name in self.adapters:
            return
        self.model.add_weighted_adapter(self.adapters[:2], [0.5, 0.25], name, combination_type="linear")
        self.adapters.append(name)
        self.rebuildable = False

    @precondition(lambda self: self.adapters and not (self.tainted or self.merged) and self.enabled)
    @rule()
    def train_a_step(self) -> None:
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        others = [parameter for parameter in self.model.parameters() if not parameter.requires_grad]
        kept = [parameter.detach().clone() for parameter in others]
        if not trainable:
            return
        optimizer = torch.optim.SGD(trainable, lr=0.01)
        result = self.model(torch.tensor([[1, 2, 3]]))
        (result if isinstance(result, torch.Tensor) else result.logits).square().mean().backward()
        optimizer.step()
        self.model.zero_grad(set_to_none=True)
        assert all(torch.equal(now, then) for now, then in zip(others, kept, strict=True))

    # PEFT's operations that leave things behind ---------------------------------------------------------------------

    def taint(self, *rules: str) -> None:
        self.tainted = True
        self.expected.update(rules)

    @precondition(lambda self: self.adapters and not (self.tainted or self.merged))
    @rule(which=pick)
    def delete_by_peft(self, which: int) -> None:
        name = self._other(which)
        self.model.delete_adapter(name)
        self.adapters.remove(name)
        self.taint()
        if not self.adapters:
            self.expected = {"PV102"}

    @precondition(lambda self: len(self.adapters) > 1 and not (self.tainted or self.merged or self.family.mixed))
    @rule(which=pick)
    def delete_layer_by_layer(self, which: int) -> None:
        name = self._other(which)
        copies = [path for path, _ in self.model.named_parameters() if f"modules_to_save.{name}." in path]
        delete_per_layer(self.model, name)
        self.adapters.remove(name)
        self.taint(*(["PV101"] if copies else []))

    # peftviz ----------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.adapters)
    @rule(which=pick, unmerge=st.booleans())
    def delete_by_peftviz(self, which: int, unmerge: bool) -> None:
        name = self._other(which)
        if name in self.merged and not unmerge:
            before = photograph(self.model)
            with pytest.raises(AdapterError, match="merged"):
                peftviz.delete_adapter(self.model, name)
            assert photograph(self.model) == before
            return
        report = peftviz.delete_adapter(
            self.model, name, baseline=self.baseline, merged="unmerge" if unmerge else "refuse"
        )
        assert report.freed.alive == ()
        self.model = report.model
        self.adapters.remove(name)
        self.merged = [other for other in self.merged if other != name]
        self.active = [other for other in self.active if other != name] or self.adapters[:1]
        if not self.adapters:
            self._is_base(report.model)
        elif not self.tainted:
            self._equals_never_added()

    @precondition(lambda self: self.model is not self.base)
    @rule()
    def repair(self) -> None:
        report = peftviz.repair(self.model, baseline=self.baseline)
        self.model = report.model
        left = peftviz.audit(self.model)
        assert [finding for finding in left if finding.repairable] == []
        if not self.tainted:
            assert report.actions == ()
            return
        assert left.clean
        self.tainted, self.expected = False, set()
        if not self.adapters:
            self._is_base(report.model)
            return
        self.active = list(report.after.adapter_state.active)
        assert self.active
        assert set(self.active) <= set(self.adapters)
        self._equals_never_added()

    @precondition(lambda self: self.adapters and not self.tainted)
    @rule(merge=st.booleans())
    def unload(self, merge: bool) -> None:
        expected = output(self.model) if merge and self.enabled else None
        report = peftviz.unload(self.model, merge=merge, baseline=self.baseline)
        self.adapters = []
        if not merge:
            self.merged = []
            self._is_base(report.model)
            return
        self.model = report.model
        assert self.model is self.base
        if expected is not None:
            assert torch.allclose(output(self.base), expected, rtol=0, atol=ROUNDING)
        self.active, self.merged, self.enabled = [], [], True
        self.pristine = False
        self.rebuildable &= not any("no longer tied" in warning for warning in report.warnings)
        self.baseline, self.base_facts = peftviz.capture(self.base), describe(self.base)
        if list(compare(plain(self.base_facts), plain(describe(self.family.build())))):
            self.rebuildable = False  # a trained head that was merged parted the tied pair

    # What must be true ------------------------------------------------------------------------------------------------

    def _is_base(self, model: torch.nn.Module) -> None:
        assert model is self.base
        self.model = model
        self.active, self.merged, self.enabled = [], [], True
        self.tainted, self.expected = False, set()
        facts = describe(model)
        if self.pristine:
            assert list(compare(self.base_facts, facts)) == []
        else:
            assert list(compare(plain(self.base_facts), plain(facts))) == []

    def _equals_never_added(self) -> None:
        """The model equals one that never had the adapters that are gone."""
        if self.merged or not self.rebuildable or not self.enabled or len(self.active) != 1:
            return
        other: Any = self.family.build()
        configs = self.model.peft_config
        for position, name in enumerate(self.adapters):
            torch.manual_seed(position)
            config = copy.deepcopy(configs[name])
            if position:
                other.add_adapter(name, config)
            else:
                other = get_peft_model(
                    other, config, adapter_name=name, **({"mixed": True} if self.family.mixed else {})
                )
        other.set_adapter(self.active[0])
        other.eval()
        assert list(compare(plain(describe(self.model)), plain(describe(other))))[:4] == []
        values = self.model.state_dict()
        other.load_state_dict(values)
        assert torch.equal(output(self.model), output(other))

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        snapshot = peftviz.capture(self.model)
        result = peftviz.audit(snapshot)
        assert [adapter.name for adapter in snapshot.adapters] == self.adapters
        if self.tainted:
            assert self.expected <= {finding.rule for finding in result}
        else:
            assert [
                (finding.rule, finding.path, finding.message) for finding in result if finding.severity != "info"
            ] == []
            assert list(snapshot.adapter_state.active) == self.active
            assert [adapter.name for adapter in snapshot.adapters if adapter.merged] == [
                name for name in self.adapters if name in self.merged
            ]
            if self.adapters:
                assert snapshot.adapter_state.enabled is self.enabled
        if self.previous is not None:
            change = peftviz.diff(self.previous, snapshot)
            assert peftviz.patch(self.previous, change) == snapshot
            assert peftviz.patch(snapshot, change.reverse()) == self.previous
        assert not peftviz.diff(snapshot, snapshot)
        self.previous = snapshot


PREFIX = "base_model.model."


def plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts without values and flags: those follow from what was trained and set before.

    A layer of tokens that was disabled and enabled again notes that it is enabled; one that never was notes nothing.
    """
    return {
        key: sorted(set(fact) - {"_disable_adapters"})
        if key.endswith(": attributes")
        else sorted({path.removeprefix(PREFIX) for path in fact})  # a mixed model has either spelling
        if key.endswith(".targeted_module_names")
        else {**fact, "target_name": str(fact.get("target_name")).removeprefix(PREFIX)}
        if key.endswith(".kwargs") and isinstance(fact, dict)
        else fact[:4]
        if isinstance(fact, tuple) and len(fact) == 6
        else fact
        for key, fact in facts.items()
        if not (key.endswith("._disable_adapters") and fact is False)
    }


TestMachine = AdapterMachine.TestCase
TestMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # shrinking a sequence of operations takes minutes; it is printed as it is
)
