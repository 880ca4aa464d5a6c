"""Draws docs/images/leaderboard.png: what each method gains under noise, and what it costs where there is little.

python -m benchmarks.draw_leaderboard
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.leaderboard import GATE, RESULTS, STOPPED, Cells, boards, differences, named, read_cells
from benchmarks.suites import SUITES

IMAGE = Path(__file__).parent.parent / "docs" / "images" / "leaderboard.png"
NAMED = {"text-small": "texts", "vision-small": "images"}


def gains(cells: Cells, methods: list[str], suite: str) -> dict[str, float]:
    """Mean points above early stopping in the settings that the gate does not look at, by method."""
    noisy = [setting.name for setting in SUITES[suite].settings if not setting.gated]
    found = {method: differences(cells, method, STOPPED, noisy) for method in methods}
    return {method: float(np.mean([np.mean(v) for v in by.values()])) for method, by in found.items() if by}


def draw(axes: Any, suite: str, result: dict[str, Any], cells: Cells) -> None:
    rows = {name: row for name, row in result["board"]["methods"].items() if name != STOPPED}
    above = gains(cells, list(rows), suite)
    order = sorted(above, key=above.__getitem__)
    passed = [name for name in order if rows[name]["gate"]["passed"]]
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.axvline(GATE, color="grey", linewidth=0.8, linestyle=":")
    axes.barh(order, [above[name] for name in order], color="tab:blue", alpha=0.45, label="under more noise, mean")
    for names, style, label in (
        (passed, {"marker": "o", "color": "tab:green"}, "little or no noise, worst: passes"),
        ([name for name in order if name not in passed], {"marker": "X", "color": "tab:red"}, "fails"),
    ):
        axes.plot([rows[name]["gate"]["worst"] for name in names], names, linestyle="none", label=label, **style)
    axes.set_yticks(order, [named(result["board"], name, result["titles"]) for name in order])
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.set_title(f"{NAMED[suite]}: heads on frozen features", fontsize=10)
    axes.set_xlabel("points above early stopping on given labels")
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    import matplotlib.pyplot as plt

    results = {name: result for name, result in boards(RESULTS).items() if name in NAMED}
    figure, panels = plt.subplots(1, len(results), figsize=(6 * len(results), 5.5), squeeze=False)
    for axes, (name, result) in zip(panels[0], results.items(), strict=True):
        draw(axes, name, result, read_cells(RESULTS / f"cells_{name}.jsonl"))
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=9, loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(IMAGE, dpi=110)
    print(f"wrote {IMAGE.name}")


if __name__ == "__main__":
    main()
