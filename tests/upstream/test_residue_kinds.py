"""Each kind of residue on each release of PEFT: what PEFT does, the finding, the mended state, and what the page says.

`SHOWN` says where PEFT behaves so. When a new PEFT no longer does, its test fails and says so.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.upstream.releases import INSTALLED, OLDER, ask
from tests.upstream.residue import page
from tests.upstream.residue.kind import Kind
from tests.upstream.residue.kinds import KINDS
from tools.residue_matrix import kind_cell

TABLED = (*OLDER, "0.21.2")

SHOWN = {
    "wrappers_after_the_last_deletion": "yyyy",
    "wrappers_after_the_last_deletion_by_transformers": "yyyy",
    "fallback_without_its_head": "yyyy",
    "head_after_deletion": "yynn",
    "head_after_deletion_layer_by_layer": "yyyy",
    "tokens_after_deletion": "-ynn",
    "base_changed_by_an_initialiser": "yyyy",
    "layers_replicated_again": "yyyy",
    "unload_keeps_the_trained_head": "yyyy",
    "bias_trained_in_place": "yyyy",
    "deleted_while_merged": "yyyn",
    "trained_adapter_made_anew": "yyyy",
    "a_peft_model_in_a_peft_model": "yyyy",
    "merged_subset": "yyyy",
    "stale_handle": "yyyy",
    "no_second_life": "nnyy",
    "no_second_life_with_shared_projections": "yyyy",
    "third_adapter_keeps_its_head": "yyyy",
    "ghost": "yyyy",
    "hooks_of_a_forward_that_raised": "yyyy",
    "prompt_cannot_be_deleted": "yyyn",
    "inactive_tokens_run": "-yyy",
    "base_stays_frozen": "yyyy",
    "wrappers_beside_living_adapters": "yyyy",
    "names_in_dictionaries": "yyyn",
    "names_of_buffers": "yyyy",
    "hooks_pile_up": "yyyy",
    "frozen_fallback_trains": "yyyy",
    "disabling_unfreezes": "yyyy",
    "configs_after_unload": "yyyn",
    "an_optimizer_holds_them": "yyyy",
    "dora_declares_again": "yyyy",
}
"""For each kind and each release of `TABLED`: `y` where PEFT behaves so, `n` where not, `-` where it lacks it."""

RELEASES = (*OLDER, INSTALLED)

pytestmark = pytest.mark.upstream


def answers(release: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = ask(release, "tests.upstream.residue.kinds")["kinds"]
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    return found


def expected(name: str, release: str) -> str:
    """What the table says; of a release that it does not have, what the newest one did."""
    return SHOWN[name][TABLED.index(release) if release in TABLED else -1]


def judge(name: str, entry: Kind, release: str, seen: dict[str, Any] | None) -> list[str]:
    """What is not as it should be, in words."""
    wanted = expected(name, release)
    now = "-" if seen is None else "y" if seen["behaves"] else "n"
    if now != wanted:
        did = {"y": "does", "n": "does not do", "-": "cannot do"}
        said = (
            f"PEFT {release} {did[now]} this, the table says it {did[wanted]}: {entry.title} ({entry.issue}). "
            "Add the release to TABLED and SHOWN, and update the page with tools/residue_matrix.py."
        )
        return [said]
    wrong = []
    if seen is not None and seen["behaves"] and entry.rules and entry.rules.isdisjoint(seen["found"]):
        wrong.append(f"{entry.title}: none of {sorted(entry.rules)} found it, only {seen['found']}")
    if seen is not None and seen["mended"] is False:
        wrong.append(f"{entry.title}: peftviz did not mend it")
    return wrong


@pytest.mark.parametrize("release", RELEASES)
def test_peft_behaves_as_the_table_says_and_peftviz_finds_and_mends_it(release: str) -> None:
    found = answers(release)
    assert list(found) == list(KINDS)
    wrong = [line for name, entry in KINDS.items() for line in judge(name, entry, release, found[name])]
    assert wrong == []
    written = page.column(release)
    assert {entry.title: kind_cell(found[name]) for name, entry in KINDS.items()} == {
        entry.title: written.get(entry.title) for entry in KINDS.values()
    }, "run tools/residue_matrix.py"


def test_every_kind_is_in_the_table_and_names_where_it_is_reported() -> None:
    assert list(SHOWN) == list(KINDS)
    assert {len(marks) for marks in SHOWN.values()} == {len(TABLED)}
    assert all(entry.issue == "none known" or "#" in entry.issue for entry in KINDS.values())


def test_a_release_that_behaves_otherwise_is_told() -> None:
    seen = {"behaves": False, "found": [], "mended": True}
    (said,) = judge("ghost", KINDS["ghost"], "99.0", seen)
    assert "PEFT 99.0 does not do this, the table says it does" in said
    assert "peft#3707" in said
    assert judge("ghost", KINDS["ghost"], "99.0", {"behaves": True, "found": ["PV103"], "mended": True}) == []
    assert "none of ['PV103']" in judge("ghost", KINDS["ghost"], "99.0", {**seen, "behaves": True})[0]
