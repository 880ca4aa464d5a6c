"""Calls one function of `hf_noisy.detection` under a limit on the memory of its own; started by test_memory.py.

The limit is `RLIMIT_DATA`, which on Linux holds back every private writable page, touched or not: heap, numpy's
arrays, the stacks of threads. The input is mapped read-only from files and is not counted. Beyond the limit an
allocation fails.
"""

import argparse
import importlib
import resource
from pathlib import Path

import numpy as np


def anonymous_bytes() -> int:
    """What the limit counts now."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmData:")[1].split()[0])


def inputs(folder: Path, kind: str) -> tuple[object, ...]:
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    values = np.load(folder / "probabilities.npy", mmap_mode="r")
    # Any positive numbers below 1 are logits, features and, one column of them, losses.
    return {
        "probabilities": (labels, values),
        "epochs": (labels, [values, values, values]),
        "features": (values, labels, values.shape[1]),
        "losses": (np.ascontiguousarray(values[:, 0]),),
    }[kind]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("function", help="module:name, or none to allocate as much as the limit")
    parser.add_argument("kind")
    parser.add_argument("limit", type=int, help="bytes")
    arguments = parser.parse_args()
    if arguments.function != "none":
        module, name = arguments.function.split(":")
        function = getattr(importlib.import_module(f"hf_noisy.{module}"), name)
        values = inputs(arguments.folder, arguments.kind)
        # What the first call loads (sklearn, its threads) is no memory of the rows.
        small = inputs(arguments.folder / "small", arguments.kind)
        function(*small)
    limit = anonymous_bytes() + arguments.limit
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if arguments.function == "none":
        np.ones(arguments.limit + 1, dtype=np.uint8)
    else:
        function(*values)


if __name__ == "__main__":
    main()
