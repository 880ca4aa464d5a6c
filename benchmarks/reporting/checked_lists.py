"""Table of what checked rows are worth for tags and sets, from checked_lists.json."""

from typing import Any

import numpy as np

from benchmarks.reporting import load, percent, table


def blocks() -> dict[str, str]:
    """The table of docs/tags_and_sets.md."""
    found, lines, chosen = load("checked_lists"), [], []
    for name, runs in found.items():
        low, high = runs[0]["f1_given"], runs[0]["f1_true"]
        for count in sorted({one["checked"] for one in runs}):
            group = [one for one in runs if one["checked"] == count and not one["chosen"]]
            wrong = [f"{100 * _mean(group, column):.2f}" for column in ("given", "corrected")]
            count_changed = _mean(group, "changed")
            changed = f"{count_changed:,.0f} ({100 * _mean(group, 'right') / count_changed:.0f} %)"
            f1 = low if count == 0 else _mean(group, "f1")
            closed = f"{100 * (f1 - low) / (high - low):.0f} %" if count else ""
            lines.append([name, str(count), *wrong, changed, percent(f1), closed])
        lines.append([name, "all", "", "", "", percent(high), "100 %"])
        pair = [
            [one for one in runs if one["checked"] == 100 and bool(one["chosen"]) == last] for last in (True, False)
        ]
        times = _mean(pair[0], "wrong_in_last") / _mean(pair[1], "wrong_in_last")
        f1 = " instead of ".join(percent(_mean(group, "f1")) for group in pair)
        chosen.append(f"{name} {times:.1f} times as many wrong labels as random ones, F1 {f1}")
    head = ["data", "checked rows", "wrong as given, %", "as corrected, %", "changes (right)", "F1", "of the gap"]
    kinds = ("wrong", "missing")
    drawn = [one for runs in found.values() for one in runs if one["checked"]]
    held = [one[kind][1] <= one[f"true_{kind}"] <= one[kind][2] for one in drawn for kind in kinds]
    text = (
        "Tags or cells of the rows that nobody checked; mean of 3 draws. F1: of entities, or micro F1 at 0.5, on test "
        "rows, of a linear head on frozen MiniLM states, trained on the given labels (0), on the probabilities of the "
        "corrected ones, as `soft_correction` does, and on true labels (all). Of the 95 % intervals "
        f"{sum(held)} of {len(held)} hold the true share (`python -m benchmarks.checked_lists`)."
    )
    last = f"Of 100 checked rows, 50 random ones and then 50 by `next`, the latter have: {'; '.join(chosen)}."
    return {"checked_lists": f"{table(head, lines)}\n\n{text}", "next_lists": last}


def _mean(group: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([one[name] for one in group]))
