"""Differences of methods over data sets: one mean difference a set, as its settings and seeds share rows."""

import numpy as np
from scipy.stats import friedmanchisquare, wilcoxon

from benchmarks.competitors import METHODS
from benchmarks.reporting import RESULTS, Cells, read_cells, table
from benchmarks.reporting.standings import AUTO, BASE, STOPPED, differences
from benchmarks.suites import SAME_TEXTS, SUITES, Setting

Noisy = dict[str, list[str]]  # settings with more than 10 % noise by data set; sets that share texts are one
SMALL = ("text-small", "vision-small")
FEWEST_SETS = 6  # with fewer, no p value can be below 0.05


def noisy(settings: tuple[Setting, ...]) -> Noisy:
    found: Noisy = {}
    for setting in settings:
        if not setting.gated:
            found.setdefault(SAME_TEXTS.get(setting.dataset, setting.dataset), []).append(setting.name)
    return found


def by_set(cells: Cells, method: str, other: str, settings: Noisy) -> dict[str, float]:
    """Mean points by which a method beats another, by data set; only sets in which both have all settings."""
    found = {}
    for name, of in settings.items():
        means = [np.mean(points) for points in differences(cells, method, other, of).values()]
        if len(means) == len(of):
            found[name] = float(np.mean(means))
    return found


def paired_test(values: list[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test of one mean difference a data set."""
    rounded = np.round(values, 6)  # so that values that differ by rounding alone are ties
    if len(rounded) < FEWEST_SETS or not rounded.any():
        return None
    return float(wilcoxon(rounded, zero_method="zsplit").pvalue)


def holm(ps: dict[str, float | None]) -> dict[str, float | None]:
    """Holm's correction of p values for multiple tests."""
    known = sorted((p, name) for name, p in ps.items() if p is not None)
    corrected, largest = dict.fromkeys(ps), 0.0
    for place, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - place)))
        corrected[name] = largest
    return corrected


def friedman(cells: Cells, methods: list[str], settings: Noisy) -> float | None:
    """p of Friedman's test that all methods rank equally over the data sets."""
    columns = [by_set(cells, method, BASE, settings) for method in methods]
    shared = [name for name in settings if all(name in of for of in columns)]
    if len(methods) < 3 or len(shared) < FEWEST_SETS:
        return None
    return float(friedmanchisquare(*([of[name] for name in shared] for of in columns)).pvalue)


def unmarked(cells: Cells) -> list[str]:
    """Methods that see no true label and were not developed on these sets."""
    seen = {method for (_, _, method), cell in cells.items() if cell["clean_labels"]}
    stored = {method for _, _, method in cells}
    return [name for name in METHODS if name in stored - seen]


def columns(cells: Cells, settings: Noisy, other: str) -> dict[str, list[str]]:
    """Mean difference, sets above, p and corrected p by method."""
    found = {method: by_set(cells, method, other, settings) for method in unmarked(cells) if method != other}
    ps = {method: paired_test(list(of.values())) for method, of in found.items()}
    corrected = holm(ps)

    return {
        method: [
            f"{np.mean(list(of.values())):+.1f}",
            f"{sum(value > 0 for value in of.values())} of {len(of)}",
            _p(ps[method]).removeprefix("= "),
            _p(corrected[method]).removeprefix("= "),
        ]
        for method, of in found.items()
        if of
    }


def read(suites: tuple[str, ...]) -> tuple[Cells, Noisy]:
    cells: Cells = {}
    for name in suites:
        cells |= read_cells(RESULTS / f"cells_{name}.jsonl")
    return cells, noisy(tuple(setting for name in suites for setting in SUITES[name].settings))


def report() -> str:
    """Every method against cross-entropy and early stopping, over the data sets."""
    cells, settings = read(SMALL)
    to_base, to_stopped = columns(cells, settings, BASE), columns(cells, settings, STOPPED)
    names = sorted(to_base, key=lambda name: -float(to_base[name][0]))
    rows = [
        [
            f"{METHODS[name].title} {'‡' * (name == AUTO)}".strip(),
            *to_base[name],
            *to_stopped.get(name, [""] * 4),
        ]
        for name in names
    ]
    header = ["", f"vs cross-entropy, {len(settings)} sets", "sets above", "p", "p, Holm"]
    header += ["vs early stopping", "sets above ", "p ", "p, Holm "]
    p = friedman(cells, unmarked(cells), settings)
    words = f"Friedman's test that all methods rank equally on the {len(settings)} sets: p {_p(p)}."
    return "\n\n".join([table(header, rows), words])


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"= {value:.3f}"


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    return {"significance": report()}
