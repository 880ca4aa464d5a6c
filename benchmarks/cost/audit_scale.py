"""Phases of `hf-noisy audit` on up to a million short texts, with a projection from two sizes: audit_scale.json.

    OMP_NUM_THREADS=1 nice python -m benchmarks.cost.audit_scale

A CSV of synthetic texts of 20 classes of different sizes, a fifth of the given labels wrong. The command runs whole,
in a new process for each size, except that a file of synthetic features of width 384 stands for the embedding: classes
of several groups, easy to tell apart. What embedding takes is measured on some of the texts, and
scaled. Times are seconds of the processor on one thread; wall-clock time means little on a shared machine.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from typer.testing import CliRunner

from benchmarks.cost import harness

CLASSES, DIM, NOISE_RATE, GROUPS, BLOCK = 20, 384, 0.2, 10, 10_000
WORDS = "market court team price phone film vote match study storm bank game chip deal star race drug plan city war"
AFTER = "embedding"  # the phases that follow are measured at every size


@dataclass
class Arguments(harness.Arguments):
    rows: list[int] = harness.option([1000, 50_000, 100_000, 1_000_000], "sizes")
    projected_from: list[int] = harness.option([50_000, 100_000], "sizes from which the largest one is projected")
    embedded: int = harness.option(2000, "texts that are embedded to know the time of one")
    seed: int = harness.option(0, "of the rows")


def labels(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True and given labels; the largest class has about five times the rows of the smallest."""
    rng = np.random.default_rng(seed)
    shares = np.geomspace(5, 1, CLASSES)
    true = rng.choice(CLASSES, rows, p=shares / shares.sum())
    wrong = (true + rng.integers(1, CLASSES, rows)) % CLASSES
    return true, np.where(rng.random(rows) < NOISE_RATE, wrong, true)


def write_rows(path: Path, rows: int, seed: int) -> None:
    rng, words = np.random.default_rng([seed, 1]), np.array(WORDS.split())
    _, given = labels(rows, seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for start in range(0, rows, BLOCK):
            drawn = words[rng.integers(0, len(words), (min(BLOCK, rows - start), 10))]
            for number, (text, label) in enumerate(zip(drawn, given[start:], strict=False), start=start):
                file.write(f"{' '.join(text)} {number},class {label:02}\n")


def write_features(path: Path, rows: int, seed: int) -> None:
    """An Arrow file of features: a direction of the class, one of a group within it, and noise."""
    rng = np.random.default_rng([seed, 2])
    true, _ = labels(rows, seed)
    centres = rng.standard_normal((CLASSES, 1, DIM), np.float32)
    centres = centres + rng.standard_normal((CLASSES, GROUPS, DIM), np.float32)
    features = 3 * rng.standard_normal((rows, DIM), np.float32)
    for start in range(0, rows, BLOCK):
        part = true[start : start + BLOCK]
        features[start : start + BLOCK] += centres[part, rng.integers(0, GROUPS, len(part))]
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), DIM)
    batch = pa.record_batch({"features": column})  # one, as `embed` writes it
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)


def audited(arguments: Arguments) -> dict[str, Any]:
    """The phases of one audit, and how well it went."""
    from hf_noisy.cli import commands
    from hf_noisy.cli.app import app
    from hf_noisy.cli.source import Features

    folder, (rows,) = Path(arguments.work_dir or ""), arguments.rows
    features = Dataset.from_file(str(folder / "features.arrow"))

    def with_features(found: Dataset, *_: Any) -> Features:
        return Features(datasets.concatenate_datasets([found, features], axis=1), "synthetic")

    with mock.patch.object(commands, "add_features", with_features):
        words = ["audit", str(folder / "rows.csv"), "--output", str(folder / "output")]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
    if done.exit_code:
        raise SystemExit(done.output)
    summary = json.loads((folder / "output" / "summary.json").read_text())
    true, given = labels(rows, arguments.seed)
    written = next((folder / "output" / "data").glob("train*"))
    suspected = pq.read_table(written, columns=["label_suspected"])["label_suspected"].to_numpy()
    return {
        "phases": summary["phases"],
        "private_bytes": harness.resident("RssAnon"),
        "peak_bytes": harness.resident("VmHWM"),
        "recall": float(suspected[true != given].mean()),
        "precision": float((true != given)[suspected].mean()),
    }


def embedding(arguments: Arguments) -> float:
    """Seconds of the processor to embed one text."""
    from hf_noisy.cli.source import add_features

    texts = {"text": [line.rpartition(",")[0] for line in (Path(arguments.work_dir or "") / "rows.csv").open()][1:]}
    rows = Dataset.from_dict(texts).select(range(arguments.embedded))
    with tempfile.TemporaryDirectory() as cache, mock.patch("datasets.config.HF_DATASETS_CACHE", cache):
        add_features(rows.select(range(min(64, len(rows)))), None)  # loads the encoder
        return harness.clocked(lambda: add_features(rows, None))["cpu"] / len(rows)


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["cells"] = {int(rows): cell for rows, cell in report.earlier().get("cells", {}).items()}
    folder = Path(arguments.work_dir or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    for rows in arguments.rows:
        write_rows(folder / "rows.csv", rows, arguments.seed)
        if rows >= arguments.embedded and "embedding_of_one" not in report:
            report["embedding_of_one"] = harness.child(__file__, arguments, "embedding", work_dir=folder)
        write_features(folder / "features.arrow", rows, arguments.seed)
        report["cells"][rows] = harness.child(__file__, arguments, "audited", work_dir=folder, rows=rows)
        shutil.rmtree(folder / "output")
        report.save()
        print(rows, json.dumps(report["cells"][rows]), flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    parts = {"audited": audited, "embedding": embedding}
    harness.run(__file__, Arguments, measure, "numpy", "datasets", part=lambda given: parts[given.part](given))
