"""The loop of `chunks`, compiled."""

from typing import Any, TypeAlias

import torch

_Entries: TypeAlias = tuple[list[Any], bytes, bytes]

def read_chunk(
    modules: list[torch.nn.Module], types: dict[type, int], names: dict[str, int], marks: tuple[str, ...]
) -> tuple[bytes, bytes, list[dict[str, Any]], bytes, list[int], list[int], _Entries, _Entries, _Entries] | None: ...
