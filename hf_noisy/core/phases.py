"""Seconds and peak memory of the phases of a command, which are shown on the terminal and written to its summary."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
_EVERY = 0.05  # seconds between two looks at the memory


@dataclass
class _Phase:
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass
class PhaseRecord:
    """The phases of one run; [`recorded_phases`] makes it the one of [`phase`]."""

    show: bool = False
    phases: dict[str, _Phase] = field(default_factory=dict)
    open: list[_Phase] = field(default_factory=list)  # one within the other

    def __call__(self) -> dict[str, dict[str, float]]:
        """Seconds, seconds of the processor and peak resident memory of the process by phase, in their order."""
        return {
            name: {
                "seconds": round(one.seconds, 3),
                "cpu_seconds": round(one.cpu_seconds, 3),
                "peak_memory_bytes": one.peak_memory_bytes,
            }
            for name, one in self.phases.items()
        }

    def look(self) -> None:
        """Note the memory that is used now."""
        used = resident_bytes()
        for one in list(self.open):
            one.peak_memory_bytes = max(one.peak_memory_bytes, used)


_record: ContextVar[PhaseRecord | None] = ContextVar("hf_noisy_phases", default=None)


@contextmanager
def recorded_phases(show: bool = False) -> Iterator[PhaseRecord]:
    """Record each [`phase`] within; outer ones are also shown on stderr, on a terminal as soon as they begin.

    Within another call of this function, the phases are those of that one.
    """
    if (already := _record.get()) is not None:
        yield already
        return
    first = os.environ.get("RANK", "0") == "0"  # of the processes of a training
    record, done = PhaseRecord(show and first), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            record.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    before = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(before)
        done.set()
        watcher.join()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """A part of the work that takes a while; without [`recorded_phases`] around it nothing is recorded."""
    record = _record.get()
    if record is None:
        yield
        return
    one = record.phases.setdefault(name, _Phase())  # a phase may come again, as one of each epoch
    shown, start, cpu = record.show and not record.open, time.perf_counter(), time.process_time()
    if shown and sys.stderr.isatty():
        print(f"{name} ...", end="\r", file=sys.stderr, flush=True)
    record.open.append(one)
    record.look()
    try:
        yield
    finally:
        record.look()
        record.open.pop()
        one.seconds += (spent := time.perf_counter() - start)
        one.cpu_seconds += time.process_time() - cpu
    if shown:
        print(f"{name}: {spent:.1f} s", file=sys.stderr)


def phases_so_far() -> dict[str, dict[str, float]]:
    """What was recorded so far, see [`PhaseRecord`]; empty where nothing is."""
    record = _record.get()
    return {} if record is None else record()


def resident_bytes() -> int:
    """Memory of this process that is in use now, 0 where the system does not say so."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
