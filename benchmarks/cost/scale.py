"""Time, memory and disk space of each part of DyGEN on up to a million rows: scale.json.

    OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.cost.scale

Synthetic float16 embeddings of two branches and ten epochs, and pretrained features, for ten classes with wrong
labels; written with `Trajectories` as `DynamicsRecorder` does, with and without projection. Each part runs in a
separate process to measure its peak memory, and so verifies the checksums again. Parts already in the result file are
skipped. Exponents are of CPU time; wall-clock time means little on a shared machine.
"""

import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost import harness
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.dygen import pipeline
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.prior import Prior, evidence_prior
from hf_noisy.dynamics.recorder import projection_matrix
from hf_noisy.dynamics.scores import distances_by_epoch, dynamics_score
from hf_noisy.dynamics.store import Trajectories

CLASSES, DIM, NOISE_RATE, BLOCK = 10, 384, 0.3, 2000


@dataclass
class Arguments(harness.Arguments):
    rows: list[int] = harness.option([100_000, 300_000, 1_000_000], "sizes")
    projections: list[int] = harness.option([64, 0], "widths, 0 for none")
    epochs: int = harness.option(10, "recorded")
    branches: int = harness.option(2, "recorded")
    seed: int = harness.option(0, "of the rows")


class Cell:
    """One size with one projection: its labels and its folder."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments, self.rows, self.projection = arguments, arguments.rows[0], arguments.projections[0]
        self.folder, self.seed = Path(arguments.work_dir), arguments.seed
        rng = np.random.default_rng(self.seed)
        self.true = rng.integers(0, CLASSES, self.rows)
        wrong = (self.true + rng.integers(1, CLASSES, self.rows)) % CLASSES
        self.given = np.where(rng.random(self.rows) < NOISE_RATE, wrong, self.true)

    @property
    def trajectories(self) -> Trajectories:
        return Trajectories(self.folder / "trajectories")


def synthetic(
    true: np.ndarray, centres: np.ndarray, strength: float, stream: list[int], matrix: np.ndarray | None
) -> np.ndarray:
    """Rows around the centres of their classes, projected if there is a matrix.

    Each block takes its noise from a random position of one long array: drawing it would take most of the time.
    """
    rng = np.random.default_rng(stream)
    noise = rng.standard_normal(2 * BLOCK * DIM, np.float32)
    found = np.empty((len(true), DIM if matrix is None else matrix.shape[1]), np.float16)
    for start in range(0, len(true), BLOCK):
        rows = slice(start, start + BLOCK)
        offset = rng.integers(0, BLOCK * DIM)
        block = (strength * centres)[true[rows]]
        block += noise[offset : offset + block.size].reshape(block.shape)
        found[rows] = block if matrix is None else block @ matrix
    return found


def write(cell: Cell) -> dict[str, Any]:
    branches, epochs, seed, true = cell.arguments.branches, cell.arguments.epochs, cell.seed, cell.true
    dim = cell.projection or DIM
    split = {"rows": cell.rows, "labels": labels_digest(cell.given), "fingerprint": ""}
    sizes = {"num_branches": branches, "num_classes": CLASSES, "dim": dim, "dtype": "float16"}
    trajectories = Trajectories.create(cell.folder / "trajectories", {**sizes, "splits": {"train": split}})
    centres = 0.25 * np.random.default_rng(seed).standard_normal((CLASSES, DIM), np.float32)
    matrix = projection_matrix(DIM, cell.projection, seed) if cell.projection else None
    trajectories.write_features("train", synthetic(true, centres, 0.4, [seed, 0], None))
    clock = harness.Clock()
    for epoch in range(1, epochs + 1):
        embeddings = np.empty((branches, cell.rows, dim), np.float16)
        logits = np.empty((branches, cell.rows, CLASSES), np.float16)
        for branch in range(branches):
            stream = [seed, epoch, branch]
            embeddings[branch] = synthetic(true, centres, epoch / epochs, stream, matrix)
            logits[branch] = np.random.default_rng(stream).standard_normal((cell.rows, CLASSES), np.float32)
            logits[branch, np.arange(cell.rows), true] += 2.0
        with clock("store"):
            trajectories.write("train", epoch, embeddings, logits)
    size = sum(file.stat().st_size for file in trajectories.path.rglob("*") if file.is_file())
    return {"store_cpu_s": clock.seconds["cpu"]["store"], "disk_bytes": size}


def scores(cell: Cell) -> dict[str, Any]:
    trajectories, wrong = cell.trajectories, cell.given != cell.true
    for branch in range(cell.arguments.branches):
        score = dynamics_score(distances_by_epoch(trajectories, cell.given, branch=branch)).score
    return {"mean_score": {"wrong": float(np.mean(score[wrong])), "right": float(np.mean(score[~wrong]))}}


def prior(cell: Cell) -> dict[str, Any]:
    found = evidence_prior(cell.trajectories, cell.given, seed=cell.seed)
    arrays = {"probabilities": found.probabilities, "suspects": found.suspects, "noise_rate": found.noise_rate}
    np.savez(cell.folder / "prior.npz", **arrays)
    right = found.probabilities[0].argmax(1) == cell.true
    return {"label_accuracy": float(right.mean()), "noise_rate": found.noise_rate, "noise_rate_true": NOISE_RATE}


def vae(cell: Cell) -> dict[str, Any]:
    suspicion = np.zeros(cell.rows)
    arrays = dict(np.load(cell.folder / "prior.npz"))
    arrays["noise_rate"] = float(arrays["noise_rate"])
    stored = Prior(of=lambda *_: suspicion[None], suspicion=suspicion, estimated=True, **arrays)
    pipeline.evidence_prior = lambda *_, **__: stored  # measured as a separate part
    dygen = DyGen.fit(cell.trajectories, cell.given, seed=cell.seed, show_progress=False)
    dygen.save_pretrained(cell.folder / "dygen")
    return {"shuffled_rows": dygen.config.shuffled_rows, "passes": dygen.config.vae_epochs}


def posterior(cell: Cell) -> dict[str, Any]:
    found = DyGen.from_pretrained(cell.folder / "dygen", cell.trajectories).posterior("train")
    right = {"label_accuracy": found.argmax(1), "label_accuracy_given": cell.given}
    return {name: float((labels == cell.true).mean()) for name, labels in right.items()}


PARTS = {"write": write, "scores": scores, "prior": prior, "vae": vae, "posterior": posterior}


class PeakOfPrivateMemory(threading.Thread):
    """Samples the private memory of the process, which excludes mapped files, 50 times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, harness.resident("RssAnon"))
            time.sleep(0.02)


def run_part(arguments: Arguments) -> dict[str, Any]:
    private, found = PeakOfPrivateMemory(), {}
    private.start()
    spent = harness.clocked(lambda: found.update(PARTS[arguments.part](Cell(arguments))))
    peaks = {"peak_rss_bytes": harness.resident("VmHWM"), "peak_private_bytes": private.peak}
    return {"cpu_s": spent["cpu"], "wall_s": spent["wall"], **peaks, **found}


def exponents(cells: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Slope of log CPU time over log rows for each part and all together, by projection."""
    found: dict[str, dict[str, float]] = {}
    for projection in sorted({cell["projection"] for cell in cells}):
        whole = [c for c in cells if c["projection"] == projection and c["parts"].keys() == PARTS.keys()]
        if len(whole) < 2:
            continue
        rows = np.log([cell["rows"] for cell in whole])
        seconds = {part: [cell["parts"][part]["cpu_s"] for cell in whole] for part in PARTS}
        seconds["all"] = [sum(cell["parts"][part]["cpu_s"] for part in PARTS) for cell in whole]
        slopes = {part: float(np.polyfit(rows, np.log(values), 1)[0]) for part, values in seconds.items()}
        found[f"projection {projection}" if projection else "as they are"] = slopes
    return found


def measure(arguments: Arguments, report: harness.Report) -> None:
    report |= {"classes": CLASSES, "dim": DIM, "cells": report.earlier().get("cells", [])}
    for rows in arguments.rows:
        for projection in arguments.projections:
            cell = next((c for c in report["cells"] if (c["rows"], c["projection"]) == (rows, projection)), None)
            if cell is None:
                report["cells"].append(cell := {"rows": rows, "projection": projection, "parts": {}})
            missing = [part for part in PARTS if part not in cell["parts"]]
            folder = Path(arguments.work_dir or "scale_scratch") / f"{rows}-{projection}"
            if missing and not folder.is_dir():
                missing = list(PARTS)
            folder.mkdir(parents=True, exist_ok=True)
            for part in missing:
                changed = {"work_dir": folder, "rows": rows, "projections": projection}
                cell["parts"][part] = harness.child(__file__, arguments, part, **changed)
                report["exponents"] = exponents(report["cells"])
                report.save()
                print(rows, projection, part, json.dumps(cell["parts"][part]), flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "numpy", "safetensors", part=run_part)
