"""Statistics of the cells of a suite: differences, ranks, and the gate."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.reporting import Cells
from benchmarks.suites import Setting, Suite

BASE, STOPPED, AUTO = "cross_entropy", "early_stopping", "auto"
GATE = -0.5  # points: the most a method may lose to early stopping with little or no noise
SEEDS = 3  # needed to pass the gate
FEWEST_PAIRS = 6  # to tell the random variation


def points(cells: Cells, setting: str, method: str) -> dict[int, float]:
    """Test accuracy in percent, by seed of the suites."""
    found = {seed: cells.get((setting, seed, method)) for seed in Suite.seeds}
    return {seed: 100 * cell["test_accuracy_last"] for seed, cell in found.items() if cell}


def differences(cells: Cells, method: str, other: str, settings: Iterable[str]) -> dict[str, list[float]]:
    """Points by which a method beats another with the same rows, noise and seed, by setting."""
    found = {}
    for setting in settings:
        ours, theirs = points(cells, setting, method), points(cells, setting, other)
        if both := sorted(ours.keys() & theirs.keys()):
            found[setting] = [ours[seed] - theirs[seed] for seed in both]
    return found


def gate(cells: Cells, method: str, settings: Iterable[Setting], other: str = STOPPED) -> dict[str, Any]:
    """The worst mean difference to early stopping, or another method, in settings with at most 10 % noise."""
    asked = [setting.name for setting in settings if setting.gated]
    pairs = differences(cells, method, other, asked) if method != other else {}
    means = {setting: float(np.mean(values)) for setting, values in pairs.items()}
    if not means:
        return {"passed": None, "worst": None, "where": None, "failed": 0, "of": len(asked)}
    where = min(means, key=lambda setting: means[setting])
    passed = means[where] >= GATE - 1e-9
    # With fewer seeds or settings a method can fail but not pass.
    complete = len(means) == len(asked) and min(map(len, pairs.values())) >= SEEDS
    return {
        "passed": passed if complete or not passed else None,
        "worst": means[where],
        "where": where,
        "failed": sum(mean < GATE - 1e-9 for mean in means.values()),
        "of": len(asked),
    }


def mean_ranks(cells: Cells, methods: list[str], settings: Iterable[str]) -> dict[str, float | None]:
    """Mean rank over settings, by mean accuracy over the seeds that all methods have; 1 is best."""
    ranks = []
    for setting in settings:
        by_method = [points(cells, setting, method) for method in methods]
        if by_method and (seeds := set.intersection(*map(set, by_method))):
            ranks.append(rankdata([-np.mean([values[seed] for seed in seeds]) for values in by_method]))
    return {method: float(np.mean([r[i] for r in ranks])) if ranks else None for i, method in enumerate(methods)}


def summary_of(cells: Cells, method: str, settings: tuple[Setting, ...]) -> dict[str, Any]:
    names = [setting.name for setting in settings]
    own = [cell for (_, _, m), cell in cells.items() if m == method]
    to_base, to_stopped = (
        [float(np.mean(values)) for values in differences(cells, method, other, names).values()]
        for other in (BASE, STOPPED)
    )
    costs = [
        cell["cpu_seconds"] / cells[s, seed, BASE]["cpu_seconds"]
        for (s, seed, m), cell in cells.items()
        if m == method and (s, seed, BASE) in cells
    ]
    best_and_last = [(cell["test_accuracy_best"], cell["test_accuracy_last"]) for cell in own]
    gaps = [100 * (best - last) for best, last in best_and_last if best is not None]

    def mean_accuracy(names: list[str]) -> float | None:
        return _mean([np.mean(list(p.values())) for name in names if (p := points(cells, name, method))])

    return {
        "cells": len(own),
        "mean": mean_accuracy(names),
        "mean_real_noise": mean_accuracy([setting.name for setting in settings if setting.real]),
        "against_cross_entropy": _mean(to_base),
        "wins": sum(difference > 0 for difference in to_base),
        "settings": len(to_base),
        "against_early_stopping": _mean(to_stopped),
        "gate": gate(cells, method, settings),
        "worst_to_base": gate(cells, method, settings, BASE)["worst"],
        "cost": float(np.median(costs)) if costs else None,
        "ece": _mean([100 * cell["ece"] for cell in own]),
        "best_minus_last": _mean(gaps),
        # Not comparable with the others: uses true labels, or its rules were written from these very cells.
        "mark": "†" if any(cell["clean_labels"] for cell in own) else "‡" if method == AUTO else "",
    }


def leaderboard(cells: Cells, settings: tuple[Setting, ...], order: list[str]) -> dict[str, Any]:
    """All figures of the tables, with methods in the given order."""
    methods = [method for method in order if any(m == method for _, _, m in cells)]
    rows = {method: summary_of(cells, method, settings) for method in methods}
    # A missing seed keeps a method in the ranks; a missing setting does not.
    reached = {method: {setting for setting, _, m in cells if m == method} for method in methods}
    everywhere = set().union(*reached.values())
    ranked = [method for method, row in rows.items() if not row["mark"] and reached[method] == everywhere]
    for key, chosen in (("rank", settings), ("rank_real_noise", [s for s in settings if s.real])):
        ranks = mean_ranks(cells, ranked, [setting.name for setting in chosen])
        for method, row in rows.items():
            row[key] = ranks.get(method)
    table: dict[str, dict[str, Any]] = {}
    for setting in settings:
        for method in methods:
            if values := points(cells, setting.name, method):
                seeds = [values[seed] for seed in sorted(values)]
                deviation = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None
                row = {"mean": float(np.mean(seeds)), "seeds": seeds, "deviation": deviation}
                table.setdefault(setting.name, {})[method] = row
    rates = {s.name: _mean([c["noise_rate"] for (name, _, _), c in cells.items() if name == s.name]) for s in settings}
    return {
        "methods": rows,
        "settings": table,
        "noise_rate": rates,
        "real": [setting.name for setting in settings if setting.real and setting.name in table],
        "repeatability": repeatability(cells),
    }


def repeatability(cells: Cells) -> dict[str, Any] | None:
    """Variation between two runs of one method with different random numbers: `auto` that chose GJS, and GJS."""
    found = [
        100 * (cell["test_accuracy_last"] - cells[setting, seed, "gjs"]["test_accuracy_last"])
        for (setting, seed, method), cell in cells.items()
        if method == AUTO and cell["details"]["method"] == "gjs" and (setting, seed, "gjs") in cells
    ]
    if len(found) < FEWEST_PAIRS:
        return None
    return {"pairs": len(found), "deviation": float(np.std(found, ddof=1)), "most": float(np.abs(found).max())}


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None


def protocol(cells: Cells) -> dict[str, Any]:
    """Budget, versions and machine of all cells; None where they differ."""
    names = ("budget", "versions", "machine", "device", "model")
    several = {name: {json.dumps(cell[name], sort_keys=True) for cell in cells.values()} for name in names}
    seeds = sorted({seed for _, seed, _ in cells})
    return {"seeds": seeds, "cells": len(cells)} | {
        name: json.loads(next(iter(values))) if len(values) == 1 else None for name, values in several.items()
    }
