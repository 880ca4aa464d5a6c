"""Time, memory and accuracy of `hf-noisy audit` against sentence-transformers with cleanlab: audit.json.

    HF_NOISY_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.cost.audit

Each side is a whole process on one thread that reads the same CSV file. After a pair the audit runs once more, when
its features are cached. CPU seconds are user and system time. AUPRC is that of the wrong labels, by the quality that
each side gives every row.

- `news`: noisyag_news, training and validation rows with the labels of people.
- `clauses`: the clauses of these texts and of the test texts, all first ones, then all second ones and so on; wrong
  labels of test texts are drawn by the confusions of the others.
- `posts`: 20news, cut to 128 tokens, 20 % of the labels wrong at random.
"""

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.cost import harness

Rows = list[tuple[str, int, int]]  # text, given label, true label
SIDES = ("sentence-transformers and cleanlab", "hf-noisy audit", "hf-noisy audit, again")
_CLAUSE_ENDS = re.compile(r"[,.;:!?()]+| - ")
_LEAST_WORDS = 3  # of a clause
_POST_TOKENS = 128
_NOISE_RATE = 0.2


@dataclass
class Arguments(harness.Arguments):
    sets: list[str] = harness.option(["news", "clauses", "posts"], "of rows, as above")
    rows: int | None = harness.option(None, "at most so many rows of each set")
    repeats: int = harness.option(1, "pairs of runs")
    dtype: str = harness.option("auto", "of the audit")


def stored(name: str, *splits: str) -> list[dict[str, Any]]:
    folder = Path(os.environ["HF_NOISY_DATA_DIR"]) / name
    return [json.loads(line) for split in splits for line in gzip.open(folder / f"{split}.jsonl.gz", "rt")]


def news() -> Rows:
    return [(row["text"], row["weak_label"], row["label"]) for row in stored("noisyag_news", "train", "validation")]


def clauses() -> Rows:
    rows, draw = news(), np.random.default_rng(0)
    confusions = np.zeros((4, 4))
    np.add.at(confusions, tuple(np.array([(true, given) for _, given, true in rows]).T), 1)
    shares = confusions / confusions.sum(1, keepdims=True)
    for row in stored("noisyag_news", "test"):
        rows.append((row["text"], int(draw.choice(4, p=shares[row["label"]])), row["label"]))
    parts = [
        [(part.strip(), given, true) for part in _CLAUSE_ENDS.split(text) if len(part.split()) >= _LEAST_WORDS]
        for text, given, true in rows
    ]
    return [part for turn in zip_longest(*parts) for part in turn if part is not None][:50_000]


def posts() -> Rows:
    rows, draw = stored("20news", "train"), np.random.default_rng(0)
    rows = [rows[i] for i in draw.permutation(len(rows))[:5000]]
    tokenizer, classes, made = harness.tokenizer(), 1 + max(row["label"] for row in rows), []
    for row in rows:
        ends = tokenizer(row["text"], truncation=True, max_length=_POST_TOKENS, return_offsets_mapping=True)
        text, true = row["text"][: ends["offset_mapping"][-2][1]], row["label"]
        wrong = draw.random() < _NOISE_RATE
        made.append((text, (true + wrong * int(draw.integers(1, classes))) % classes, true))
    return made


SETS: dict[str, Callable[[], Rows]] = {"news": news, "clauses": clauses, "posts": posts}


def process(command: list[str], folder: Path) -> dict[str, float]:
    """Seconds and peak memory of a process on one thread, and its output in a file."""
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environ |= {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    with (folder / "log").open("ab") as log:
        running = subprocess.Popen(command, cwd=harness.ROOT, env=environ, stdout=log, stderr=log)
        _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()[-4000:]}")
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss * 1024 / 1e6,
    }


def pair(rows: Rows, dtype: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The runs of both sides on the same rows."""
    from datasets import load_dataset
    from sklearn.metrics import average_precision_score

    table = folder / "rows.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((text, f"class {given}") for text, given, _ in rows)
    wrong = np.array([given != true for _, given, true in rows])
    peer = ["-m", "benchmarks.cost.straightforward_audit", str(table), str(folder / "peer.npz"), harness.BACKBONE]
    ours = ["-c", "from hf_noisy.cli.app import main; main()", "audit", str(table), "--output", str(folder / "out")]
    ours += ["--overwrite", "--dtype", dtype]
    commands = dict(zip(SIDES, (peer, ours, ours), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for side, command in commands.items():
        found[side] = process([sys.executable, *command], folder)
        if side == SIDES[0]:
            quality = np.load(folder / "peer.npz")["quality"]
        else:
            audited = load_dataset(str(folder / "out"), split="train", cache_dir=str(folder / "read"))
            quality = np.asarray(audited.with_format("numpy")["label_quality"][:])
            summary = json.loads((folder / "out" / "summary.json").read_text())
            found[side] |= {name: summary[name] for name in ("dtype", "phases") if name in summary}
        found[side]["auprc"] = float(average_precision_score(wrong, -quality))
        print(side, found[side], flush=True)
    return found


def measure(arguments: Arguments, report: harness.Report) -> None:
    if "HF_NOISY_DATA_DIR" not in os.environ:
        raise SystemExit("set HF_NOISY_DATA_DIR to the folder of noisyag_news and 20news")
    for name in arguments.sets:
        rows = SETS[name]()[: arguments.rows]
        runs = []
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory(dir=arguments.work_dir) as folder:
                runs.append(pair(rows, arguments.dtype, Path(folder)))
        found = {
            "command": report["command"],
            "load": report["environment"]["load"],
            "rows": len(rows),
            "mean_characters": float(np.mean([len(text) for text, _, _ in rows])),
            "wrong": float(np.mean([given != true for _, given, true in rows])),
            "cpu_ratio": median(run[SIDES[1]]["cpu_s"] / run[SIDES[0]]["cpu_s"] for run in runs),
            "runs": runs,
        }
        report["sets"] = report.earlier().get("sets", {}) | {name: found}  # a set may be measured by itself
        report.save()


if __name__ == "__main__":
    harness.run(
        __file__, Arguments, measure, "transformers", "sentence-transformers", "scikit-learn", "cleanlab", "datasets"
    )
