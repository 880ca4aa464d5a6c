"""Tables of benchmarks/results/ablations.json for docs/ablations.md."""

from collections.abc import Callable

import numpy as np

from benchmarks.reporting.markdown import table

Cells = dict[str, dict]


def select(cells: Cells, name: str, branches: int, rate: float = 1e-3) -> list[dict]:
    """Cells of a setting, one a seed."""
    return [cell for key, cell in cells.items() if key.rsplit("/", 1)[0] == f"{name}/{branches}/{rate}"]


def value(found: list[dict], read: Callable[[dict], float]) -> str:
    if not found:
        return ""
    values = 100 * np.array([read(cell) for cell in found])
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def names(cells: Cells) -> list[str]:
    return list(dict.fromkeys(key.split("/")[0] for key in sorted(cells)))


def is_large(name: str) -> bool:
    return any(f"symmetric {rate} %" in name for rate in (50, 60, 70))


def parts(cells: Cells) -> str:
    """Table 3: what is switched on."""
    variants = [
        ("one network", 1, "network"),
        ("+ prior", 1, "prior"),
        ("+ stage II without prior", 1, "posterior_without_prior"),
        ("+ both", 1, "posterior"),
        ("stage I", 2, "network"),
        ("+ prior", 2, "prior"),
        ("+ stage II without prior", 2, "posterior_without_prior"),
        ("DyGEN", 2, "posterior"),
    ]
    chosen = [name for name in names(cells) if not is_large(name)]
    rows = [
        [name, *(value(select(cells, name, b), lambda cell, v=v: cell["accuracy"][v]) for _, b, v in variants)]
        for name in chosen
    ]
    average = ["**average**"]
    for _, branches, variant in variants:
        means = [
            np.mean([c["accuracy"][variant] for c in found]) for n in chosen if (found := select(cells, n, branches))
        ]
        average.append(f"**{100 * np.mean(means):.1f}**")
    return table(["test accuracy, %", *(title for title, _, _ in variants)], [*rows, average])


def calibration(cells: Cells) -> str:
    """Figure 4: expected calibration error."""
    variants = [("cross-entropy", 1, "network"), ("stage I", 2, "network"), ("prior", 2, "prior"),
                ("DyGEN", 2, "posterior")]  # fmt: skip
    rows = [
        [name, *(value(select(cells, name, b), lambda cell, v=v: cell["ece"][v]) for _, b, v in variants)]
        for name in names(cells)
    ]
    return table(["ECE, %", *(title for title, _, _ in variants)], rows)


def training_labels(cells: Cells) -> str:
    """Figure 5: prior against posterior on the training rows."""
    kinds = ["given", "prior", "posterior"]
    rows = []
    for name in names(cells):
        found = select(cells, name, 2)
        right = [value(found, lambda cell, k=k: cell["train_labels"][k]) for k in kinds]
        rates = [value(found, lambda cell, k=k: cell["noise_rate"][k]) for k in ("measured", "estimated")]
        rows.append([name, *right, *rates])
    return table(["%", *(f"{kind} labels right" for kind in kinds), "noise rate", "estimated"], rows)


def detection(cells: Cells) -> str:
    """Figure 6: what tells wrong labels from right ones."""
    kinds = list(next(cell["auroc"] for cell in cells.values() if cell["auroc"]))
    rows = [
        [name, *(value(select(cells, name, 2), lambda cell, k=k: cell["auroc"][k]) for k in kinds)]
        for name in names(cells)
    ]
    return table(["area under the ROC curve, %", *kinds], rows)


def large(cells: Cells) -> str:
    """Figure 7: large noise."""
    variants = [("cross-entropy", 1, "network"), ("stage I", 2, "network"), ("prior", 2, "prior"),
                ("DyGEN", 2, "posterior"), ("DyGEN, told the rate", 2, "posterior_known_rate")]  # fmt: skip
    chosen = [name for name in names(cells) if is_large(name)]
    rows = [
        [name, *(value(select(cells, name, b), lambda cell, v=v: cell["accuracy"][v]) for _, b, v in variants)]
        for name in chosen
    ]
    return table(["test accuracy, %", *(title for title, _, _ in variants)], rows)


def swept(cells: Cells) -> str:
    """Figure 8: number of branches, learning rate."""
    chosen = [name for name in names(cells) if select(cells, name, 4)]
    settings = [
        ("1 network" if branches == 1 else f"{branches} branches", branches, 1e-3) for branches in (1, 2, 3, 4)
    ]
    settings += [(f"2 branches, learning rate {rate:g}", 2, rate) for rate in (3e-4, 3e-3)]
    rows = []
    for title, branches, rate in settings:
        row = [title]
        for name in chosen:
            found = select(cells, name, branches, rate)
            row += [value(found, lambda cell, v=v: cell["accuracy"][v]) for v in ("network", "posterior")]
        rows.append(row)
    header = [f"{name}: {title}" for name in chosen for title in ("stage I", "DyGEN")]
    return table(["test accuracy, %", *header], rows)


def blocks(data: dict) -> dict[str, str]:
    """By marker."""
    cells, seeds = data["cells"], sorted({int(key.rsplit("/", 1)[1]) for key in data["cells"]})
    budget = data["budget"]
    note = (
        f"`{data['command']}`: {len(cells)} trainings, seeds {', '.join(map(str, seeds))}; "
        f"{budget['train_rows']} rows, {budget['epochs']} epochs; {data['protocol']}; mean and deviation over seeds."
    )
    return {
        "ablation_parts": parts(cells),
        "ablation_calibration": calibration(cells),
        "ablation_labels": training_labels(cells),
        "ablation_detection": detection(cells),
        "ablation_large": large(cells),
        "ablation_swept": swept(cells),
        "ablation_note": note,
    }
