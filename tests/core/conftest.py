"""Settings of the property tests of core."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("peftviz", max_examples=50, deadline=None, print_blob=True)  # no test here asserts a time
settings.load_profile("peftviz")
