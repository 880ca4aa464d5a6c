"""The leaderboard of each suite in Markdown, from its cells; run as a module it prints them.

python -m benchmarks.reporting.leaderboard --suites text-small
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import HfArgumentParser

from benchmarks.reporting.markdown import table
from benchmarks.reporting.standings import AUTO, BASE, SEEDS, STOPPED, Cells, leaderboard, protocol, read_cells
from benchmarks.suites import SUITES, Budget

RESULTS = Path(__file__).parents[1] / "results"


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    return "" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def p_value(p: float | None) -> str:
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def gate_words(found: dict[str, Any]) -> str:
    if found["worst"] is None:
        return ""
    verdict = {True: "passes", False: f"fails ({found['failed']} of {found['of']})", None: "open"}[found["passed"]]
    return f"{verdict}, {found['worst']:+.2f}"


def named(board: dict[str, Any], method: str, titles: dict[str, str]) -> str:
    return f"{titles.get(method, method)} {board['methods'][method]['mark']}".strip()


def summary_table(board: dict[str, Any], titles: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, by mean rank, those without a rank last."""
    header = ["", "mean rank", "rank, real noise", "accuracy, %", "to cross-entropy", "p", "settings above it",
              "to early stopping", "p ", "gate: worst to early stopping", "worst to cross-entropy", "cost", "ECE, %",
              "best minus last"]  # fmt: skip
    rows = []
    for method in sorted(board["methods"], key=lambda name: board["methods"][name]["rank"] or np.inf):
        row = board["methods"][method]
        rows.append([
            named(board, method, titles), number(row["rank"]),
            number(row["rank_real_noise"]), number(row["mean"]), number(row["against_cross_entropy"], sign=True),
            p_value(row["p_cross_entropy"]), f"{row['wins']} of {row['settings']}" if method != BASE else "",
            number(row["against_early_stopping"], sign=True), p_value(row["p_early_stopping"]),
            gate_words(row["gate"]), number(row["worst_to_base"], sign=True), number(row["cost"]),
            number(row["ece"]), number(row["best_minus_last"]),
        ])  # fmt: skip
    return header, rows


def accuracy_tables(board: dict[str, Any], titles: dict[str, str]) -> dict[str, tuple[list[str], list[list[str]]]]:
    """One table a data set: mean and deviation of every method in each of its settings."""
    tables = {}
    for dataset in dict.fromkeys(name.split(" ")[0] for name in board["settings"]):
        names = [name for name in board["settings"] if name.split(" ")[0] == dataset]
        wrong = [f"{name.removeprefix(dataset)}, {100 * board['noise_rate'][name]:.0f} % wrong" for name in names]
        rows = []
        for method in board["methods"]:
            found = [board["settings"][name].get(method) for name in names]
            if any(found):
                rows.append([named(board, method, titles), *(_cell(value) for value in found)])
        tables[dataset] = ([f"{dataset}: accuracy, %", *(words.strip() for words in wrong)], rows)
    return tables


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    if value["deviation"] is None:
        return f"{value['mean']:.1f} (1 seed)"
    few = "" if len(value["seeds"]) > 2 else f" ({len(value['seeds'])} seeds)"
    return f"{value['mean']:.1f} ± {value['deviation']:.1f}{few}"


def notes(result: dict[str, Any]) -> list[str]:
    """How to read the tables."""
    told, budget = result["protocol"], result["protocol"]["budget"] or {}
    seeds, again = ", ".join(map(str, told["seeds"])), result["board"]["repeatability"]
    words = [
        f"{told['cells']} cells, seeds {seeds}; each seed draws noise and network, and rows where there are more than "
        f"the budget takes. Every method has the same rows, network, optimiser and {budget.get('epochs')} epochs, and "
        "the constants of its paper or of the package, none of them tuned on these cells; but the prior and constants "
        "of DyGEN were chosen by true labels of other draws of trec, semeval and 20news. Accuracy is that of the last "
        "epoch unless the row says by its name what else chose the model; best minus last is what the best epoch on "
        "the test rows would add, in points, and chose nothing.",
        "Mean rank is over the settings, 1 the best. Without a rank: † is told the true labels of "
        f"{100 * budget.get('checked', 0):.0f} % of the training rows; the rules of ‡ were written from these cells. "
        "Differences are in points, means over the settings; p is of Wilcoxon's signed-rank test on one mean "
        "difference a setting, two-sided, corrected by Holm's method for the number of rows. Settings of one data set "
        "share rows, so that p is still somewhat too small.",
        "The gate: on clean labels and at 10 % noise, never more than 0.5 points (mean of seeds) below cross-entropy "
        "with early stopping on given labels. The column beside it holds the same settings against cross-entropy, "
        "which early stopping is itself below on some of them. Cost is processor time as a multiple of cross-entropy, "
        "median of pairs.",
    ]
    if again:
        chance, of = again["deviation"] / SEEDS**0.5, result["board"]["methods"][BASE]["gate"]["of"]
        words.append(
            f"How much is chance: GJS on the same rows with other random numbers differs by {again['most']:.1f} "
            f"points at most in {again['pairs']} cells, with a deviation of {again['deviation']:.2f}, which makes "
            f"{chance:.2f} of a mean of {SEEDS} seeds. Over {of} settings a method that costs nothing may well miss "
            "the gate once."
        )
    return words


def findings(result: dict[str, Any]) -> list[str]:
    """What the tables show: who passes the gate, and who is first where people or rules made the noise."""
    board, titles = result["board"], result["titles"]
    passes = [named(board, method, titles) for method, row in board["methods"].items() if row["gate"]["passed"]]
    words = [f"The gate is passed by {'; '.join(passes) or 'none'}."]
    for name in board["real"]:
        found = {m: cell for m, cell in board["settings"][name].items() if not board["methods"][m]["mark"]}
        first, *others = sorted(found, key=lambda method: -found[method]["mean"])[:3]
        words.append(f"{name}: {titles.get(first, first)} is first with {_cell(found[first])}; then "
                     + "; ".join(f"{titles.get(m, m)} {_cell(found[m])}" for m in others) + ".")  # fmt: skip
    return words


def markdown(result: dict[str, Any]) -> str:
    """The section of a suite in docs/leaderboard.md."""
    parts = [
        table(*summary_table(result["board"], result["titles"])),
        "\n".join(f"- {word}" for word in findings(result)),
        *notes(result),
    ]
    parts += [table(*content) for content in accuracy_tables(result["board"], result["titles"]).values()]
    versions = ", ".join(f"{name} {v}" for name, v in (result["protocol"]["versions"] or {}).items())
    return "\n\n".join([*parts, f"`{result['command']}`; {versions}."])


def short(result: dict[str, Any]) -> str:
    """The best methods by rank, `auto` and the plain ones, on the noise that people or rules made."""
    board, titles = result["board"], result["titles"]
    ranks = {method: row["rank"] for method, row in board["methods"].items() if row["rank"]}
    ranked = sorted(ranks, key=ranks.__getitem__)
    shown = [m for m in ranked if m in ranked[:5] or m in (BASE, STOPPED)] + [AUTO] * (AUTO in board["methods"])
    rows = [
        [named(board, m, titles), number(ranks.get(m)),
         *(_cell(board["settings"][name].get(m)) for name in board["real"]),
         number(board["methods"][m]["mean"]), gate_words(board["methods"][m]["gate"])]
        for m in shown
    ]  # fmt: skip
    wrong = [f"{name}, {100 * board['noise_rate'][name]:.0f} % wrong" for name in board["real"]]
    header = ["accuracy, %", f"mean rank of {len(ranked)}", *wrong, f"mean of {len(board['settings'])}", "gate"]
    return table(header, rows)


def command_cut(cells: Cells, budget: Budget) -> str:
    """What a trial run has to say of itself."""
    used = next(iter(cells.values()))["budget"]
    return "" if used == json.loads(json.dumps(budget.as_dict())) else f" with another budget: {json.dumps(used)}"


def boards(folder: Path) -> dict[str, dict[str, Any]]:
    """All that is told of each suite that has cells in a folder."""
    from benchmarks.competitors import COMPETITORS

    results = {}
    for name, suite in SUITES.items():
        path = folder / f"cells_{name}.jsonl"
        if not path.is_file():
            continue
        cells = read_cells(path)
        results[name] = {
            "command": f"python -m benchmarks.run --suite {name}" + command_cut(cells, suite.budget),
            "protocol": protocol(cells),
            "titles": {method: competitor.title for method, competitor in COMPETITORS.items()},
            "board": leaderboard(cells, suite.settings, list(COMPETITORS)),
        }
    return results


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
