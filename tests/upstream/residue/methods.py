"""What PEFT's own deletion leaves of each method, and what peftviz leaves, on the PEFT that is installed.

Run as a program it prints one line of JSON: for each method and mode the number of facts in which a model differs
from one that never had the adapter, by the oracle of the tests, which shares no code with peftviz, and the rules
that the audit finds. A deletion that raises counts as its exception's name; `null`: this PEFT cannot make the models.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import peft

import peftviz
from tests.live.zoo import METHODS, adapter_alone, both_adapters
from tests.live.zoo.cases import Case
from tests.oracle import compare, describe

if TYPE_CHECKING:
    import torch

Delete = Callable[[Any, str], Any]


def by_peft(model: Any, name: str) -> Any:
    model.delete_adapter(name)
    return model


def by_peftviz(model: Any, name: str) -> Any:
    return peftviz.delete_adapter(model, name).model


def one_of_two(case: Case, delete: Delete) -> tuple[int | str, list[str]]:
    """Facts in which a model that lost one of two adapters differs from one that never had it."""
    handle = both_adapters(case, "peft")
    try:
        left = delete(handle.model, "b")
    except Exception as error:
        return type(error).__name__, []
    never = adapter_alone(case, "peft").model
    return len(list(compare(describe(left), describe(never)))), rules_of(left)


def last_of_one(case: Case, delete: Delete) -> tuple[int | str, list[str]]:
    """Facts in which the base differs, after its last adapter went, from the base that it was; flags left out."""
    handle = adapter_alone(case, "peft")
    try:
        left = delete(handle.model, "a")
    except Exception as error:
        return type(error).__name__, []
    return len(list(compare(without_flags(handle.base), without_flags(case.build())))), rules_of(left)


def without_flags(model: torch.nn.Module) -> dict[str, Any]:
    facts = describe(model)
    return {
        key: (*fact[:4], *fact[5:]) if isinstance(fact, tuple) and len(fact) == 6 else fact
        for key, fact in facts.items()
    }


def rules_of(model: Any) -> list[str]:
    return sorted({finding.rule for finding in peftviz.audit(model) if finding.severity != "info"})


def measure(case: Case) -> dict[str, Any] | None:
    try:
        both_adapters(case, "peft")
    except Exception:
        return None
    theirs, rules = one_of_two(case, by_peft)
    theirs_last, rules_last = last_of_one(case, by_peft)
    return {
        "peft": [theirs, theirs_last],
        "rules": sorted({*rules, *rules_last}),
        "peftviz": [one_of_two(case, by_peftviz)[0], last_of_one(case, by_peftviz)[0]],
    }


def main() -> None:
    """Measures every method and prints the figures."""
    warnings.simplefilter("ignore")
    found = {name: measure(case) for name, case in METHODS.items() if "peft" in case.ways}
    print(json.dumps({"peft": peft.__version__, "methods": found}))


if __name__ == "__main__":
    main()
