"""What is made once for a display, and no longer kept than what it was made of."""

from __future__ import annotations

import gc
import weakref

from peftviz.core.audit import audit_snapshot
from peftviz.core.diff import diff
from peftviz.views.viewmodel.subjects import document
from peftviz.views.viewmodel.table import view_table
from tests.views.story import story


def test_the_same_subject_has_one_table() -> None:
    _, before, after = story()
    changes = diff(before, after)
    table = document(changes).table
    assert document(changes).table is table
    assert table is not None
    assert table.runs is table.runs
    assert document(diff(before, after)).table is not table


def test_other_findings_make_another_table() -> None:
    _, before, after = story()
    changes = diff(before, after)
    plain = view_table(changes)
    marked = view_table(changes, audit=audit_snapshot(after))
    assert not plain.findings
    assert marked.findings
    assert view_table(changes) is not plain, "only the last one is kept"


def test_a_table_goes_with_its_subject() -> None:
    _, before, after = story()
    changes = diff(before, after)
    table = weakref.ref(view_table(changes))
    gc.collect()
    assert table() is not None
    del changes
    gc.collect()
    assert table() is None
