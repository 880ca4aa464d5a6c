"""How many true labels plain training would need for the accuracy of each method on all given labels."""

import math

import numpy as np

from benchmarks.reporting import RESULTS, Cells, load, read_cells, table
from benchmarks.reporting.standings import points
from benchmarks.suites import SUITES, TUNED, Setting
from benchmarks.systems import METHODS

SMALL = ("text-small", "vision-small")
# The heaviest noise of each kind, and all labels of annotators and rules.
SETTINGS = [s for name in SMALL for s in SUITES[name].settings if s.real or s.noise_rate == 0.4]
SHOWN = tuple(name for name in TUNED if name not in ("divide_mix", "jocor_half", "checked_only"))


def curves(cells: Cells) -> dict[str, dict[int, float]]:
    """Test accuracy in percent of logistic regression on true labels alone, by data set and number of rows."""
    measured = load("checked_rows")
    found: dict[str, dict[int, list[float]]] = {}
    for one in measured["settings"]:
        dataset = one["setting"].split(" ")[0]
        for count, figures in one["figures"].items():
            found.setdefault(dataset, {}).setdefault(int(count), []).extend(figures["checked_only"])
    made = {name: {count: float(np.mean(values)) for count, values in of.items()} for name, of in found.items()}
    for dataset, of in made.items():
        if whole := points(cells, f"{dataset} clean", "linear_head"):
            rows = next(cell["train_rows"] for (name, _, _), cell in cells.items() if name == f"{dataset} clean")
            of[rows] = float(np.mean(list(whole.values())))
    return made


def worth(curve: dict[int, float], reached: float) -> float:
    """Rows at which the curve reaches an accuracy, between its points in their logarithm; infinite beyond the last."""
    counts = sorted(curve)
    best = np.maximum.accumulate([curve[count] for count in counts])
    if reached > best[-1]:
        return math.inf
    return float(np.exp(np.interp(reached, best, np.log(counts))))


def shown(curve: dict[int, float], value: float) -> str:
    if math.isinf(value):
        return f"over {max(curve):,}"
    return f"under {min(curve)}" if value < min(curve) + 0.5 else f"{value:.0f}"


def report(methods: tuple[str, ...], shown_settings: list[Setting]) -> str:
    """One row a method, one column a setting that is shown, with the median over all settings."""
    cells: Cells = {}
    for name in SMALL:
        cells |= read_cells(RESULTS / f"cells_{name}.jsonl")
    systems = read_cells(RESULTS / "cells_systems.jsonl")
    cells |= {key: cell for key, cell in systems.items() if key[0].startswith("20news ")}  # the same rows and budget
    known, rows = curves(cells), []
    for method in methods:
        found = {
            s.name: worth(known[s.dataset], float(np.mean(list(reached.values()))))
            for s in SETTINGS
            if (reached := points(cells, s.name, method))
        }
        words = [shown(known[s.dataset], found[s.name]) if s.name in found else "" for s in shown_settings]
        middle = float(np.median(list(found.values()))) if len(found) == len(SETTINGS) else None
        median = "" if middle is None else "over 1,000" if math.isinf(middle) else f"{middle:.0f}"
        if found:
            rows.append([METHODS[method].title, *words, median])
    return table(["true labels that are as good", *(s.name for s in shown_settings), "median"], rows)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    real = [setting for setting in SETTINGS if setting.real]
    rest = tuple(name for name in METHODS if name not in SHOWN)
    return {"labels_worth": report(SHOWN, real), "labels_worth_all": report((*SHOWN, *rest), SETTINGS)}
