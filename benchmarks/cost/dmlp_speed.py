"""DMLP on synthetic features: seconds against the number of rows, memory, and the published loop beside it.

    python -m benchmarks.cost.dmlp_speed --output benchmarks/results/dmlp_speed.json

`dmlp` is one whole call: baseline, two branches of IPC and EAC, and the posterior. `rows` is run in processes of their
own, so that the peak of memory is that of one size. `ratio` times the label steps alone (IPC of one chunk, the same
rows, the same losses but for the term that balances classes): ours against autograd through `torch.linalg.inv`
(tests/reference/dmlp_loop.py). Wall and processor time are both told: on a busy machine only the second means much.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from hf_noisy.purification.dmlp.correction import Correction, InnerRidge
from hf_noisy.purification.dmlp.dmlp import DMLP
from tests.reference import dmlp_loop


def problem(rows: int, width: int, classes: int, clean: int, noise: float = 0.4) -> tuple[dict, tuple]:
    draw = np.random.default_rng(0)
    true = draw.integers(0, classes, rows + clean)
    features = draw.standard_normal((rows + clean, width), dtype=np.float32)
    centres = 0.25 * draw.standard_normal((classes, width), dtype=np.float32)
    for start in range(0, len(features), 1000):  # no second array of this size: the peak of memory is measured
        features[start : start + 1000] += centres[true[start : start + 1000]]
    given = np.where(draw.uniform(size=len(true)) < noise, draw.integers(0, classes, len(true)), true)
    return {"features": features[clean:], "label": given[clean:]}, (features[:clean], true[:clean], given[:clean])


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_size(arguments: argparse.Namespace) -> dict:
    batch, handed = problem(arguments.rows, arguments.width, arguments.classes, arguments.clean)
    before = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    DMLP(*handed, num_classes=arguments.classes, epochs=arguments.epochs)(batch)
    return {"rows": arguments.rows, "epochs": arguments.epochs, "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2), "features_mib": round(batch["features"].nbytes / 2**20, 1),
            "extra_mib": round(peak_mib() - before, 1), "load_average": os.getloadavg()[0]}  # fmt: skip


def in_own_process(arguments: argparse.Namespace, rows: int, epochs: int) -> dict:
    words = [sys.executable, "-m", "benchmarks.cost.dmlp_speed", "--one", "--rows", str(rows), "--epochs", str(epochs)]
    words += ["--threads", str(arguments.threads), "--width", str(arguments.width)]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    result = json.loads(output.splitlines()[-1])
    print(result, flush=True)
    return result


def ratio(arguments: argparse.Namespace, steps: int = 5, repeats: int = 3) -> dict:
    """Label steps on one chunk, one branch."""
    batch, handed = problem(7000, arguments.width, arguments.classes, arguments.clean)
    ours = Correction(arguments.classes, branches=1, epochs=1)
    ours.fit(batch["features"][:1000], batch["label"][:1000], *handed[:2])
    chunk = torch.from_numpy(ours.scaling(batch["features"]))
    clean, clean_labels = torch.from_numpy(ours.scaling(handed[0])), torch.from_numpy(handed[1])

    def closed_form() -> None:
        inner = InnerRidge.fit(chunk, 1.0)
        labels = ours._start(batch["label"])
        mover = torch.optim.Adam([labels], lr=0.01, betas=(0.5, 0.999))
        for _ in range(steps):
            ours._correct(inner, chunk, labels, mover)

    def autograd() -> None:
        labels = torch.eye(arguments.classes)[torch.from_numpy(batch["label"])].requires_grad_()
        mover = torch.optim.Adam([labels], lr=0.01, betas=(0.5, 0.999), weight_decay=3e-4)
        for _ in range(steps):
            mover.zero_grad()
            dmlp_loop.clean_loss(labels, chunk, clean, clean_labels).backward()
            mover.step()

    def seconds(work) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    pairs = [(seconds(autograd), seconds(closed_form)) for _ in range(repeats + 1)][1:]
    return {"steps": steps, "rows": 7000, "autograd_cpu_s": round(statistics.median(p[0] for p in pairs), 3),
            "closed_form_cpu_s": round(statistics.median(p[1] for p in pairs), 3),
            "ratio": round(statistics.median(slow / quick for slow, quick in pairs), 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"rows": 50_000, "width": 512, "classes": 10, "clean": 1000, "epochs": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--growth", type=int, nargs="*", default=[10_000, 50_000, 100_000, 200_000])
    parser.add_argument("--growth_epochs", type=int, default=5, help="epochs of each size of --growth")
    parser.add_argument("--steps", type=int, default=[5, 100], nargs="*", help="label steps of each ratio")
    parser.add_argument("--one", action="store_true", help="one call, told as a line of JSON")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        print(json.dumps(one_size(arguments)))
        return
    settings = {name: value for name, value in vars(arguments).items() if name not in ("output", "one")}
    report = {"settings": settings, "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
              "versions": {"torch": torch.__version__, "numpy": np.__version__}}  # fmt: skip
    report["ratio"] = [ratio(arguments, steps) for steps in arguments.steps]
    print(report["ratio"], flush=True)
    report["growth"] = [in_own_process(arguments, rows, arguments.growth_epochs) for rows in arguments.growth]
    report["whole"] = in_own_process(arguments, arguments.rows, arguments.epochs)
    if arguments.output:
        arguments.output.with_suffix(".tmp").write_text(json.dumps(report, indent=1) + "\n")
        os.replace(arguments.output.with_suffix(".tmp"), arguments.output)


if __name__ == "__main__":
    main()
