"""All that peftviz knows about PEFT's own names. Feature detection only: no version is ever compared."""

from __future__ import annotations

import functools


@functools.cache
def is_peft_class(cls: type) -> bool:
    """Whether a class is PEFT's own or derives from one of PEFT's, without importing peft."""
    return any(base.__module__.partition(".")[0] == "peft" for base in cls.__mro__)
