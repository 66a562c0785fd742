"""What is measured on one model."""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torchinfo

import peftviz
from benchmarks import models
from benchmarks.measure import alternating, import_seconds, interleaved, memory, timed, within
from benchmarks.table import Figure
from peftviz.core.serialize import load, save
from peftviz.live.snapshots import chunks

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Size:
    """One model of the benchmark.

    Attributes:
        name: What it is called in the table.
        build: Makes it, with one adapter.
        rounds: How often the quick things are timed.
        deletions: How often a deletion is timed.
        layer_by_layer: Whether a second adapter has to be added and removed layer by layer.
        small: Makes the same tree with small weights that exist.
    """

    name: str
    build: Callable[[], nn.Module]
    rounds: int
    deletions: int
    layer_by_layer: bool = False
    small: Callable[[], nn.Module] | None = None


SIZES = {
    "M": Size(
        "M",
        lambda: models.llama(80, 8192, 28672),
        rounds=15,
        deletions=5,
        small=lambda: models.llama(80, 128, 256, device="cpu"),
    ),
    "L": Size("L", lambda: models.llama(126, 16384, 53248), rounds=11, deletions=5),
    "XL": Size("XL", lambda: models.mixture(61, 256), rounds=5, deletions=1, layer_by_layer=True),
}


class Suite:
    """Measures one model and collects the figures.

    Args:
        size: The model.
        quick: Whether few rounds are enough.
        cut_off: Seconds after which torchinfo is stopped.
        say: Told what is being done.
    """

    def __init__(self, size: Size, *, quick: bool, cut_off: float, say: Callable[[str], None]) -> None:
        self.size = size
        self.rounds = 3 if quick else size.rounds
        self.deletions = 1 if quick else size.deletions
        self.cut_off = cut_off
        self.figures: list[Figure] = []
        self._say = say
        self._walk = 0.0

    def run(self) -> list[Figure]:
        """Builds the model and measures everything."""
        with self._stage("build"):
            model: Any = self.size.build()
        with self._stage("capture of the bare tree"):
            self._bare_tree(model)
        gc.collect()
        gc.freeze()  # the model outlives all that is timed: the collector need not look at it
        with self._stage("capture"):
            self._capture(model)
        if self.size.small is not None:
            with self._stage("values"):
                self._values(self.size.small())
        with self._stage("diff"):
            self._diff_of_wrapping(model)
            self._diff_of_adding(model)
        with self._stage("memory and file"):
            self._memory(model)
            self._file(model)
        with self._stage("deletion"):
            self._deletion(model)
        if not self.size.layer_by_layer:
            with self._stage("watch"):
                self._watch(model)
        with self._stage("torchinfo"):
            self._torchinfo(model)
        gc.unfreeze()
        return self.figures

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._say(f"{self.size.name}: {name}, {time.perf_counter() - start:.1f} s")

    def _add(
        self,
        what: str,
        seconds: float | None,
        *,
        budget: float | None = None,
        walk: float | None = None,
        note: str = "",
    ) -> None:
        value = None if seconds is None else seconds / (walk or self._walk)
        self.figures.append(Figure(self.size.name, what, value, "B", budget, seconds, note))

    def _bare_tree(self, model: nn.Module) -> None:
        bare = models.twin(model, plain=True)
        gc.collect()
        gc.freeze()
        capture = peftviz.capture  # loads what it needs, which is no part of the first capture
        first = timed(lambda: capture(bare))
        found = interleaved(
            {"walk": walk(bare), "capture": lambda: capture(bare), "python": lambda: capture_in_python(bare)},
            self.rounds,
        )
        self._add("capture of tree, tensors, storage", found["capture"], budget=1.5, walk=found["walk"])
        self._add("the same, modules read in Python", found["python"], walk=found["walk"])
        self._add("the first such capture, which registers every object", first, walk=found["walk"])
        gc.unfreeze()

    def _capture(self, model: nn.Module) -> None:
        snapshot = peftviz.capture(model)
        found = interleaved(
            {
                "walk": walk(model),
                "capture": lambda: peftviz.capture(model),
                "python": lambda: capture_in_python(model),
            },
            self.rounds,
        )
        self._walk = found["walk"]
        note = f"B: {len(snapshot.modules):,} modules, {len(snapshot.tensors):,} tensors"
        self.figures.insert(0, Figure(self.size.name, "bare walk", 1.0, "B", None, self._walk, note))
        self._add("capture with adapter state and hooks", found["capture"], budget=2.2)
        self._add("the same, modules read in Python", found["python"])

    def _values(self, model: nn.Module) -> None:
        gc.collect()
        found = interleaved(
            {
                "walk": walk(model),
                "off": lambda: peftviz.capture(model, values="off"),
                "sample": lambda: peftviz.capture(model, values="sample"),
            },
            self.rounds,
        )
        self._add("the same with small weights on the CPU, without their values", found["off"], walk=found["walk"])
        self._add("the same with a sample of the values", found["sample"], walk=found["walk"])

    def _diff_of_wrapping(self, model: nn.Module) -> None:
        for base in models.unwrapped(model):
            before = peftviz.capture(base)
        after = peftviz.capture(model)
        found = interleaved({"diff": lambda: peftviz.diff(before, after)}, self.rounds)
        self._add("diff after get_peft_model", found["diff"], budget=0.2, note=changes(peftviz.diff(before, after)))

    def _diff_of_adding(self, model: nn.Module) -> None:
        before = peftviz.capture(model)
        models.add_second(model, layer_by_layer=self.size.layer_by_layer)
        after, again = peftviz.capture(model), peftviz.capture(model)
        found = interleaved(
            {
                "walk": walk(model),
                "diff": lambda: peftviz.diff(before, after),
                "same": lambda: peftviz.diff(after, again),
            },
            self.rounds,
        )
        note = changes(peftviz.diff(before, after))
        self._add("diff after a second adapter", found["diff"], budget=0.2, walk=found["walk"], note=note)
        self._add("diff of no change", found["same"], budget=0.2, walk=found["walk"])
        models.delete_with_peft(model, layer_by_layer=self.size.layer_by_layer)

    def _memory(self, model: nn.Module) -> None:
        snapshot = peftviz.capture(model)
        nodes = len(snapshot.modules) + len(snapshot.tensors)
        kept, peak = memory(lambda: peftviz.capture(model))
        self._figure("kept by a snapshot, a node", kept / nodes, "bytes", 24)
        self._figure("peak of a capture, a node", peak / nodes, "bytes", 96)

    def _file(self, model: nn.Module) -> None:
        snapshot = peftviz.capture(model)
        nodes = len(snapshot.modules) + len(snapshot.tensors)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "snapshot"
            found = interleaved({"save": lambda: save(snapshot, path), "load": lambda: load(path)}, min(3, self.rounds))
            self._figure("saved snapshot, a node", path.stat().st_size / nodes, "bytes", 2)
        self._add("save", found["save"])
        self._add("load", found["load"])

    def _deletion(self, model: Any) -> None:
        slow = self.size.layer_by_layer
        found = alternating(
            lambda: models.add_second(model, layer_by_layer=slow),
            {
                "ours": lambda: peftviz.delete_adapter(model, models.SECOND),
                "theirs": lambda: models.delete_with_peft(model, layer_by_layer=slow),
            },
            self.deletions,
        )
        captures = self._captures_around_deletion(model)
        walked = interleaved({"walk": walk(model)}, self.rounds)["walk"]
        own = (
            "PEFT's own deletion"
            + (", the loop over its layers only" if slow else "")
            + ": nothing planned or verified"
        )
        self._add("deletion of one of two adapters: plan, apply, verify", found["ours"], budget=4, walk=walked)
        self._add("of it, the snapshots before and after, whose walks it reads", captures, walk=walked)
        self._add(own, found["theirs"], walk=walked)
        self._figure("deletion against PEFT's own", found["ours"] / found["theirs"], "×", 1)
        self._figure("the same without the two snapshots", (found["ours"] - captures) / found["theirs"], "×")

    def _captures_around_deletion(self, model: Any) -> float:
        """Seconds of two captures, one that registers what a second adapter brought and one without it."""
        slow = self.size.layer_by_layer
        seconds = []
        for _ in range(self.deletions):
            models.add_second(model, layer_by_layer=slow)
            gc.collect()
            before = timed(lambda: peftviz.capture(model))
            models.delete_with_peft(model, layer_by_layer=slow)
            gc.collect()
            seconds.append(before + timed(lambda: peftviz.capture(model)))
        return statistics.median(seconds)

    def _watch(self, model: Any) -> None:
        plain: list[float] = []
        seen: list[float] = []
        for _ in range(self.deletions):
            for seconds in (plain, seen):
                with peftviz.watch(model) if seconds is seen else nullcontext():
                    gc.collect()
                    seconds.append(timed(lambda: models.add_second(model, layer_by_layer=False)))
                    model.delete_adapter(models.SECOND)
        overhead = statistics.median(
            100 * (watched - alone) / alone for alone, watched in zip(plain, seen, strict=True)
        )
        note = f"plain {statistics.median(plain):.2f} s"
        watched = statistics.median(seen)
        self.figures.append(Figure(self.size.name, "watch on add_adapter", overhead, "%", 5, watched, note))

    def _torchinfo(self, model: nn.Module) -> None:
        seconds = within(self.cut_off, lambda: torchinfo.summary(model, depth=100, verbose=0))
        note = "" if seconds is not None else f"cut off after {self.cut_off:g} s"
        self._add("torchinfo.summary", seconds, note=note)

    def _figure(self, what: str, value: float, unit: str, budget: float | None = None) -> None:
        self.figures.append(Figure(self.size.name, what, value, unit, budget))


def walk(model: nn.Module) -> Callable[[], None]:
    """The bare walk that everything is compared with."""

    def job() -> None:
        for _ in model.named_modules(remove_duplicate=False):
            pass

    return job


def capture_in_python(model: nn.Module) -> peftviz.Snapshot:
    """A capture as it is where peftviz was installed without a compiler."""
    with patch.object(chunks, "_compiled", None):
        return peftviz.capture(model)


def changes(diff: Any) -> str:
    """The number of changes by kind."""
    return ", ".join(f"{count:,} {kind}" for kind, count in diff.counts.items())


def imports(rounds: int) -> list[Figure]:
    """Time of the import, in fresh processes."""
    figures = []
    for statement in ("import peftviz", "import peftviz; peftviz.load; peftviz.diff"):
        seconds, torch = import_seconds(statement, rounds)
        note = "with torch" if torch else "no torch"
        figures.append(Figure("", f"`{statement}`", seconds, "s", 0.25, None, note))
    return figures
