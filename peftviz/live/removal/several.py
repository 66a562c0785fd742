"""Models with adapters of their own, side by side in one module: what is active is decided in each by itself."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from peftviz.errors import AdapterError
from peftviz.live.peft_facts import ACTIVE_OF_LAYER
from peftviz.live.removal.sweep import as_list

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.live.removal.activity import Activity
    from peftviz.live.removal.survey import Survey


def check_one_decision(survey: Survey, activity: Activity, names: Collection[str]) -> None:
    """Refuses a deletion after which such models would need different adapters to become active.

    Args:
        survey: The model.
        activity: What is active now and afterwards, in all of it.
        names: Names that go.

    Raises:
        AdapterError: One of the models loses what is active in it, and what is planned is not right for it.
    """
    tops: list[tuple[str, list[str]]] = []
    for row, registry in sorted(survey.registries, key=itemgetter(0)):
        path = survey.tree.paths[row]
        if not any(_is_at_or_below(path, top) for top, _ in tops):
            tops.append((path, [name for name in registry if name not in names]))
    if sum(bool(kept) for _, kept in tops) < 2:
        return
    for path, kept in tops:
        active = {
            name
            for holder in survey.holders
            if _is_at_or_below(holder.path, path)
            for name in as_list(vars(holder.module).get(ACTIVE_OF_LAYER))
        }
        stays = [name for name in kept if name in active]
        if not kept or active.isdisjoint(names):
            continue
        if set(stays or kept[:1]) != set(activity.after) or not (stays or activity.arrived):
            gone = ", ".join(repr(name) for name in sorted(active.intersection(names)))
            raise AdapterError(
                f"{gone} is active in {path!r}, one of {len(tops)} models with adapters here, and the others differ.",
                where=f"{survey.kind} model {type(survey.model).__name__}",
                hint=f"Delete it in each by itself: pass the module {path!r} instead of what holds it.",
            )


def _is_at_or_below(path: str, top: str) -> bool:
    return not top or path == top or path.startswith(f"{top}.")
