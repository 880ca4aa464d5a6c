"""Tables of the correction of tags and sets by checked rows, from checked_lists.json."""

from typing import Any

import numpy as np

from benchmarks.reporting import load, percent, table


def blocks() -> dict[str, str]:
    """The table of docs/tags_and_sets.md."""
    found = load("checked_lists")
    lines = []
    for name, runs in found.items():
        for count in sorted({one["checked"] for one in runs}):
            group = [one for one in runs if one["checked"] == count]
            changed, right = _mean(group, "changed"), _mean(group, "right")
            shown = [_rate(_mean(group, "given")), _rate(_mean(group, "corrected")), f"{changed:,.0f}"]
            lines.append([name, str(count), *shown, f"{percent(right)} %"])
    head = ["data", "checked rows", "wrong as given", "wrong as corrected", "labels changed", "of these now right"]
    kinds = ("wrong", "missing")
    held = [one[kind][1] <= one[f"true_{kind}"] <= one[kind][2] for one in _drawn(found) for kind in kinds]
    text = (
        "Labels of the rows that nobody checked, in percent of their tags or cells, mean of 3 draws (frozen MiniLM, "
        "`python -m benchmarks.checked_lists`). "
        f"The 95 % intervals of the shares of wrong and of missing labels hold {sum(held)} of {len(held)} true ones."
    )
    return {"checked_lists": f"{table(head, lines)}\n\n{text}"}


def _drawn(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for runs in found.values() for one in runs if one["checked"]]


def _mean(group: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([one[name] for one in group]))


def _rate(value: float) -> str:
    return f"{100 * value:.2f}"
