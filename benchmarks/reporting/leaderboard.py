"""The leaderboard of each suite in Markdown, from its cells; run as a module it prints them.

python -m benchmarks.reporting.leaderboard --suites text-small
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from transformers import HfArgumentParser

from benchmarks.reporting import RESULTS, Cells, read_cells, table
from benchmarks.reporting.standings import (
    AUTO,
    BASE,
    GATE,
    SEEDS,
    STOPPED,
    differences,
    leaderboard,
    points,
    protocol,
)
from benchmarks.suites import DEVELOPMENT, LEADERBOARDS, SUITES
from hf_noisy.methods import make_method
from hf_noisy.training.auto_rules import RULES

# The suite whose settings tell what `auto` gains.
AUTO_SUITE = "development"
DRAWN = ("text-small", "vision-small")  # the suites in the picture
DETAILS = ("rank, real noise", "vs early stopping", "best minus last")  # columns of the long tables only


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    return "" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def gate_words(found: dict[str, Any]) -> str:
    if found["worst"] is None:
        return ""
    verdict = {True: "passes", False: f"fails ({found['failed']} of {found['of']})", None: "open"}[found["passed"]]
    return f"{verdict}, {found['worst']:+.2f}"


def named(board: dict[str, Any], method: str, titles: dict[str, str]) -> str:
    return f"{titles.get(method, method)} {board['methods'][method]['mark']}".strip()


def summary_table(board: dict[str, Any], titles: dict[str, str], details: bool = True) -> str:
    """Methods by mean rank, those without a rank last."""
    rows = []
    for method in sorted(board["methods"], key=lambda name: board["methods"][name]["rank"] or np.inf):
        row = board["methods"][method]
        columns = {
            "": named(board, method, titles),
            "mean rank": number(row["rank"]),
            "rank, real noise": number(row["rank_real_noise"]),
            "accuracy, %": number(row["mean"]),
            "vs cross-entropy": number(row["against_cross_entropy"], sign=True),
            "settings above cross-entropy": f"{row['wins']} of {row['settings']}" if method != BASE else "",
            "vs early stopping": number(row["against_early_stopping"], sign=True),
            "gate: worst vs early stopping": gate_words(row["gate"]),
            "worst vs cross-entropy": number(row["worst_to_base"], sign=True),
            "cost": number(row["cost"]),
            "ECE, %": number(row["ece"]),
            "best minus last": number(row["best_minus_last"]),
        }
        rows.append({name: value for name, value in columns.items() if details or name not in DETAILS})
    return table(list(rows[0]), [list(row.values()) for row in rows])


def accuracy_tables(board: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    """One table per data set: mean and deviation of every method in each setting."""
    for dataset, group in groupby(board["settings"], lambda name: name.split(" ")[0]):
        names = list(group)
        wrong = [f"{name.split(' ', 1)[1]}, {100 * board['noise_rate'][name]:.0f} % wrong" for name in names]
        found = {method: [board["settings"][name].get(method) for name in names] for method in board["methods"]}
        rows = [[named(board, method, titles), *map(_cell, cells)] for method, cells in found.items() if any(cells)]
        yield table([f"{dataset}: accuracy, %", *wrong], rows)


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    if value["deviation"] is None:
        return f"{value['mean']:.1f} (1 seed)"
    few = "" if len(value["seeds"]) > 2 else f" ({len(value['seeds'])} seeds)"
    return f"{value['mean']:.1f} ± {value['deviation']:.1f}{few}"


def notes(result: dict[str, Any]) -> list[str]:
    """What was run, and the random variation; docs/leaderboard.md explains the tables."""
    facts, again = result["protocol"], result["board"]["repeatability"]
    epochs, seeds = (facts["budget"] or {}).get("epochs"), ", ".join(map(str, facts["seeds"]))
    words = [f"{facts['cells']} cells, seeds {seeds}, {epochs} epochs."]
    if again:
        chance, of = again["deviation"] / SEEDS**0.5, result["board"]["methods"][BASE]["gate"]["of"]
        words.append(
            f"Random variation: GJS on the same rows with other random numbers differs by up to {again['most']:.1f} "
            f"points in {again['pairs']} cells, with a deviation of {again['deviation']:.2f}, which is {chance:.2f} "
            f"for a mean of {SEEDS} seeds. Over {of} settings a method that costs nothing may well miss the gate once."
        )
    return words


def findings(result: dict[str, Any]) -> list[str]:
    """The methods that pass the gate, and the best ones under noise from annotators or rules."""
    board, titles = result["board"], result["titles"]
    passes = [named(board, method, titles) for method, row in board["methods"].items() if row["gate"]["passed"]]
    words = [f"The gate is passed by {'; '.join(passes) or 'none'}."]
    for name in board["real"]:
        found = {m: cell for m, cell in board["settings"][name].items() if not board["methods"][m]["mark"]}
        first, *others = sorted(found, key=lambda method: -found[method]["mean"])[:3]
        then = "; ".join(f"{titles.get(m, m)} {_cell(found[m])}" for m in others)
        words.append(f"{name}: {titles.get(first, first)} is first with {_cell(found[first])}; then {then}.")
    return words


def summary(result: dict[str, Any]) -> str:
    """The section of a suite in docs/leaderboard.md."""
    parts = [
        summary_table(result["board"], result["titles"], details=False),
        "\n".join(f"- {word}" for word in findings(result)),
        *notes(result),
    ]
    versions = ", ".join(f"{name} {v}" for name, v in (result["protocol"]["versions"] or {}).items())
    return "\n\n".join([*parts, f"`{result['command']}`" + (f"; {versions}." if versions else "")])


def markdown(result: dict[str, Any]) -> str:
    """All figures of a suite: benchmarks/results/tables/leaderboard.md."""
    tables = (summary_table(result["board"], result["titles"]), *accuracy_tables(result["board"], result["titles"]))
    return "\n\n".join([*tables, *notes(result), f"`{result['command']}`"])


def boards(folder: Path) -> dict[str, dict[str, Any]]:
    """The data of the tables of each suite that has cells in a folder."""
    from benchmarks.competitors import METHODS

    results = {}
    for suite in (*LEADERBOARDS, *DEVELOPMENT):
        path = folder / f"cells_{suite.name}.jsonl"
        if path.is_file():
            cells = read_cells(path)
            used = next(iter(cells.values()))["budget"]
            trial = used != json.loads(json.dumps(suite.budget.as_dict()))
            other = f" with another budget: {json.dumps(used)}" if trial else ""
            results[suite.name] = {
                "command": f"python -m benchmarks.run --suite {suite.name}{other}",
                "protocol": protocol(cells),
                "titles": {method: competitor.title for method, competitor in METHODS.items()},
                "board": leaderboard(cells, suite.settings, list(METHODS)),
            }
    return results


def auto_rules() -> str:
    """The decision table of `method="auto"`, in the order in which its rules are tried."""
    rows = []
    for rule in RULES:
        words = []
        if (least := rule.beyond_chance[0]) > 0:
            words += [f"features agree with the given labels beyond chance by at least {least:g}"]
        words += [" or ".join(rule.modality)] if rule.modality else []
        words += ["noise not measured"] if rule.unmeasured else []
        words += ["a second view can be made"] if (method := make_method(rule.method)).second_view is not None else []
        words += ["not a stream"] if method.needs_rows else []
        rows.append([", ".join(words) or "everything else", f"`{rule.method}`", rule.idea])
    return table(["condition", "method", "idea"], rows)


def auto_row(cells: Cells, setting: str) -> list[str]:
    own = [cell for (name, _, method), cell in sorted(cells.items()) if (name, method) == (setting, AUTO)]
    wrong = 100 * np.mean([cell["noise_rate"] for cell in own])
    taken = sorted({cell["details"]["method"] for cell in own})
    means = [np.mean(list(points(cells, setting, method).values())) for method in (BASE, STOPPED, AUTO)]
    return [setting, f"{wrong:.0f}", ", ".join(f"`{m}`" for m in taken), *map(number, means)]


def auto_results() -> str:
    """What `auto` chose in the settings of the development suite."""
    cells, settings = read_cells(RESULTS / f"cells_{AUTO_SUITE}.jsonl"), SUITES[AUTO_SUITE].settings
    header = ["", "wrong, %", "chosen", "cross-entropy", "early stopping", "auto"]
    return table(header, [auto_row(cells, setting.name) for setting in settings])


def auto_gains() -> str:
    """What `auto` gained in the settings of the development suite."""
    cells, settings = read_cells(RESULTS / f"cells_{AUTO_SUITE}.jsonl"), SUITES[AUTO_SUITE].settings

    def gains(other: str, names: list[str]) -> list[float]:
        return [float(np.mean(values)) for values in differences(cells, AUTO, other, names).values()]

    light = [setting.name for setting in settings if setting.gated]
    noisy = [setting.name for setting in settings if not setting.gated]
    real = [setting.name for setting in settings if setting.real]
    words = []
    for title, other, names in (
        ("rules, annotators and language models", "cross-entropy", real),
        ("all noise above 10 %", "cross-entropy", noisy),
        ("clean labels and 10 % noise", "early stopping", light),
    ):
        found = gains(BASE if other == "cross-entropy" else STOPPED, names)
        words.append(
            f"{title}: {np.mean(found):+.1f} points against {other} in {len(found)} settings, {min(found):+.1f} to "
            f"{max(found):+.1f}."
        )
    return "\n".join(f"- {word}" for word in words)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    made = {"auto_table": auto_rules(), "auto_results": auto_results(), "auto_gains": auto_gains()}
    for suite in LEADERBOARDS:  # without cells
        made[f"leaderboard_{suite.name}"] = f"Not run yet: `python -m benchmarks.run --suite {suite.name}`."
    for suite, result in boards(RESULTS).items():
        made |= {f"leaderboard_{suite}": summary(result), f"leaderboard_{suite}_cells": markdown(result)}
    return made


def draw_suite(axes: Any, suite: str, result: dict[str, Any]) -> None:
    """Mean points above early stopping under more noise than in the gate, and the worst case of the gate."""
    cells = read_cells(RESULTS / f"cells_{suite}.jsonl")
    rows = {name: row for name, row in result["board"]["methods"].items() if name != STOPPED}
    noisy = [setting.name for setting in SUITES[suite].settings if not setting.gated]
    found = {method: differences(cells, method, STOPPED, noisy) for method in rows}
    above = {method: float(np.mean([np.mean(v) for v in by.values()])) for method, by in found.items() if by}
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
    what = {"text-small": "texts", "vision-small": "images"}[suite]
    axes.set_title(f"{what}: heads on frozen features", fontsize=10)
    axes.set_xlabel("points above early stopping on given labels")
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(image: Path) -> None:
    """The gain of each method under noise, and its loss with little noise."""
    import matplotlib.pyplot as plt

    results = {name: result for name, result in boards(RESULTS).items() if name in DRAWN}
    figure, panels = plt.subplots(1, len(results), figsize=(6 * len(results), 5.5), squeeze=False)
    for axes, (name, result) in zip(panels[0], results.items(), strict=True):
        draw_suite(axes, name, result)
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=9, loc="lower center", ncol=3, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(image, dpi=110)


@dataclass
class Arguments:
    results: str = field(default=str(RESULTS), metadata={"help": "folder of cells_<suite>.jsonl"})
    suites: list[str] = field(default_factory=list, metadata={"help": "default: all that have cells"})


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    for name, result in boards(Path(arguments.results)).items():
        if not arguments.suites or name in arguments.suites:
            print(f"## {name}\n\n{markdown(result)}\n")


if __name__ == "__main__":
    main()
