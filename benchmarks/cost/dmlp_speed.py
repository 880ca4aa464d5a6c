"""Time and memory of DMLP on synthetic features, by number of rows and against the published loop: dmlp_speed.json.

    python -m benchmarks.cost.dmlp_speed

`growth` and `whole` are complete calls (baseline, two branches of IPC and EAC, posterior), each in a separate process
to measure its peak memory. `ratio` times only the label steps (IPC of one chunk, same rows and losses except for the
class balance term): ours against autograd through `torch.linalg.inv` (tests/reference/dmlp_loop.py).
"""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.cost import harness
from hf_noisy.purification.dmlp.correction import Correction, InnerRidge
from hf_noisy.purification.dmlp.dmlp import DMLP
from tests.reference import dmlp_loop

CHUNK = 7000  # rows of the comparison with the loop


@dataclass
class Arguments(harness.Arguments):
    rows: int = harness.option(50_000, "of the complete call")
    width: int = harness.option(512, "of the features")
    classes: int = harness.option(10, "classes")
    clean: int = harness.option(1000, "rows with a true label")
    epochs: int = harness.option(100, "of the complete call")
    growth: list[int] = harness.option([10_000, 50_000, 100_000, 200_000], "rows")
    growth_epochs: int = harness.option(5, "epochs of each size of growth")
    steps: list[int] = harness.option([5, 100], "label steps of each ratio")
    repeats: int = harness.option(3, "pairs of each ratio")


def problem(rows: int, arguments: Arguments, noise: float = 0.4) -> tuple[dict, tuple]:
    draw, width, classes, clean = np.random.default_rng(0), arguments.width, arguments.classes, arguments.clean
    true = draw.integers(0, classes, rows + clean)
    features = draw.standard_normal((rows + clean, width), dtype=np.float32)
    centres = 0.25 * draw.standard_normal((classes, width), dtype=np.float32)
    for start in range(0, len(features), 1000):  # in blocks: a second array of this size would raise the peak memory
        features[start : start + 1000] += centres[true[start : start + 1000]]
    given = np.where(draw.uniform(size=len(true)) < noise, draw.integers(0, classes, len(true)), true)
    return {"features": features[clean:], "label": given[clean:]}, (features[:clean], true[:clean], given[:clean])


def one_call(arguments: Arguments) -> dict[str, float]:
    batch, clean = problem(arguments.rows, arguments)
    before = harness.resident("VmHWM")
    spent = harness.clocked(lambda: DMLP(*clean, num_classes=arguments.classes, epochs=arguments.epochs)(batch))
    return {
        "rows": arguments.rows,
        "epochs": arguments.epochs,
        "wall_s": round(spent["wall"], 2),
        "cpu_s": round(spent["cpu"], 2),
        "features_mib": round(batch["features"].nbytes / 2**20, 1),
        "extra_mib": round((harness.resident("VmHWM") - before) / 2**20, 1),
    }


def in_own_process(arguments: Arguments, rows: int, epochs: int) -> dict[str, float]:
    result = harness.child(__file__, arguments, "call", rows=rows, epochs=epochs)
    print(result, flush=True)
    return result


def ratio(arguments: Arguments, steps: int) -> dict[str, float]:
    """Label steps on one chunk, one branch."""
    batch, handed = problem(CHUNK, arguments)
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

    runs = harness.in_turn({"autograd": autograd, "closed_form": closed_form}, arguments.repeats)
    seconds = {f"{side}_cpu_s": round(harness.median(runs, side), 3) for side in runs[0]}
    found = harness.ratio(runs, "autograd", "closed_form")["median"]
    return {"steps": steps, "rows": CHUNK, **seconds, "ratio": round(found, 1)}


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["ratio"] = [ratio(arguments, steps) for steps in arguments.steps]
    print(report["ratio"], flush=True)
    report["growth"] = [in_own_process(arguments, rows, arguments.growth_epochs) for rows in arguments.growth]
    report["whole"] = in_own_process(arguments, arguments.rows, arguments.epochs)


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "numpy", part=one_call)
