"""Timing and memory: interleaved, medians, with the garbage collector out of the way."""

from __future__ import annotations

import gc
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

Job = Callable[[], Any]


def timed(job: Job) -> float:
    """Seconds of processor time that one call takes; what it returns is freed after the clock has stopped.

    Processor time of one thread, because other work on a machine with few cores would count in wall time.
    """
    gc.disable()
    start = time.process_time()
    result = job()
    seconds = time.process_time() - start
    del result
    gc.enable()
    return seconds


def interleaved(jobs: Mapping[str, Job], rounds: int) -> dict[str, float]:
    """Median seconds of each job; every round runs each job once, so that a slow spell hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        gc.collect()
        for name, job in jobs.items():
            seconds[name].append(timed(job))
    return {name: statistics.median(values) for name, values in seconds.items()}


def alternating(prepare: Job, jobs: Mapping[str, Job], rounds: int) -> dict[str, float]:
    """As `interleaved`, for jobs that use up what `prepare` makes."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            prepare()
            gc.collect()
            seconds[name].append(timed(job))
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory(job: Job) -> tuple[int, int]:
    """Bytes that the result of a job keeps, and the most that was allocated meanwhile. Slow: never timed."""
    gc.collect()
    tracemalloc.start()
    result = job()
    _, peak = tracemalloc.get_traced_memory()
    gc.collect()  # clears the interpreter's own free lists of tuples, which the result does not keep
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return kept, peak


class CutOff(Exception):
    """The job took longer than it was given."""


def within(limit: float, job: Job) -> float | None:
    """Seconds that a job takes, or None when it had to be cut off."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise CutOff

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        return timed(job)
    except CutOff:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()


def import_seconds(statement: str, rounds: int) -> tuple[float, bool]:
    """Median seconds of an import in fresh processes, and whether torch came with it."""
    code = (
        "import sys, time; start = time.perf_counter()\n"
        f"{statement}\n"
        "print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(rounds)
    ]
    return statistics.median(float(seconds) for seconds, _ in runs), any(torch == "True" for _, torch in runs)
