"""Tables of the suites of pretrained encoders: fine-tuned ones, purify-images and audit-images."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.reporting import RESULTS, Cells, mean_of, percent, read_cells, spread_of, table
from benchmarks.suites import SUITES
from benchmarks.systems import METHODS

TEXTS = "text-tuned-small"
IMAGES = "vision-tuned-small"
TUNED = {"text_tuned": TEXTS, "vision_tuned": IMAGES}  # suite by block


def not_run(suite: str) -> str:
    return f"Not run yet: `python -m benchmarks.run --suite {suite}`."


def cells_of(suite: str) -> Cells:
    path = RESULTS / f"cells_{suite}.jsonl"
    return read_cells(path) if path.is_file() else {}


def values(cells: Cells, setting: str, method: str, key: str = "test_accuracy_last") -> list[Any]:
    return [cell[key] for (name, _, of), cell in sorted(cells.items()) if (name, of) == (setting, method)]


def title_of(method: str) -> str:
    """Its name in a table, with the marks of those that see true labels or were tuned on the sets."""
    return METHODS[method].title + (
        " †" if METHODS[method].uses_clean_labels else " ‡" if method in ("auto", "dygen") else ""
    )


def board(cells: Cells, settings: list[str], methods: list[str]) -> str:
    """One row a method, one column a setting, and the mean of the methods that have all of them."""
    rows = []
    for method in methods:
        found = [values(cells, name, method) for name in settings]
        if not any(found):
            continue
        mean = percent(float(np.mean([np.mean(of) for of in found]))) if all(found) else ""
        rows.append([title_of(method), *(spread_of(of) for of in found), mean])
    return table(["test accuracy, %", *settings, "mean"], rows)


def uses_bfloat16(name: str) -> bool:
    return any(options.get("bf16") for options in SUITES[name].budget.options.values())


def note(name: str) -> str:
    """The command, the budget, and how many cells there are."""
    cells, suite = cells_of(name), SUITES[name]
    wanted = sum(len(setting.methods) for setting in suite.settings) * len(suite.seeds)
    seeds = Counter((setting, method) for setting, _, method in cells).values()
    budget = suite.budget
    network = budget.encoder or f"MiniLM, {budget.max_length} tokens"
    whole = sum(cell["machine"].get("bfloat16") is False for cell in cells.values()) if uses_bfloat16(name) else 0
    precise = f", {whole} in float32 on a CPU without bfloat16" if whole else ""
    few = f"{min(seeds)} to {max(seeds)} seeds" if min(seeds) < max(seeds) else f"seeds: {max(seeds)}"
    return (
        f"`python -m benchmarks.run --suite {name}`: {network}, {budget.train_rows:,} rows, {budget.epochs} epochs, "
        f"{budget.test_rows:,} test rows, {few}; {len(cells)} of {wanted} cells{precise}."
    )


def fine_tuned(name: str) -> str:
    """Given and clean labels, as far as cells are there."""
    cells, suite = cells_of(name), SUITES[name]
    if not cells:
        return not_run(name)
    stored = {of for _, _, of in cells}
    methods = [method for method in METHODS if method in stored]
    parts = []
    for clean in (False, True):
        settings = [setting.name for setting in suite.settings if (setting.noise == "clean") == clean]
        if settings := [one for one in settings if any(setting == one for setting, _, _ in cells)]:
            parts.append(board(cells, settings, methods))
    return "\n\n".join([*parts, note(name)])


def dygen_stages() -> str:
    """What DyGEN's networks, its prior and all of it predict, and what becomes of the labels."""
    columns: dict[str, Callable[[dict[str, Any], dict[str, Any]], float]] = {
        "cross-entropy": lambda plain, own: plain["test_accuracy_last"],
        "stage I": lambda plain, own: own["details"]["stage1_accuracy"],
        "prior": lambda plain, own: own["details"]["prior_accuracy"],
        "DyGEN": lambda plain, own: own["test_accuracy_last"],
        "wrong labels": lambda plain, own: own["noise_rate"],
        "wrong after": lambda plain, own: 1 - own["details"]["train_label_accuracy"],
        "estimated wrong": lambda plain, own: own["details"]["noise_rate_estimated"],
        "ECE cross-entropy": lambda plain, own: plain["ece"],
        "ECE DyGEN": lambda plain, own: own["ece"],
    }
    rows = []
    for suite in TUNED.values():
        cells = cells_of(suite)
        for name in (setting.name for setting in SUITES[suite].settings):
            methods = ("cross_entropy", "dygen")
            seeds = [seed for seed in SUITES[suite].seeds if all((name, seed, of) in cells for of in methods)]
            pairs = [[cells[name, seed, of] for of in methods] for seed in seeds]
            if pairs:
                shown = (mean_of([read(*pair) for pair in pairs]) for read in columns.values())
                rows.append([name, str(len(pairs)), *shown])
    return table(["test accuracy and shares, %", "seeds", *columns], rows) if rows else not_run(TEXTS)


def purified_images() -> str:
    """DMLP on features of a pretrained encoder of images."""
    from benchmarks.reporting.studies import PURIFIED

    cells = cells_of("purify-images")
    columns = PURIFIED | {"test, true labels": "probe"}
    names = [s.name for s in SUITES["purify-images"].settings if values(cells, s.name, "dmlp", "dmlp")]
    if not names:
        return not_run("purify-images")
    rows = [[name, *(mean_of(values(cells, name, "dmlp", key), 4) for key in columns.values())] for name in names]
    return table(["EfficientNet-lite0, mean, %", *columns], rows)


def audited_images() -> str:
    """How well an audit finds the wrong labels of images."""
    cells = cells_of("audit-images")
    names = [s.name for s in SUITES["audit-images"].settings if values(cells, s.name, "audit", "auprc")]
    if not names:
        return not_run("audit-images")
    rows = []
    for name in names:
        auprc = values(cells, name, "audit", "auprc")
        means = [f"{np.mean([of[side] for of in auprc]):.3f}" for side in ("hf_noisy", "cleanlab", "data map")]
        rates = np.mean(values(cells, name, "audit", "noise_rate_estimated"), axis=0)
        wrong = mean_of(values(cells, name, "audit", "noise_rate"))
        rows.append([name, *means, wrong, percent(rates[0]), f"{percent(rates[1])} to {percent(rates[2])}"])
    header = ["AUPRC of wrong labels", "audit", "cleanlab, self-confidence", "data map"]
    return table([*header, "wrong, %", "estimated, %", "interval"], rows)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    tables = {block: fine_tuned(suite) for block, suite in TUNED.items()}
    more = {"purify_images": purified_images(), "audit_images": audited_images()}
    return tables | more | {"dygen_tuned": dygen_stages()}
