"""DyGEN on up to a million rows: time, memory and disk of every part, and how they grow.

    OMP_NUM_THREADS=1 nice -n 10 python -m benchmarks.cost.scale --output benchmarks/results/scale.json

Rows of ten classes, a share of them labelled wrongly, with synthetic embeddings of two branches and ten epochs and one
set of pretrained features, all float16, written through `Trajectories` as a `DynamicsRecorder` writes them, as they
are and projected. Each part then runs in a process of its own, so that its peak of memory is its own; each of them
checks the files against their checksums once, which a single process would do once in all. Parts that the result file
has are not run again. Processor time is what the exponents are of; on a shared machine the clock says little.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hf_noisy.core.files import write_atomically
from hf_noisy.data.fingerprint import labels_digest
from hf_noisy.dygen import pipeline
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dygen.prior import Prior, evidence_prior
from hf_noisy.dynamics.projection import projection_matrix
from hf_noisy.dynamics.scores import DynamicsScore, distances_by_epoch, dynamics_score
from hf_noisy.dynamics.store import Trajectories

PARTS = ("write", "scores", "prior", "vae", "posterior")
CLASSES, DIM, NOISE_RATE, BLOCK = 10, 384, 0.3, 2000


def labels(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Given and true labels."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, CLASSES, rows)
    wrong = (true + rng.integers(1, CLASSES, rows)) % CLASSES
    return np.where(rng.random(rows) < NOISE_RATE, wrong, true), true


def synthetic(
    true: np.ndarray, centres: np.ndarray, strength: float, stream: list[int], matrix: np.ndarray | None
) -> np.ndarray:
    """Rows about the centres of their classes, projected where there is a matrix, a block at a time.

    Noise is taken from a place drawn for each block out of one long array: drawing it would take most of the time.
    """
    rng = np.random.default_rng(stream)
    noise = rng.standard_normal(2 * BLOCK * DIM, np.float32)
    found = np.empty((len(true), DIM if matrix is None else matrix.shape[1]), np.float16)
    for start in range(0, len(true), BLOCK):
        rows = slice(start, start + BLOCK)
        place = rng.integers(0, BLOCK * DIM)
        block = (strength * centres)[true[rows]]
        block += noise[place : place + block.size].reshape(block.shape)
        found[rows] = block if matrix is None else block @ matrix
    return found


def write(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    given, true = labels(args.rows, args.seed)
    dim = args.projection or DIM
    manifest = {
        "num_branches": args.branches,
        "num_classes": CLASSES,
        "dim": dim,
        "dtype": "float16",
        "splits": {"train": {"rows": args.rows, "labels": labels_digest(given), "fingerprint": ""}},
    }
    trajectories = Trajectories.create(folder / "trajectories", manifest)
    centres = 0.25 * np.random.default_rng(args.seed).standard_normal((CLASSES, DIM), np.float32)
    matrix = projection_matrix(DIM, args.projection, args.seed) if args.projection else None
    trajectories.write_features("train", synthetic(true, centres, 0.4, [args.seed, 0], None))
    writing = 0.0
    for epoch in range(1, args.epochs + 1):
        embeddings = np.empty((args.branches, args.rows, dim), np.float16)
        logits = np.empty((args.branches, args.rows, CLASSES), np.float16)
        for branch in range(args.branches):
            stream = [args.seed, epoch, branch]
            embeddings[branch] = synthetic(true, centres, epoch / args.epochs, stream, matrix)
            logits[branch] = np.random.default_rng(stream).standard_normal((args.rows, CLASSES), np.float32)
            logits[branch, np.arange(args.rows), true] += 2.0
        before = time.process_time()
        trajectories.write("train", epoch, embeddings, logits)
        writing += time.process_time() - before
    size = sum(file.stat().st_size for file in trajectories.path.rglob("*") if file.is_file())
    return {"store_cpu_s": writing, "disk_bytes": size}


def scores(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    trajectories, (given, true) = Trajectories(folder / "trajectories"), labels(args.rows, args.seed)
    score = [dynamics_score(distances_by_epoch(trajectories, given, branch=b)).score for b in range(args.branches)]
    wrong = given != true
    return {"mean_score": {"wrong": float(np.mean(score[0][wrong])), "right": float(np.mean(score[0][~wrong]))}}


def prior(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    given, true = labels(args.rows, args.seed)
    found = evidence_prior(Trajectories(folder / "trajectories"), given, seed=args.seed)
    np.savez(folder / "prior.npz", probabilities=found.probabilities, suspects=found.suspects, rate=found.noise_rate)
    right = found.probabilities[0].argmax(1) == true
    return {"label_accuracy": float(right.mean()), "noise_rate": found.noise_rate, "noise_rate_true": NOISE_RATE}


def vae(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    given, _ = labels(args.rows, args.seed)
    stored = np.load(folder / "prior.npz")
    empty = DynamicsScore(*np.zeros((3, args.rows)))

    def stored_prior(*_: Any, **__: Any) -> Prior:
        return Prior(
            lambda *_: empty.score[None],
            stored["probabilities"],
            stored["suspects"],
            empty.score,
            empty,
            float(stored["rate"]),
            True,
        )

    pipeline.evidence_prior = stored_prior  # measured as a part of its own
    dygen = DyGen.fit(Trajectories(folder / "trajectories"), given, seed=args.seed, show_progress=False)
    dygen.save_pretrained(folder / "dygen")
    return {"shuffled_rows": dygen.config.shuffled_rows, "passes": dygen.config.vae_epochs}


def posterior(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    given, true = labels(args.rows, args.seed)
    dygen = DyGen.from_pretrained(folder / "dygen", Trajectories(folder / "trajectories"))
    found = dygen.posterior("train")
    return {
        "label_accuracy": float((found.argmax(1) == true).mean()),
        "label_accuracy_given": float((given == true).mean()),
    }


class PeakOfPrivateMemory(threading.Thread):
    """Looks at the process's private memory, which mapped files are no part of, fifty times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            self.peak = max(self.peak, 1024 * int(status.split("RssAnon:")[1].split()[0]))
            time.sleep(0.02)


def run_part(args: argparse.Namespace) -> None:
    """One part, in this process; prints its figures."""
    private = PeakOfPrivateMemory()
    private.start()
    cpu, wall, load = time.process_time(), time.perf_counter(), os.getloadavg()[0]
    found = globals()[args.part](args.folder, args)
    figures = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "peak_private_bytes": private.peak,
        "load": [load, os.getloadavg()[0]],
        **found,
    }
    print(json.dumps(figures))


def exponents(cells: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Slope of the logarithm of processor time by that of the rows, of each part and of all, by projection."""
    found: dict[str, dict[str, float]] = {}
    for projection in sorted({cell["projection"] for cell in cells}):
        whole = [c for c in cells if c["projection"] == projection and set(c["parts"]) == set(PARTS)]
        if len(whole) < 2:
            continue
        rows = np.log([cell["rows"] for cell in whole])
        seconds = {part: [cell["parts"][part]["cpu_s"] for cell in whole] for part in PARTS}
        seconds["all"] = [sum(cell["parts"][part]["cpu_s"] for part in PARTS) for cell in whole]
        slopes = {part: float(np.polyfit(rows, np.log(values), 1)[0]) for part, values in seconds.items()}
        found[f"projection {projection}" if projection else "as they are"] = slopes
    return found


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def run_all(args: argparse.Namespace) -> None:
    result: dict[str, Any] = json.loads(args.output.read_text()) if args.output.is_file() else {"cells": []}
    result |= {
        "command": f"python -m benchmarks.cost.scale --rows {' '.join(map(str, args.all_rows))}",
        "classes": CLASSES, "dim": DIM, "branches": args.branches, "epochs": args.epochs, "seed": args.seed,
        "machine": {"processor": processor(), "cores": os.cpu_count(), "shared": True,
                    "threads": os.environ.get("OMP_NUM_THREADS", "all")},
        "versions": {name: version(name) for name in ("torch", "numpy", "safetensors")},
    }  # fmt: skip
    for rows in args.all_rows:
        for projection in args.projections:
            cell = next((c for c in result["cells"] if (c["rows"], c["projection"]) == (rows, projection)), None)
            if cell is None:
                cell = {"rows": rows, "projection": projection, "parts": {}}
                result["cells"].append(cell)
            missing = [part for part in PARTS if part not in cell["parts"]]
            folder = args.scratch / f"{rows}-{projection}"
            if missing and not folder.is_dir():
                missing = list(PARTS)
            folder.mkdir(parents=True, exist_ok=True)
            for part in missing:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.cost.scale",
                    "--part",
                    part,
                    "--folder",
                    str(folder),
                    "--rows",
                    str(rows),
                ]
                command += ["--projections", str(projection), "--epochs", str(args.epochs)]
                command += ["--branches", str(args.branches), "--seed", str(args.seed)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                cell["parts"][part] = json.loads(done.stdout.splitlines()[-1])
                result["exponents"] = exponents(result["cells"])
                write_atomically(args.output, json.dumps(result, indent=1) + "\n")
                print(rows, projection, part, json.dumps(cell["parts"][part]), flush=True)
            shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", dest="all_rows", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--projections", type=int, nargs="+", default=[64, 0], help="widths, 0 for none")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--branches", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/scale.json"))
    parser.add_argument("--scratch", type=Path, default=Path("scale_scratch"), help="holds one cell at a time")
    parser.add_argument("--part", choices=PARTS, help="run this part alone, in --folder")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.part:
        args.rows, args.projection = args.all_rows[0], args.projections[0]
        run_part(args)
    else:
        run_all(args)


if __name__ == "__main__":
    main()
