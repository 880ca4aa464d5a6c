"""Small files in the form in which CIFAR and CIFAR-N were released."""

import struct
from pathlib import Path

import numpy as np

ROWS = {"train": 100, "test": 20}


def string(text: bytes) -> bytes:
    """A string as Python 2 pickled it."""
    return b"T" + struct.pack("<i", len(text)) + text


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array(values: np.ndarray) -> bytes:
    """An array of bytes as numpy pickled it under Python 2."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + string(b"b") + b"tR"
    kind = (
        b"cnumpy\ndtype\n("
        + string(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + string(b"|")
        + b"NNN"
        + number(-1) * 2
        + b"K\x00tb"
    )
    shape = b"(" + b"".join(map(number, values.shape)) + b"t"
    return empty + b"(K\x01" + shape + kind + b"\x89" + string(values.tobytes()) + b"tb"


def batch(pixels: np.ndarray, labels: dict[str, np.ndarray]) -> bytes:
    """One of the official batches, pickled by Python 2 with protocol 2."""
    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    items = [string(b"batch_label") + string(b"training batch 1 of 5"), string(b"data") + array(rows)]
    for name, values in labels.items():
        items.append(string(name.encode()) + b"](" + b"".join(map(number, values.tolist())) + b"e")
    return b"\x80\x02}(" + b"".join(items) + b"u."


def pixels(split: str) -> np.ndarray:
    seed = list(ROWS).index(split)
    return np.random.default_rng(seed).integers(0, 256, (ROWS[split], 32, 32, 3), dtype=np.uint8)


def write_cifar10(folder: Path) -> None:
    """The five training batches and the test batch, with the classes 0 to 9 in turn."""
    inside = folder / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    images = np.split(pixels("train"), 5)
    for index, part in enumerate(images):
        labels = np.arange(len(part)) % 10
        (inside / f"data_batch_{index + 1}").write_bytes(batch(part, {"labels": labels}))
    (inside / "test_batch").write_bytes(batch(pixels("test"), {"labels": np.arange(ROWS["test"]) % 10}))


def write_cifar100(folder: Path, superclass_of_class: tuple[int, ...]) -> None:
    """The training and the test file, with the classes 0 to 99 in turn."""
    inside = folder / "cifar-100-python"
    inside.mkdir(parents=True)
    for split, rows in ROWS.items():
        fine = np.arange(rows) % 100
        labels = {"coarse_labels": np.array(superclass_of_class)[fine], "fine_labels": fine}
        (inside / split).write_bytes(batch(pixels(split), labels))
