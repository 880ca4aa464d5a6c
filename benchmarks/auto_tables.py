"""Tables of `method="auto"` for docs/choosing.md, from cells that its rules were not written from."""

import numpy as np

from benchmarks.leaderboard import (
    AUTO,
    BASE,
    RESULTS,
    STOPPED,
    Cells,
    differences,
    gate,
    gate_words,
    number,
    points,
    read_cells,
)
from benchmarks.markdown import table
from benchmarks.suites import SUITES

FRESH = {name: RESULTS / f"cells_{name}_fresh.jsonl" for name in ("text-small", "vision-small")}


def setting_row(cells: Cells, setting: str) -> list[str]:
    own = [cell for (name, _, method), cell in sorted(cells.items()) if (name, method) == (setting, AUTO)]
    found = [cell["details"]["measured"]["noise"][0] for cell in own]  # the rate, and the ends of its interval
    wrong = [cell["noise_rate"] for cell in own]
    inside = sum(low <= rate <= high for (_, low, high), rate in zip(found, wrong, strict=True))
    taken = sorted({cell["details"]["method"] for cell in own})
    means = [np.mean(list(points(cells, setting, method).values())) for method in (BASE, STOPPED, AUTO)]
    return [setting, f"{100 * np.mean(wrong):.0f}", f"{100 * np.mean([rate for rate, _, _ in found]):.0f}",
            f"{inside} of {len(own)}", ", ".join(f"`{name}`" for name in taken), *map(number, means)]  # fmt: skip


def fresh() -> str:
    """What `auto` measured, took and gained with seeds that were not looked at when its rules were written."""
    header = ["", "wrong, %", "estimated", "interval holds it", "taken", "cross-entropy", "early stopping", "auto"]
    rows, words, hits, count = [], [], 0, 0
    for name, path in FRESH.items():
        cells, settings = read_cells(path), SUITES[name].settings
        rows += [setting_row(cells, setting.name) for setting in settings]
        to_base, to_stopped = (
            [np.mean(v) for v in differences(cells, AUTO, other, [s.name for s in settings]).values()]
            for other in (BASE, STOPPED)
        )
        seeds = ", ".join(str(seed) for seed in sorted({seed for _, seed, _ in cells}))
        words.append(
            f"{name}, seeds {seeds}: {np.mean(to_base):+.1f} points to cross-entropy (above it in "
            f"{sum(d > 0 for d in to_base)} of {len(to_base)} settings), {np.mean(to_stopped):+.1f} to early "
            f"stopping; gate: {gate_words(gate(cells, AUTO, settings))}."
        )
        real = [s.name for s in settings if s.real]
        gains = [float(np.mean(v)) for v in differences(cells, AUTO, BASE, real).values()]
        words.append(
            f"{name}, where people or rules made the wrong labels: {np.mean(gains):+.1f} points to cross-entropy "
            f"({min(gains):+.1f} to {max(gains):+.1f})."
        )
    for row in rows:
        inside, of = map(int, row[3].split(" of "))
        hits, count = hits + inside, count + of
    words.append(f"The interval of the share of wrong labels holds the true one in {hits} of {count} cells.")
    return "\n".join(f"- {word}" for word in words) + "\n\n" + table(header, rows)
