"""Draws the pictures of docs/leaderboard.md and docs/ablations.md from the result files.

python -m benchmarks.reporting.draw
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting.ablation_tables import select
from benchmarks.reporting.leaderboard import RESULTS, boards, named
from benchmarks.reporting.standings import GATE, STOPPED, Cells, differences, read_cells
from benchmarks.suites import SUITES

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NAMED = {"text-small": "texts", "vision-small": "images"}
CURVES = (
    ("cross-entropy", 1, "network", "o:"),
    ("stage I", 2, "network", "s--"),
    ("prior", 2, "prior", "^--"),
    ("DyGEN", 2, "posterior", "D-"),
    ("DyGEN, told the rate", 2, "posterior_known_rate", "x-"),
)


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


def leaderboard(image: Path) -> None:
    """What each method gains under noise, and what it costs where there is little."""
    import matplotlib.pyplot as plt

    results = {name: result for name, result in boards(RESULTS).items() if name in NAMED}
    figure, panels = plt.subplots(1, len(results), figsize=(6 * len(results), 5.5), squeeze=False)
    for axes, (name, result) in zip(panels[0], results.items(), strict=True):
        draw(axes, name, result, read_cells(RESULTS / f"cells_{name}.jsonl"))
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=9, loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(image, dpi=110)


def large_noise(image: Path) -> None:
    """Figure 7 of DyGEN: accuracy by the share of wrong labels."""
    import matplotlib.pyplot as plt

    cells, rates = json.loads((RESULTS / "ablations.json").read_text())["cells"], (40, 50, 60, 70)
    figure, axes = plt.subplots(figsize=(6, 4))
    for title, branches, variant, style in CURVES:
        found = {rate: select(cells, f"20news symmetric {rate} %", branches) for rate in rates}
        values = {rate: [100 * cell["accuracy"].get(variant, np.nan) for cell in of] for rate, of in found.items()}
        means = np.array([np.mean(values[rate]) for rate in rates])
        spread = np.array([np.std(values[rate], ddof=1) for rate in rates])
        axes.errorbar(rates, means, spread, fmt=style, label=title, capsize=3)
    axes.set_xticks(rates)
    axes.set_xlabel("wrong labels, % (20 newsgroups, symmetric)")
    axes.set_ylabel("test accuracy, %")
    axes.legend(fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(image, dpi=110)


def main() -> None:
    for draws in (leaderboard, large_noise):
        draws(IMAGES / f"{draws.__name__}.png")
        print(f"wrote {draws.__name__}.png")


if __name__ == "__main__":
    main()
