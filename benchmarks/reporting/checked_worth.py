"""What checked rows are worth: a table and a picture of test accuracy and interval width against their number."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import RESULTS, load, read_cells, table
from benchmarks.suites import REAL_TEXTS

SHOWN, ALONE = (50, 100, 200, 400), (100, 200)
TWELVE = (
    *(setting.name for setting in REAL_TEXTS if setting.dataset != "mr_chatgpt"),
    *(f"20news {kind} 40 %" for kind in ("symmetric", "asymmetric", "instance")),
)
STORED = ("development", "vision-small")  # suites with the same rows and a network on the same features


def of_setting(result: dict[str, Any], setting: str, count: int, name: str) -> float:
    """Mean of all seeds and draws."""
    found = [one["figures"].get(str(count), {}).get(name) for one in result["settings"] if one["setting"] == setting]
    return float(np.mean([np.mean(values) for values in found if values])) if any(found) else float("nan")


def stored(method: str) -> dict[str, float]:
    """Test accuracy of a method without checked rows, by setting."""
    found: dict[str, list[float]] = {}
    for suite in STORED:
        for (setting, _, of), cell in read_cells(RESULTS / f"cells_{suite}.jsonl").items():
            if of == method:
                found.setdefault(setting, []).append(100 * cell["test_accuracy_last"])
    return {setting: float(np.mean(values)) for setting, values in found.items()}


def worth(result: dict[str, Any], setting: str, count: int) -> str:
    """How many checked rows alone would be as good, from their own curve."""
    counts = [int(one) for one in result["counts"]]
    alone = np.maximum.accumulate([of_setting(result, setting, one, "checked_only") for one in counts])
    reached = of_setting(result, setting, count, "correction")
    return f"over {counts[-1]}" if reached > alone[-1] else f"{np.interp(reached, alone, counts):.0f}"


def noisy_settings(result: dict[str, Any]) -> list[str]:
    names = dict.fromkeys(one["setting"] for one in result["settings"])
    return [name for name in names if not name.endswith(" clean")]


def by_count(counted: tuple[int, ...] = SHOWN) -> str:
    """Test accuracy of correction and checked rows alone."""
    result = load("checked_rows")
    plain, stopped, rows = stored("cross_entropy"), stored("early_stopping"), []

    def line(title: str, settings: list[str], last: str) -> list[str]:
        means = [np.mean([of[name] for name in settings]) for of in (plain, stopped)]
        for method, counts in (("correction", counted), ("checked_only", ALONE)):
            means += [np.mean([of_setting(result, name, count, method) for name in settings]) for count in counts]
        means.append(np.mean([of_setting(result, name, 100, "dmlp") for name in settings]))
        return [title, *(f"{value:.1f}" for value in means), last]

    for name in noisy_settings(result):
        rows.append(line(name, [name], worth(result, name, 100)))
    rows.append(line("**mean of the twelve text settings**", list(TWELVE), ""))
    header = ["test accuracy, %", "cross-entropy", "early stopping"]
    header += [f"corrected, {count}" for count in counted] + [f"{count} alone" for count in ALONE]
    return table([*header, "DMLP, 100", "100 are worth"], rows)


def clean() -> str:
    """Test accuracy on clean labels."""
    result, stopped = load("checked_rows"), stored("early_stopping")
    names = [name for name in dict.fromkeys(one["setting"] for one in result["settings"]) if name.endswith(" clean")]
    rows = [
        [name, f"{stopped[name]:.1f}", *(f"{of_setting(result, name, count, 'correction'):.1f}" for count in SHOWN)]
        for name in names
    ]
    return table(["clean labels, test accuracy, %", "early stopping", *(f"{count} checked" for count in SHOWN)], rows)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    result = load("checked_rows")
    draws = len(result["settings"][0]["figures"]["50"]["correction"])
    seeds = len({one["seed"] for one in result["settings"]})
    note = (
        f"Means of {seeds} samples of 1,000 rows and {draws} draws of the checked ones each, frozen features "
        "(`python -m benchmarks.checked_rows`). Corrected: a linear head on the posterior of `CheckedCorrection`. "
        "Alone: logistic regression on the checked rows only. DMLP: the same head on its posterior. The last column "
        "says how many checked rows alone would be as good as 100 with the given labels of the others."
    )
    curve = "![Test accuracy and width of the interval of the noise rate by the number of checked rows]"
    return {
        "checked_rows_worth": "\n\n".join([by_count((50, 100, 200)), note]),
        "checked_rows_all": "\n\n".join([by_count(), clean()]),
        "checked_rows_curve": f"{curve}(images/checked_rows.png)",
    }


def draw(image: Path) -> None:
    """Test accuracy and interval width against the number of checked rows, mean of the twelve text settings."""
    import matplotlib.pyplot as plt

    result = load("checked_rows")
    counts = [int(count) for count in result["counts"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))

    def mean(count: int, name: str) -> float:
        return float(np.mean([of_setting(result, setting, count, name) for setting in TWELVE]))

    for name, title, style in (("correction", "corrected", "o-"), ("checked_only", "checked rows alone", "s--")):
        left.plot(counts, [mean(count, name) for count in counts], style, label=title)
    plain = np.mean([stored("cross_entropy")[setting] for setting in TWELVE])
    left.axhline(plain, color="grey", linestyle=":", label="cross-entropy, none checked")
    for name, title, style in (("width", "with predictions", "o-"), ("exact_width", "exact", "s--")):
        right.plot(counts, [mean(count, name) for count in counts], style, label=title)
    left.set_ylabel("test accuracy, %")
    right.set_ylabel("interval of the noise rate, points")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("checked rows of 1,000")
        axes.legend(fontsize=9, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(image, dpi=110)
