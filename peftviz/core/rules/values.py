"""PV302: values of the base that are not those of the baseline, and what changed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peftviz.core.finding import Finding
from peftviz.core.rules.base import (
    adapters_around,
    elements,
    first_paths,
    initialisers,
    matched_parameters,
    merged_modules,
    trains_base,
)
from peftviz.core.rules.facts import Facts, alike, quoted
from peftviz.core.rules.history import UNKNOWN, cause_in_words
from peftviz.core.rules.rule import Rule
from peftviz.core.tables import IntArray, TensorFlag
from peftviz.core.timeline import BY_HAND, OUTSIDE

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Distance from 1 to the next number, by dtype."""

ROUNDINGS = 4
"""A merge that is undone rounds twice, each time by half of that distance at most; as much again for the adapter's own
share."""


@dataclass(frozen=True)
class Cause:
    """What changed some weights.

    Attributes:
        kind: `"bias"` (an adapter trains it), `"initialiser"` (an adapter's config says so), `"newcomer"` (an adapter
            came and no word of its config explains it), `"merge"`, `"outside"` (no recorded operation, as by training),
            `"operation"` (another recorded one) or `"unknown"`.
        adapters: The adapters that did it, as far as they can be told.
        entries: The entries of their configs that say so.
    """

    kind: str
    adapters: tuple[str, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()


def changed_weights(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """PV302: values of the base are not those of the baseline, and no merge that is still on explains it."""
    if facts.baseline is None or facts.baseline.values != facts.snapshot.values or facts.snapshot.values == "off":
        return
    tensors, earlier = facts.snapshot.tensors, facts.baseline.tensors
    rows, source = matched_parameters(facts)
    now, then = tensors.fingerprint[rows], earlier.fingerprint[source]
    changed = (now != then) & (now != 0) & (then != 0)
    recast = facts.diff.tensor_fields["dtype"] | facts.diff.tensor_fields["shape"]
    changed &= ~recast[rows]  # cast or resized on purpose: values of another kind cannot be compared
    changed &= ~merged_modules(facts)[tensors.owner[rows]]
    changed &= ~merged_modules(Facts(facts.baseline))[earlier.owner[source]]
    rows, source = rows[changed], source[changed]
    if not len(rows):
        return
    steps = facts.history.last_change(rows, "values")
    groups: dict[tuple[str, tuple[str, ...], Cause, bool], list[int]] = {}
    same_scope = facts.snapshot.scope is not None and facts.snapshot.scope is facts.baseline.scope
    replaced = same_scope & (tensors.identity[rows] != earlier.identity[source])
    for place, row in enumerate(rows.tolist()):
        inside = tuple(sorted(adapters_around(facts, int(tensors.owner[row]))))
        cause = _cause(facts, row, inside, int(steps[place]))
        key = (alike(facts.snapshot.tensor_path(row)), inside, cause, bool(replaced[place]))
        groups.setdefault(key, []).append(place)
    for (_, inside, cause, other), places in groups.items():
        yield _finding(rule, facts, rows[places], steps[places], inside, cause, replaced=other)


def _finding(
    rule: Rule,
    facts: Facts,
    rows: IntArray,
    steps: IntArray,
    inside: tuple[str, ...],
    cause: Cause,
    *,
    replaced: bool,
) -> Finding:
    told = facts.history.told(steps)
    drift = _drift(facts, rows) if cause.kind == "merge" else []
    path = facts.snapshot.tensor_path(int(rows[0]))
    subject = path if len(rows) == 1 else f"{path} and {len(rows) - 1} more like it"
    what = "was replaced by another tensor" if replaced else "changed"
    if replaced and len(rows) > 1:
        what = "were replaced by other tensors"
    return rule.finding(
        path,
        f"{subject} {what} since the baseline{_reason(inside, cause, drift)}{cause_in_words(told)}.",
        {
            "tensors": len(rows),
            "elements": elements(facts, rows),
            "cause": cause.kind,
            "adapters_inside": list(inside),
            "replaced": replaced,
            "values": facts.snapshot.values,
            "paths": first_paths(facts, rows),
            **({"config": dict(cause.entries)} if cause.entries else {}),
            **({"steps": told} if told else {}),
            **({"drift": drift} if drift else {}),
        },
        severity=_severity(facts, rows, inside, cause, drift),
        adapter=_only(cause.adapters) or _only(inside),
    )


def _cause(facts: Facts, row: int, inside: tuple[str, ...], step: int) -> Cause:
    """What changed one weight: what the step says that did it, else what came since the baseline and lies around it."""
    snapshot = facts.snapshot
    of_bias = [adapter.name for adapter in snapshot.adapters if trains_base(adapter.config)]
    if of_bias and snapshot.tensors.flags[row] & TensorFlag.REQUIRES_GRAD:
        return Cause("bias", tuple(of_bias))
    if step != UNKNOWN:
        done = facts.history.steps[step]
        if "merge" in done.operation or "fuse" in done.operation:
            return Cause("merge", inside)
        known = {adapter.name for adapter in done.before.adapters}
        came = [adapter for adapter in done.after.adapters if adapter.name not in known]
        if came:
            return _newcomers({adapter.name: adapter.config for adapter in came})
        return Cause("outside" if done.operation in (OUTSIDE, BY_HAND) else "operation")
    if inside and facts.once_known.isdisjoint(inside):
        return _newcomers({adapter.name: adapter.config for adapter in snapshot.adapters if adapter.name in inside})
    return Cause("unknown")


def _newcomers(configs: Mapping[str, Mapping[str, Any]]) -> Cause:
    entries = {name: initialisers(config) for name, config in configs.items()}
    guilty = {name: found for name, found in entries.items() if found}
    if not guilty:
        return Cause("newcomer", tuple(configs))
    said = {key: str(value) for found in guilty.values() for key, value in found.items()}
    return Cause("initialiser", tuple(guilty), tuple(sorted(said.items())))


def _drift(facts: Facts, rows: IntArray) -> list[dict[str, Any]]:
    """What was measured when merges were undone: for each step the largest difference, and the largest value beside."""
    paths = [facts.snapshot.tensor_path(row) for row in rows.tolist()]
    return [
        {**facts.history.name(index), "largest_difference": difference, "largest_value": scale}
        for index, difference, scale in facts.history.drifts(paths)
    ]


def _severity(facts: Facts, rows: IntArray, inside: tuple[str, ...], cause: Cause, drift: list[dict[str, Any]]) -> str:
    """An info where a newcomer or rounding explains it; a warning where it may be meant; else an error."""
    if cause.kind == "bias" or (inside and facts.once_known.isdisjoint(inside)):
        return "info"
    if cause.kind == "merge" and drift:
        dtypes = {facts.snapshot.specs[code].dtype for code in facts.snapshot.tensors.spec[rows].tolist()}
        step = max(EPSILON.get(dtype, 0.0) for dtype in dtypes)
        if all(each["largest_difference"] <= ROUNDINGS * step * each["largest_value"] for each in drift):
            return "info"
    return "warning" if inside or not facts.peft.any() else "error"


def _reason(inside: tuple[str, ...], cause: Cause, drift: list[dict[str, Any]]) -> str:
    """The rest of the sentence."""
    names = quoted(cause.adapters)
    if cause.kind == "bias":
        return f": {names} trains biases of the base in place"
    if cause.kind == "initialiser":
        said = ", ".join(f"{key}={value!r}" for key, value in cause.entries)
        return f": {names} initialised it anew, its config says {said}"
    if cause.kind == "newcomer":
        return f"; {names} came since then and may have initialised it anew"
    if cause.kind == "merge":
        if not inside:
            return ": an adapter was merged into it"
        size = max((each["largest_difference"] for each in drift), default=None)
        by = "" if size is None else f", by {size:.2g} at most in what was compared"
        return f": merging adapters and taking them out again rounds{by}"
    if cause.kind == "outside":
        return " by no recorded operation, as training does"
    if cause.kind == "operation":
        return ""
    if inside:
        return (
            ", and nothing that is merged explains it: a merge that was undone rounds, "
            "and adapters that are gone may have initialised it anew or trained it"
        )
    return ", and nothing that is merged explains it"


def _only(names: tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 else None
