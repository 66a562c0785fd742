"""What outlives an adapter outside its layers: registries, marks on the base model, handles without an adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftviz.live.peft_facts import (
    ACTIVE_OF_HANDLE,
    FIRST_ADDED,
    FORWARDED,
    MIXIN_LOADED,
    MODULE_NAMES_OF_HANDLE,
    handle_kind,
    is_peft_class,
    saved_modules,
)
from peftviz.live.removal.handles import loses_all, outer_handles, starting_anew, without_adapter
from peftviz.live.removal.survey import Survey, is_wrapper
from peftviz.live.snapshots.base_model import base_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from peftviz.core.plan import Noted
    from peftviz.live.removal.sweep import Edits


def forget_configs(
    survey: Survey,
    edits: Edits,
    names: frozenset[str],
    *,
    is_last: bool,
    unwrap: bool,
    also_empty: bool,
    actions: list[Noted],
) -> None:
    """Notes what registries, the names that handles keep and the marks of a mixin forget.

    Args:
        survey: The model.
        edits: Where to note it.
        names: Names that go.
        is_last: Whether no adapter is left.
        unwrap: Take registries that hold no config any more off models that are not PEFT's.
        also_empty: Those, too, that held none before.
        actions: Where to say it.
    """
    gone_modules: set[str] = set()
    for row, registry in survey.registries:
        for name in registry:
            if name in names:
                gone_modules |= saved_modules(registry[name])
                edits.delete(registry, name)
                actions.append(("forget", row, "", f"config of {name!r}"))
    gone = gone_modules.difference(
        *(saved_modules(config) for name, config in survey.configs.items() if name not in names)
    )
    emptied = [
        (owner, attribute, row)
        for owner, attribute, row in survey.registry_owners
        if not is_peft_class(type(owner)) and names.issuperset(registry := vars(owner)[attribute])
        if registry or also_empty
    ]
    bare = {id(owner) for owner, _, _ in emptied}
    owners = [holder.module for alike in survey.alike if not is_wrapper(alike.cls) for holder in alike.holders]
    for owner in dict.fromkeys([*owners, *(owner for owner, _, _ in survey.registry_owners)]):
        listed = vars(owner).get(MODULE_NAMES_OF_HANDLE)
        ends = is_last or id(owner) in bare
        if not isinstance(listed, set) or not (ends or listed & gone):
            continue
        if (ends or listed <= gone) and not is_peft_class(type(owner)):
            edits.delete(vars(owner), MODULE_NAMES_OF_HANDLE)  # a base model had no such attribute
        else:
            edits.set(vars(owner), MODULE_NAMES_OF_HANDLE, None if ends else (listed - gone) or None)
    for owner, attribute, row in emptied if unwrap else ():
        edits.delete(vars(owner), attribute)
        actions.append(("forget", row, "", f"attribute {attribute}"))
    for owner, _, row in emptied:
        if MIXIN_LOADED in vars(owner):
            if getattr(type(owner), MIXIN_LOADED, None) is False:
                edits.delete(vars(owner), MIXIN_LOADED)
            else:
                edits.set(vars(owner), MIXIN_LOADED, False)
            actions.append(("forget", row, "", f"attribute {MIXIN_LOADED}"))


def empty_handles(survey: Survey, names: Collection[str], edits: Edits) -> None:
    """Lets handles that have no adapter left act as the base until they get one."""
    for handle in outer_handles(survey):
        if loses_all(handle, names) and handle_kind(base_of(handle)) is None and ACTIVE_OF_HANDLE in vars(handle):
            for method in FORWARDED:
                if callable(getattr(type(handle), method, None)):
                    edits.set(vars(handle), method, without_adapter(method, handle))
            edits.set(vars(handle), FIRST_ADDED, starting_anew(handle))
