"""Tables of suite `fine-tuned`: what users get who train the whole encoder, with and without checked rows."""

import numpy as np

from benchmarks.competitors import METHODS
from benchmarks.reporting import RESULTS, percent, read_cells, spread_of, table
from benchmarks.suites import SUITES

FREE = ("cross_entropy", "dygen", "auto", "class_mean", "linear_head", "mean_and_head", "checked_only")
SHORT = ("cross_entropy", "auto", "linear_head", "class_mean", "checked_only")
CHECKED = ("cross_entropy", "auto", "auto_checked_50", "auto_checked_100", "checked_only")


def accuracies(methods: tuple[str, ...]) -> dict[str, dict[str, dict[int, float]]]:
    """Test accuracy by setting, method and seed; settings with cross-entropy and `auto`."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for (setting, seed, method), cell in read_cells(RESULTS / "cells_fine-tuned.jsonl").items():
        if method in methods:
            found.setdefault(setting, {}).setdefault(method, {})[seed] = cell["test_accuracy_last"]
    return {name: of for name, of in found.items() if {"cross_entropy", "auto"} <= of.keys()}


def shown(methods: tuple[str, ...]) -> str:
    """One row a setting, one column a method."""
    rows = [
        [setting, *(spread_of(list(of.get(method, {}).values())) for method in methods)]
        for setting, of in accuracies(methods).items()
    ]
    return table(["test accuracy, %", *(METHODS[method].title for method in methods)], rows)


def short() -> str:
    """One row a method, one column a setting, as on the first page."""
    found = accuracies(SHORT)
    rows = []
    for method in SHORT:
        values = [float(np.mean(list(of[method].values()))) for of in found.values()]
        rows.append([METHODS[method].title, *(percent(value) for value in (*values, float(np.mean(values))))])
    names = [name.removesuffix(" rules").replace("asymmetric 40 %", "(injected)") for name in found]
    return table(["accuracy, %", *names, "mean"], rows)


def gains(method: str) -> dict[str, float]:
    """How far a method is above cross-entropy by setting, in points, in pairs of the same seed."""
    found = {name: of for name, of in accuracies(("cross_entropy", "auto", method)).items() if method in of}
    return {
        name: float(np.mean([100 * (of[method][seed] - of["cross_entropy"][seed]) for seed in of[method]]))
        for name, of in found.items()
    }


def gain() -> str:
    """How far `auto` is above cross-entropy on average and at worst."""
    pairs = gains("auto")
    worst = min(pairs, key=lambda setting: pairs[setting])
    return (
        f"`auto` is {np.mean(list(pairs.values())):+.1f} points from cross-entropy on average of {len(pairs)} sets, "
        f"and {pairs[worst]:+.1f} at worst ({worst})."
    )


def decision() -> str:
    """Which method to use, in five lines, with what it gained."""
    checked, auto = (list(gains(name).values()) for name in ("auto_checked_100", "auto"))
    return "\n".join(
        [
            "1. You can check a hundred rows: do it first, and pass them as `checked=` to any method ("
            f"[how](checked_rows.md)). With `auto`: {np.mean(checked):+.1f} points from cross-entropy on "
            f"{len(checked)} sets.",
            f"2. You have a pretrained encoder: `auto`. {np.mean(auto):+.1f} points on {len(auto)} sets, "
            f"{min(auto):+.1f} at worst.",
            "3. You train an image network from scratch: `nct`, or `dal` if it must cost no more than cross-entropy "
            "([figures](benchmarks.md)).",
            "4. You want to know which rows are wrong: `hf-noisy audit` and `purify`, or `dygen`, which also gives "
            "the probability of each class for every row.",
            "5. Your labels may be clean: `auto` as well ([its cost there](#how-well-it-works)).",
        ]
    )


def note() -> str:
    """The budget and the seeds."""
    budget = SUITES["fine-tuned"].budget
    cells = read_cells(RESULTS / "cells_fine-tuned.jsonl")
    several = ("auto", "dygen", "auto_checked_100")
    seeds = {method: {seed for _, seed, of in cells if of == method} for method in several}
    return (
        f"`python -m benchmarks.run --suite fine-tuned`: MiniLM, {budget.train_rows:,} rows, {budget.epochs} epochs, "
        f"{budget.max_length} tokens, {budget.test_rows} test rows; seeds: {len(seeds['auto'])}, of DyGEN "
        f"{len(seeds['dygen'])}, with checked rows {len(seeds['auto_checked_100'])}."
    )


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    return {
        "decision": decision(),
        "fine_tuned_short": "\n\n".join([short(), gain()]),
        "fine_tuned": "\n\n".join([shown(FREE), gain(), note()]),
        "checked_rows_tuned": "\n\n".join([shown(CHECKED), note()]),
    }
