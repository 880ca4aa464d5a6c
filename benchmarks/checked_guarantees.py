"""Whether intervals and guarantees from checked rows hold: coverage and width, wrong changes and how many are made.

    OMP_NUM_THREADS=1 HF_NOISY_DATA_DIR=... python -m benchmarks.checked_guarantees --workers 2

Each draw checks other random rows of a set, with their true labels. What the given labels teach does not depend on
them, so it is computed once per set and seed; the draws are shared out over the seeds. Finished sets are kept in the
output folder; delete them there to run them again. `--time` measures one fit on made-up rows instead.
"""

import json
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from transformers import HfArgumentParser

from benchmarks import run
from benchmarks.pools import prepare
from benchmarks.reporting import checked as tables
from benchmarks.suites import REAL_TEXTS, Cell, Setting
from benchmarks.tasks import Task, task_of
from hf_noisy.core.files import write_atomically
from hf_noisy.data.checked import RANDOM, CheckedRows
from hf_noisy.detection import checked_correction
from hf_noisy.detection.checked_correction import CheckedCorrection
from hf_noisy.detection.checked_estimates import CheckedEstimates
from hf_noisy.detection.linear_head import LinearHead
from hf_noisy.detection.selection import guaranteed_changes
from hf_noisy.detection.share_intervals import Share

SETTINGS = (
    *REAL_TEXTS,
    *(Setting("20news", f"{kind} 40 %", "clean", kind, 0.4) for kind in ("symmetric", "asymmetric", "instance")),
    Setting("digits", "symmetric 40 %", "clean", "symmetric", 0.4),
    Setting("cifar10", "human worse", "worse"),
)
SUITE = "development"  # its budget: 1,000 rows
POLICIES = ("relabel", "drop")
MAX_WRONG = 0.1


@dataclass
class Arguments:
    datasets: list[str] = field(default_factory=list, metadata={"help": "default: all"})
    checked: list[int] = field(default_factory=lambda: [100, 200, 50], metadata={"help": "numbers of checked rows"})
    draws: list[int] = field(
        default_factory=lambda: [200, 100, 100], metadata={"help": "draws of each set, for each of these numbers"}
    )
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows and noise"})
    workers: int = field(default=2, metadata={"help": "processes"})
    time: bool = field(default=False, metadata={"help": "only measure the time and memory of 100,000 made-up rows"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "features and finished sets"})
    results: str = field(default=str(run.RESULTS), metadata={"help": "folder of checked_guarantees.json and .md"})


@dataclass(frozen=True)
class Job:
    """Some draws of one set."""

    setting: Setting
    seed: int
    checked: int
    draws: tuple[int, ...]
    work_dir: str

    @property
    def path(self) -> Path:
        asked = run.Arguments(suite=SUITE, work_dir=self.work_dir)
        name = Cell(self.setting, self.seed, f"{self.checked}-{len(self.draws)}").file
        return Path(self.work_dir) / "checked_guarantees" / run.digest(asked) / name


def largest_allowed(score: np.ndarray, wrong: np.ndarray) -> int:
    """How many of the most confident changes could be made with the promised share of wrong ones, by the truth."""
    errors = np.cumsum(wrong[np.argsort(-score, kind="stable")])
    allowed = np.flatnonzero(errors <= MAX_WRONG * np.arange(1, len(errors) + 1))
    return int(allowed[-1]) + 1 if len(allowed) else 0


def interval(share: Share, truth: float) -> dict[str, Any]:
    holds = bool(share.low - 1e-9 <= truth <= share.high + 1e-9)
    return {"holds": holds, "width": share.high - share.low, "rate": share.rate, "truth": float(truth)}


def intervals(
    task: Task, checked: CheckedRows, corrected: checked_correction.CorrectedLabels, predicted: np.ndarray
) -> dict[str, Any]:
    """Of noise rate, accuracy and noise by class; the latter as the share of the classes whose interval holds."""
    wrong = task.given != task.clean
    made = {"exact": CheckedEstimates(task.given, checked, task.num_classes)}
    made["with predictions"] = CheckedEstimates(
        task.given, checked, task.num_classes, posterior=corrected.model_posterior, held_out=corrected.held_out
    )
    found: dict[str, Any] = {}
    for name, estimates in made.items():
        by_class = [
            interval(share, wrong[task.given == label].mean())
            for label, share in enumerate(estimates.class_noise())
            if (task.given == label).any()
        ]
        found[name] = {
            "noise rate": interval(estimates.noise_rate(), wrong.mean()),
            "accuracy": interval(estimates.accuracy(predicted), (predicted == task.clean).mean()),
            "noise by class": {
                key: float(np.mean([one[key] for one in by_class])) for key in ("holds", "width", "truth")
            },
        }
    return found


def changes(task: Task, checked: CheckedRows, corrected: checked_correction.CorrectedLabels) -> dict[str, Any]:
    """Share of wrong changes and their number, by policy."""
    best = corrected.model_posterior.argmax(1)
    unchecked = np.setdiff1d(np.flatnonzero(best != task.given), checked.index)
    found = {}
    for policy in POLICIES:
        made = guaranteed_changes(
            task.given, checked, corrected.model_posterior, corrected.held_out, MAX_WRONG, policy
        )
        wrong = best != task.clean if policy == "relabel" else task.given == task.clean
        found[policy] = {
            "wrong": float(wrong[made.changed].mean()) if made.changed.any() else 0.0,
            "made": int(made.changed.sum()),
            "allowed": largest_allowed(made.score[unchecked], wrong[unchecked]),
        }
    return found


def run_job(job: Job) -> list[dict[str, Any]]:
    """The figures of each draw; those of an earlier call come from a file."""
    if job.path.is_file():
        return json.loads(job.path.read_text())
    task = task_of(Cell(job.setting, job.seed, ""), run.context_of(run.Arguments(SUITE, work_dir=job.work_dir)))
    correction, found = CheckedCorrection(), []
    evidence = correction.evidence(task.features, task.given, num_classes=task.num_classes, seed=job.seed)
    predicted = evidence.scores.mean(0).argmax(1)  # a model that saw no checked label
    width = task.features.shape[1]  # the head is not needed here, and slow
    head = LinearHead(np.zeros((width, task.num_classes)), np.zeros(task.num_classes))
    with mock.patch.object(checked_correction, "fit_linear_head", return_value=head):
        for draw in job.draws:
            index = np.random.default_rng([draw, job.checked, job.seed]).permutation(len(task.given))[: job.checked]
            index.sort()
            count = len(index)
            probability = np.full(count, count / len(task.given))
            checked = CheckedRows(
                index, task.clean[index], [RANDOM] * count, probability, np.zeros(count, np.int64), len(task.given)
            )
            corrected = correction.fit(None, None, index, checked.labels, seed=draw, evidence=evidence)
            found.append(
                {
                    "intervals": intervals(task, checked, corrected, predicted),
                    "changes": changes(task, checked, corrected),
                }
            )
    job.path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(job.path, json.dumps(found))
    return found


def planned(arguments: Arguments) -> list[Job]:
    settings = [setting for setting in SETTINGS if not arguments.datasets or setting.dataset in arguments.datasets]
    seeds = arguments.seeds
    return [
        Job(setting, seed, checked, tuple(range(number, draws, len(seeds))), arguments.work_dir)
        for checked, draws in zip(arguments.checked, arguments.draws, strict=True)
        for setting in settings
        for number, seed in enumerate(seeds)
    ]


def summary(draws: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the draws of one set and number of checked rows."""
    kinds = draws[0]["intervals"]
    made: dict[str, Any] = {"draws": len(draws)}
    for share in kinds["exact"]:
        of = {kind: [draw["intervals"][kind][share] for draw in draws] for kind in kinds}
        made[share] = {
            kind: {key: float(np.mean([one[key] for one in found])) for key in found[0]} for kind, found in of.items()
        }
    for policy in POLICIES:
        of = [draw["changes"][policy] for draw in draws]
        made[policy] = {key: float(np.mean([one[key] for one in of])) for key in of[0]}
        made[policy]["none"] = float(np.mean([one["made"] == 0 for one in of]))
    return made


def results(arguments: Arguments) -> Iterator[tuple[Job, list[dict[str, Any]]]]:
    jobs = planned(arguments)
    for dataset in dict.fromkeys(job.setting.dataset for job in jobs):  # once, before workers
        prepare(dataset, run.context_of(run.Arguments(SUITE, work_dir=arguments.work_dir)))
    if arguments.workers < 2:
        yield from ((job, run_job(job)) for job in jobs)
        return
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), initializer=run.quieten) as pool:
        yield from zip(jobs, pool.map(run_job, jobs), strict=True)


def measure_time(rows: int = 100_000, width: int = 384, classes: int = 20, count: int = 200) -> dict[str, Any]:
    """Seconds of a correction with intervals and selection on made-up rows, and the peak of the memory."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    features = rng.standard_normal((rows, width), dtype=np.float32)
    features += 2 * rng.standard_normal((classes, width), dtype=np.float32)[truth]
    given = np.where(rng.uniform(size=rows) < 0.3, rng.integers(0, classes, rows), truth)
    index = np.sort(rng.permutation(rows)[:count])
    checked = CheckedRows(
        index, truth[index], [RANDOM] * count, np.full(count, count / rows), np.zeros(count, np.int64), rows
    )
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    corrected = CheckedCorrection().fit(features, given, index, truth[index], num_classes=classes)
    fitted = time.perf_counter()
    estimates = CheckedEstimates(
        given, checked, classes, posterior=corrected.model_posterior, held_out=corrected.held_out
    )
    for made in (estimates.noise_rate, estimates.class_noise, estimates.confusion, estimates.transition):
        made()
    estimated = time.perf_counter()
    guaranteed_changes(given, checked, corrected.model_posterior, corrected.held_out, MAX_WRONG)
    seconds = {
        "correction": fitted - start,
        "intervals": estimated - fitted,
        "changes": time.perf_counter() - estimated,
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": rows,
        "classes": classes,
        "checked": count,
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        "gigabytes": round(peak / 2**20, 2),
        "gigabytes_of_the_data": round(before / 2**20, 2),
    }


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    if arguments.time:
        print(json.dumps(measure_time(), indent=1))
        return
    run.quieten()
    found: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for job, draws in results(arguments):
        found.setdefault(job.checked, {}).setdefault(job.setting.name, []).extend(draws)
        print(f"{job.setting.name}, seed {job.seed}, {job.checked} checked rows", flush=True)
    made = {
        "seeds": arguments.seeds,
        "max_wrong": MAX_WRONG,
        "checked": {str(count): {name: summary(draws) for name, draws in of.items()} for count, of in found.items()},
        "code": run.code(),
        "versions": {name: version(name) for name in run.PACKAGES},
    }
    path = Path(arguments.results) / "checked_guarantees"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".json"), json.dumps(made, indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), tables.markdown(made) + "\n")


if __name__ == "__main__":
    main()
