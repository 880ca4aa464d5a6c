"""Leave-one-set-out: constants for each data set are chosen on the other ones.

    HF_NOISY_DATA_DIR=... python -m benchmarks.leave_one_out --study class_mean --workers 2

A study scores each candidate in all settings of the development suites. For every data set the candidate with the best
mean over the other sets is chosen, so that the figure of a set comes from constants that were chosen without it. The
figures with the candidate that is best on all sets are written beside them. A set counts once, whatever its number of
settings; sets with the same texts are left out together. Finished scores are kept in the output folder; delete them
there to run them again. A new study is one entry of `STUDIES`.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from transformers import HfArgumentParser

from benchmarks import frozen, run
from benchmarks.pools import prepare
from benchmarks.reporting import table
from benchmarks.suites import SAME_TEXTS, SUITES, Cell, Setting
from benchmarks.tasks import Task, task_of
from hf_noisy.core.files import write_atomically
from hf_noisy.detection import evidence as evidence_module
from hf_noisy.detection import near_copies as near_copies_module
from hf_noisy.detection import noise_rate as noise_rate_module
from hf_noisy.detection.evidence import fit_evidence
from hf_noisy.detection.find import most_suspicious
from hf_noisy.detection.label_model import fit_label_model
from hf_noisy.detection.planted import planted_error_rate
from hf_noisy.detection.random_errors import random_error_posterior

Scores = dict[str, dict[str, float]]  # by setting and candidate, in percent


@dataclass(frozen=True)
class Study:
    """Candidates for one choice."""

    title: str  # what the score is, in percent
    # Of task, what `shared` yields, and the arguments of a candidate; more (of `score` among several) is better.
    score: Callable[..., float | dict[str, float]]
    candidates: dict[str, dict[str, Any]]  # arguments by name; of equal ones the first is chosen
    shown: tuple[str, ...] = ()  # other figures to show for the candidate that was chosen without the set
    # What all candidates of a task need, made once.
    shared: Callable[[Task], AbstractContextManager[Any]] = nullcontext


def accuracy(task: Task, probabilities: np.ndarray) -> float:
    return 100 * float((probabilities.argmax(1) == task.truth).mean())


def mean_probabilities(task: Task, prior_exponent: float) -> np.ndarray:
    return frozen.class_means(task.features, task.given, task.num_classes, task.test_features, prior_exponent)


def head_probabilities(task: Task, penalties: tuple[float, ...]) -> np.ndarray:
    return frozen.linear_head(task.features, task.given, task.num_classes, task.test_features, task.seed, penalties)[0]


def score_class_mean(task: Task, _: Any, prior_exponent: float) -> float:
    return accuracy(task, mean_probabilities(task, prior_exponent))


def score_linear_head(task: Task, _: Any, penalties: tuple[float, ...]) -> float:
    return accuracy(task, head_probabilities(task, penalties))


def held_out(task: Task) -> AbstractContextManager[tuple[np.ndarray, np.ndarray]]:
    """Rows of classes with at least two of them, and the predictions of an audit for these rows."""
    rows = np.flatnonzero(np.bincount(task.given)[task.given] > 1)
    codes = np.unique(task.given[rows], return_inverse=True)[1]
    return nullcontext((rows, fit_evidence(task.features[rows], codes, seed=task.seed).probabilities))


def score_flags(task: Task, shared: tuple[np.ndarray, np.ndarray], power: float | None) -> float:
    """F1 of the flagged rows, or the share of rows that are not flagged where all labels are right."""
    rows, probabilities = shared
    given, wrong = np.unique(task.given[rows], return_inverse=True)[1], (task.given != task.clean)[rows]
    model = fit_label_model(given, probabilities)
    posterior = model.predict(given, probabilities)
    found = posterior.disagrees
    if power is not None:
        planted = planted_error_rate(given, probabilities, model.row_temperature, power)
        found = most_suspicious(posterior, planted)
    if not wrong.any():
        return 100 * float(1 - found.mean())
    return 200 * float((found & wrong).sum() / (found.sum() + wrong.sum()))


def held_out_evidence(task: Task) -> AbstractContextManager[np.ndarray]:
    """Probabilities of the true label of each row, without its own label."""
    evidence = fit_evidence(task.features, task.given, num_classes=task.num_classes, seed=task.seed)
    return nullcontext(evidence.probabilities)


def score_evidence(task: Task, _: Any, weight: float) -> float:
    with mock.patch.object(evidence_module, "_WEIGHT", weight):  # no argument of users
        fitted = fit_evidence(task.features, task.given, num_classes=task.num_classes, seed=task.seed)
    return accuracy(task, fitted.predict(task.test_features))


def score_near_copies(task: Task, _: Any, least_share: float) -> float:
    with mock.patch.object(near_copies_module, "_LEAST_SHARE", least_share):
        fitted = fit_evidence(task.features, task.given, num_classes=task.num_classes, seed=task.seed)
    return accuracy(task, fitted.predict(task.test_features))


def score_relabelled(
    task: Task, probabilities: np.ndarray, min_confidence: float, **constants: Any
) -> dict[str, float]:
    """Label accuracy before and after, and shares of all rows: changed, right of these, and right as estimated.

    The score is the gain, losses ten times, less 5 points if the estimated precision of at
    least 0.5 % changed rows is 100 points off.
    """
    posterior = random_error_posterior(task.given, probabilities, **constants)
    labels = np.where(posterior.max(1) >= min_confidence, posterior.argmax(1), task.given)
    changed, right = labels != task.given, labels == task.clean
    gain = right.mean() - (task.given == task.clean).mean()
    gap = abs((posterior.max(1) - right)[changed].mean()) if changed.mean() > 0.005 else 0.0
    figures = {
        "score": min(gain, 10 * gain) - 0.05 * gap,
        "given": (task.given == task.clean).mean(),
        "purified": right.mean(),
        "changed": changed.mean(),
        "changed and right": (changed & right).mean(),
        "changed and right, estimated": (posterior.max(1) * changed).mean(),
    }
    return {name: 100 * float(value) for name, value in figures.items()}


def score_interval(task: Task, probabilities: np.ndarray, unseen: float) -> dict[str, float]:
    """Whether the interval of the noise rate holds the true rate, less half its width; all in percent."""
    with mock.patch.object(noise_rate_module, "_UNSEEN", unseen):
        rate = noise_rate_module.rate_from_held_out(task.given, probabilities)
    true = float((task.given != task.clean).mean())
    holds, width = float(rate.low <= true <= rate.high), rate.high - rate.low
    figures = {"score": holds - width / 2, "true": true, "rate": rate.rate, "holds": holds, "width": width}
    return {name: 100 * value for name, value in figures.items()}


@contextmanager
def fitted_head(task: Task) -> Iterator[np.ndarray]:
    yield head_probabilities(task, frozen.PENALTIES)


def score_mean_and_head(task: Task, head: np.ndarray, prior_exponent: float) -> float:
    return accuracy(task, (head + mean_probabilities(task, prior_exponent)) / 2)


EXPONENTS = {
    "all classes alike": {"prior_exponent": 0.0},
    "root of the given shares": {"prior_exponent": 0.5},
    "given shares": {"prior_exponent": 1.0},
}
STUDIES = {
    "class_mean": Study("test accuracy of the class means, by class prior", score_class_mean, EXPONENTS),
    "mean_and_head": Study(
        "test accuracy of class means and linear head, by class prior of the means",
        score_mean_and_head,
        EXPONENTS,
        shared=fitted_head,
    ),
    "linear_head": Study(
        "test accuracy of the linear head, by L2",
        score_linear_head,
        {
            "cross-validated": {"penalties": frozen.PENALTIES},
            **{f"{penalty:g}": {"penalties": (penalty,)} for penalty in frozen.PENALTIES},
        },
    ),
    "flags": Study(
        "F1 of the rows that an audit flags (true labels: rows not flagged), by share of planted errors",
        score_flags,
        {"prediction differs": {"power": None}, **{f"{power:g}": {"power": power} for power in (0.1, 0.2, 0.3, 0.5)}},
        shared=held_out,
    ),
    "evidence": Study(
        "test accuracy of the evidence that `auto` and DyGEN use, by the weight of agreement",
        score_evidence,
        {f"{weight:g}": {"weight": weight} for weight in (150.0, 0.0, 50.0, 100.0, 250.0)},
    ),
    "near_copies": Study(
        "test accuracy of the evidence, by the share of rows with near-copies from which these are held out together",
        score_near_copies,
        {"never": {"least_share": 2.0}, "0.25": {"least_share": 0.25}, "always": {"least_share": 0.0}},
    ),
    "noise_rate": Study(
        "whether the interval of the noise rate holds the true one, less half its width, by the share that may hide",
        score_interval,
        {f"{unseen:g}": {"unseen": unseen} for unseen in (0.12, 0.04, 0.08, 0.2)},
        shown=("true", "rate", "holds", "width"),
        shared=held_out_evidence,
    ),
    "purify": Study(
        "label accuracy won by `purify`, losses ten times, less 5 for a precision that is estimated 100 points off",
        score_relabelled,
        {
            f"confidence {least:g}, confusions from {fewest:g}, width {width:g}": {
                "min_confidence": least,
                "fewest_confused": fewest,
                "width": width,
            }
            for least in (0.65, 0.5, 0.8)
            for fewest in (0.3, 0.25, 1.0)
            for width in (0.3, 0.2, 0.5)
        },
        shown=("given", "purified", "changed", "changed and right", "changed and right, estimated"),
        shared=held_out_evidence,
    ),
}


@dataclass
class Arguments:
    study: str = field(metadata={"help": "choice to make", "choices": list(STUDIES)})
    suites: list[str] = field(default_factory=lambda: ["development", "development-images"])
    datasets: list[str] = field(default_factory=list, metadata={"help": "default: all of the suites"})
    noises: list[str] = field(default_factory=list, metadata={"help": "such as 'clean'; default: all"})
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    workers: int = field(default=2, metadata={"help": "processes"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "features and finished scores"})
    results: str = field(default=str(run.RESULTS), metadata={"help": "folder of leave_one_out_<study>.json and .md"})


def set_of(setting: Setting) -> str:
    """The data set that is left out with a setting."""
    return SAME_TEXTS.get(setting.dataset, setting.dataset)


def planned(arguments: Arguments) -> list[tuple[str, Cell]]:
    """Suite and cell of each task; the method of the cell is the study."""
    return [
        (suite, Cell(setting, seed, arguments.study))
        for seed in arguments.seeds
        for suite in arguments.suites
        for setting in SUITES[suite].settings
        if (not arguments.datasets or setting.dataset in arguments.datasets)
        and (not arguments.noises or setting.noise in arguments.noises)
    ]


def stored_in(suite: str, cell: Cell, work_dir: str) -> Path:
    asked = run.Arguments(suite=suite, work_dir=work_dir)
    return Path(work_dir) / "leave_one_out" / run.digest(asked) / cell.file


def score_task(suite: str, cell: Cell, work_dir: str) -> dict[str, float]:
    """Scores of all candidates on one task; those of an earlier call come from a file."""
    asked, study = run.Arguments(suite=suite, work_dir=work_dir), STUDIES[cell.method]
    path = stored_in(suite, cell, work_dir)
    stored = json.loads(path.read_text()) if path.is_file() else {}
    known = {name: json.loads(json.dumps(constants)) for name, constants in study.candidates.items()}
    done = {name: entry for name, entry in stored.items() if name in known and entry["constants"] == known[name]}
    if missing := known.keys() - done.keys():
        task = task_of(cell, run.context_of(asked))
        with study.shared(task) as shared:
            for name in (name for name in known if name in missing):
                start = time.perf_counter()
                score = study.score(task, shared, **study.candidates[name])
                figures = score if isinstance(score, dict) else {"score": score}
                seconds = time.perf_counter() - start
                done[name] = {"constants": known[name], **figures, "seconds": seconds, "code": run.code()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(done))
    return {name: done[name]["score"] for name in known}


def shown_figures(arguments: Arguments, chosen: dict[str, str]) -> dict[str, dict[str, float]]:
    """Other figures of each setting with the candidate of its set, as a mean of the seeds, if a study has some."""
    found: dict[str, list[dict[str, float]]] = {}
    if names := STUDIES[arguments.study].shown:
        for suite, cell in planned(arguments):
            stored = json.loads(stored_in(suite, cell, arguments.work_dir).read_text())
            found.setdefault(cell.setting.name, []).append(stored[chosen[set_of(cell.setting)]])
    return {
        setting: {name: float(np.mean([row[name] for row in rows])) for name in names}
        for setting, rows in found.items()
    }


def scored(arguments: Arguments) -> Iterator[tuple[Cell, dict[str, float]]]:
    """Scores of all tasks, in the order in which they are finished."""
    cells = planned(arguments)
    for suite, dataset in dict.fromkeys((suite, cell.setting.dataset) for suite, cell in cells):
        prepare(
            dataset, run.context_of(run.Arguments(suite=suite, work_dir=arguments.work_dir))
        )  # once, before workers
    if arguments.workers < 2:
        for suite, cell in cells:
            yield cell, score_task(suite, cell, arguments.work_dir)
        return
    with ProcessPoolExecutor(arguments.workers, get_context("spawn"), initializer=run.quieten) as pool:
        waiting = {pool.submit(score_task, suite, cell, arguments.work_dir): cell for suite, cell in cells}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def best_on(sets: Iterable[str], by_set: Scores) -> str:
    """The candidate with the best mean over some sets."""
    rows = [by_set[name] for name in sets]
    return max(rows[0], key=lambda candidate: np.mean([row[candidate] for row in rows]))


def choose(scores: Scores, sets: dict[str, str]) -> dict[str, Any]:
    """The candidate for each set without it and for all; `sets` has the set of each setting."""
    names = list(dict.fromkeys(sets.values()))
    candidates = list(next(iter(scores.values())))
    by_set = {
        name: {c: float(np.mean([scores[s][c] for s in scores if sets[s] == name])) for c in candidates}
        for name in names
    }
    if len(names) < 2:
        raise SystemExit(f"leave-one-set-out needs at least 2 data sets, got {', '.join(names)}")
    left_out = {name: best_on((other for other in names if other != name), by_set) for name in names}
    return {"left_out": left_out, "all": best_on(names, by_set)}


def evaluate(arguments: Arguments) -> dict[str, Any]:
    """All scores, the choices and both figures of every setting."""
    found: dict[str, list[dict[str, float]]] = {}
    for number, (cell, made) in enumerate(scored(arguments), 1):
        found.setdefault(cell.setting.name, []).append(made)
        print(f"{number} {cell.key}", flush=True)
    settings = {cell.setting.name: set_of(cell.setting) for _, cell in planned(arguments)}
    scores = {name: {c: float(np.mean([row[c] for row in found[name]])) for c in found[name][0]} for name in settings}
    chosen = choose(scores, settings)
    figures = {
        name: {
            "set": settings[name],
            "chosen_without_the_set": scores[name][chosen["left_out"][settings[name]]],
            "chosen_on_all_sets": scores[name][chosen["all"]],
            "best": max(scores[name].values()),
        }
        for name in settings
    }
    return {
        "study": arguments.study,
        "title": STUDIES[arguments.study].title,
        "candidates": STUDIES[arguments.study].candidates,
        "seeds": arguments.seeds,
        "scores": scores,
        "chosen": chosen,
        "figures": figures,
        "shown": shown_figures(arguments, chosen["left_out"]),
        "code": run.code(),
        "versions": {name: version(name) for name in run.PACKAGES},
    }


def markdown(result: dict[str, Any]) -> str:
    """Both figures of every setting, and the mean of each candidate."""
    chosen, figures, scores = result["chosen"], result["figures"], result["scores"]
    shown = ("chosen_without_the_set", "chosen_on_all_sets", "best")
    rows = [
        [name, chosen["left_out"][row["set"]], *(f"{row[key]:.1f}" for key in shown)] for name, row in figures.items()
    ]
    means = [f"{np.mean([row[key] for row in figures.values()]):.1f}" for key in shown]
    header = ["", "chosen without the set", "score", f"score of {chosen['all']}, chosen on all", "best candidate"]
    details = result["shown"]
    heads = list(next(iter(details.values()), {}))
    detailed = [[name, *(f"{row[head]:.1f}" for head in heads)] for name, row in details.items()]
    names = list(result["candidates"])
    averages = [f"{np.mean([row[name] for row in scores.values()]):.1f}" for name in names]
    return "\n\n".join(
        [
            f"{result['title']}, %, mean of {len(result['seeds'])} seeds",
            table(header, [*rows, ["mean", "", *means]]),
            *([table(["chosen without the set, % of the rows", *heads], detailed)] if heads else []),
            table(["mean of all settings", *names], [["", *averages]]),
        ]
    )


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    run.quieten()
    result = evaluate(arguments)
    path = Path(arguments.results) / f"leave_one_out_{arguments.study}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    write_atomically(path.with_suffix(".md"), markdown(result) + "\n")
    print(f"\n{markdown(result)}")


if __name__ == "__main__":
    main()
