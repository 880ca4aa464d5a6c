"""Tables of `method="auto"` for docs/choosing.md: its rules, and cells that these were not written from."""

from typing import Any

import numpy as np

from benchmarks.reporting.leaderboard import RESULTS, gate_words, number
from benchmarks.reporting.markdown import table
from benchmarks.reporting.standings import AUTO, BASE, STOPPED, Cells, differences, gate, points, read_cells
from benchmarks.suites import SUITES
from hf_noisy.methods import make_method
from hf_noisy.training.auto_rules import RULES

FRESH = {name: RESULTS / f"cells_{name}_fresh.jsonl" for name in ("text-small", "vision-small")}


def rules() -> str:
    """The decision table of `method="auto"`, in the order in which its rules are tried."""
    rows = []
    for rule in RULES:
        words = [f"{name} {100 * low:.0f} to {100 * high:.0f} %" for name, (low, high) in
                 (("wrong labels", rule.rate), ("by row", rule.by_row))
                 if (low, high) != (0.0, 1.0)]  # fmt: skip
        words += [" or ".join(rule.modality)] if rule.modality else []
        words += ["noise not measured"] if rule.unmeasured else []
        words += ["a second view can be made"] if (method := make_method(rule.method)).second_view is not None else []
        words += ["not a stream"] if method.needs_rows else []
        rows.append([", ".join(words) or "everything else", f"`{rule.method}`", rule.because.removeprefix("so ")])
    return table(["where", "method", "why"], rows)


def holds_the_rate(cell: dict[str, Any]) -> bool:
    """Whether the estimated interval holds the true share of wrong labels."""
    _, low, high = cell["details"]["measured"]["noise"][0]
    return low <= cell["noise_rate"] <= high


def setting_row(cells: Cells, setting: str) -> list[str]:
    own = [cell for (name, _, method), cell in sorted(cells.items()) if (name, method) == (setting, AUTO)]
    wrong, estimated = (
        100 * np.mean(values)
        for values in zip(*((c["noise_rate"], c["details"]["measured"]["noise"][0][0]) for c in own), strict=True)
    )
    taken = sorted({cell["details"]["method"] for cell in own})
    means = [np.mean(list(points(cells, setting, method).values())) for method in (BASE, STOPPED, AUTO)]
    return [setting, f"{wrong:.0f}", f"{estimated:.0f}", f"{sum(map(holds_the_rate, own))} of {len(own)}",
            ", ".join(f"`{name}`" for name in taken), *map(number, means)]  # fmt: skip


def gains(cells: Cells, other: str, settings: list[str]) -> list[float]:
    """Mean points of `auto` above another row, one number a setting."""
    return [float(np.mean(values)) for values in differences(cells, AUTO, other, settings).values()]


def fresh() -> str:
    """What `auto` measured, took and gained with seeds that were not looked at when its rules were written."""
    header = ["", "wrong, %", "estimated", "interval holds it", "taken", "cross-entropy", "early stopping", "auto"]
    rows, words, held = [], [], []
    for name, path in FRESH.items():
        cells, settings = read_cells(path), SUITES[name].settings
        names = [setting.name for setting in settings]
        rows += [setting_row(cells, setting) for setting in names]
        held += [holds_the_rate(cell) for (_, _, method), cell in cells.items() if method == AUTO]
        to_base, to_stopped = (gains(cells, other, names) for other in (BASE, STOPPED))
        real = gains(cells, BASE, [setting.name for setting in settings if setting.real])
        seeds = ", ".join(str(seed) for seed in sorted({seed for _, seed, _ in cells}))
        words += [
            f"{name}, seeds {seeds}: {np.mean(to_base):+.1f} points to cross-entropy (above it in "
            f"{sum(d > 0 for d in to_base)} of {len(to_base)} settings), {np.mean(to_stopped):+.1f} to early "
            f"stopping; gate: {gate_words(gate(cells, AUTO, settings))}.",
            f"{name}, where people or rules made the wrong labels: {np.mean(real):+.1f} points to cross-entropy "
            f"({min(real):+.1f} to {max(real):+.1f}).",
        ]
    words.append(f"The interval of the share of wrong labels holds the true one in {sum(held)} of {len(held)} cells.")
    return "\n".join(f"- {word}" for word in words) + "\n\n" + table(header, rows)
