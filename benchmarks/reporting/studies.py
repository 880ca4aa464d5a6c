"""Tables of the studies beside the leaderboard, from their cells: DyGEN and its parts, images, text views, DMLP."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import RESULTS, Cells, mean_of, percent, read_cells, spread_of, table
from benchmarks.suites import SUITES

Found = list[dict[str, Any]]  # cells of one setting and method, by seed
CURVES = (
    ("cross-entropy", "1 network", "network", "o:"),
    ("stage I", "2 branches", "network", "s--"),
    ("prior", "2 branches", "prior", "^--"),
    ("DyGEN", "2 branches", "posterior", "D-"),
    ("DyGEN, told the rate", "2 branches", "posterior_known_rate", "x-"),
)


def cells_of(suite: str) -> Cells:
    return read_cells(RESULTS / f"cells_{suite}.jsonl")


def select(cells: Cells, setting: str, method: str) -> Found:
    return [cell for (name, _, of), cell in sorted(cells.items()) if (name, of) == (setting, method)]


def by_setting(suite: str, method: str) -> dict[str, Found]:
    """Cells of a method in each setting of a suite that has any."""
    cells = cells_of(suite)
    found = {setting.name: select(cells, setting.name, method) for setting in SUITES[suite].settings}
    return {name: of for name, of in found.items() if of}


def read(found: Found, *keys: str) -> list[float]:
    """One figure of each cell."""
    values: list[Any] = found
    for key in keys:
        values = [value[key] for value in values]
    return values


def told(suite: str) -> str:
    """The command of a suite, and what it chose by."""
    (protocol,) = {cell["selected_by"] for cell in cells_of(suite).values()}
    return f"`python -m benchmarks.run --suite {suite}`; {protocol}"


def versions_of(suite: str) -> str:
    found = next(iter(cells_of(suite).values()))["versions"]
    return ", ".join(f"{name} {version}" for name, version in found.items())


# DyGEN on text


def dygen() -> str:
    columns = ["test_accuracy_ce", "test_accuracy_stage1", "test_accuracy_prior", "test_accuracy"]
    found = by_setting("dygen", "dygen")
    rows = [
        [name, mean_of(read(of, "noise_rate_true"), 4), *(spread_of(read(of, column), 4) for column in columns)]
        for name, of in found.items()
    ]
    means = [mean_of([round(np.mean(read(of, column)), 4) for of in found.values()], 4) for column in columns]
    rows.append(["**average**", "", *(f"**{value}**" for value in means)])
    return table(["test accuracy, %", "wrong labels, %", "cross-entropy", "stage I", "prior", "DyGEN"], rows)


def dygen_details() -> str:
    columns = {
        "noise": "noise_rate_true",
        "estimated": "noise_rate_estimated",
        "labels right before": "train_label_accuracy_before",
        "after": "train_label_accuracy_after",
        "ECE cross-entropy": "test_ece_ce",
        "ECE stage I": "test_ece_stage1",
        "ECE DyGEN": "test_ece",
    }
    rows = [
        [name, *(mean_of(read(of, key), 4) for key in columns.values())]
        for name, of in by_setting("dygen", "dygen").items()
    ]
    return table(["mean of seeds, %", *columns], rows)


def published_prior() -> str:
    columns = {
        "given labels right, %": ("label_accuracy_given",),
        "published prior right, %": ("paper", "prior_label_accuracy"),
        "evidence prior right, %": ("evidence", "prior_label_accuracy"),
        "classes lost by the published prior": ("paper", "classes_with_under_10_percent_of_their_rows"),
        "test, published, %": ("paper", "test_accuracy"),
        "test, evidence, %": ("evidence", "test_accuracy"),
    }
    rows = []
    for name, of in by_setting("dygen", "dygen").items():
        values = {header: read(of, "priors", *keys) for header, keys in columns.items()}
        shown = [f"{np.mean(v):.1f}" if "lost" in header else mean_of(v) for header, v in values.items()]
        rows.append([name, *shown])
    return table(["", *columns], rows)


def auroc() -> str:
    names = {
        "1-p": "1 - probability",
        "mean": "mean distance",
        "deviation": "deviation",
        "both": "mean + deviation",
        "evidence": "evidence",
    }
    rows = [
        [name, *(f"{np.mean(read(of, 'priors', 'auroc_of_wrong', key)):.2f}" for key in names)]
        for name, of in by_setting("dygen", "dygen").items()
    ]
    return table(["", *names.values()], rows)


def reach() -> str:
    rows = []
    for name, of in by_setting("dygen", "dygen").items():
        last = [epochs[-1] for epochs in read(of, "priors", "agreement_by_epoch")]
        rows.append([name, mean_of(last), mean_of(read(of, "priors", "pretrained_features_with_true_labels"))])
    return table(["", "agrees with the given label, %", "features and true labels, test accuracy, %"], rows)


# Every method on images, and views of text


def robust(suite: str) -> str:
    from benchmarks.robust import METHODS

    cells, settings = cells_of(suite), SUITES[suite].settings

    def shown(setting: str, method: str) -> str:
        values = read(select(cells, setting, method), "test_accuracy_last")
        return spread_of(values) + (" (1 seed)" if len(values) == 1 else "")

    rows = [[method, *(shown(setting.name, method) for setting in settings)] for method in METHODS]
    rows = [row for row in rows if any(row[1:])]
    noise = [mean_of(read(select(cells, setting.name, "cross_entropy"), "noise_rate")) for setting in settings]
    header = [f"{setting.noise}, {rate} % wrong" for setting, rate in zip(settings, noise, strict=True)]
    changed = {cell["method"]: " ".join(cell["method_args"]) for cell in cells.values() if cell["method_args"]}
    changes = ", ".join(f"`{name}` with `{words}`" for name, words in changed.items())
    return table(["test accuracy, %", *header], rows) + f"\n\n{told(suite)}; {changes}."


def robust_short() -> str:
    """Cross-entropy and the three methods that every setting was asked of."""
    names = {"cross_entropy": "cross-entropy", "dal": "DAL", "nrd": "NRD", "nct": "NCT"}
    cells = cells_of("robust-cifar10")
    rows = [
        [setting.noise, *(mean_of(read(select(cells, setting.name, name), "test_accuracy_last")) for name in names)]
        for setting in SUITES["robust-cifar10"].settings
    ]
    return table(["test accuracy, %, last epoch", *names.values()], rows)


def text_views() -> str:
    from benchmarks.text_views import METHODS

    cells = cells_of("text-views")
    rows = [
        [setting.name, *(spread_of(read(select(cells, setting.name, name), "test_accuracy")) for name in METHODS)]
        for setting in SUITES["text-views"].settings
    ]
    return table(["test accuracy, %", *METHODS], rows) + f"\n\n{told('text-views')}."


# DMLP

PURIFIED = {
    "given labels right": "given",
    "ridge on clean rows": "ridge",
    "DMLP": "dmlp",
    "test, given labels": "retrained_given",
    "test, DMLP's": "retrained_dmlp",
}


def purified(names: list[str] | None = None, columns: dict[str, str] = PURIFIED) -> tuple[list[str], list[list[str]]]:
    """Header and rows of some settings, or of all."""
    found = by_setting("purify", "dmlp")
    rows = [[name, *(mean_of(read(found[name], key), 4) for key in columns.values())] for name in names or found]
    return ["mean of 3 seeds, %", *columns], rows


def dmlp() -> str:
    variants = {
        "DMLP": "dmlp",
        "without `clean_given`": "dmlp_without_clean_given",
        '`clean="trusted"`': "dmlp_trusted",
        "`paper_exact`": "dmlp_paper_exact",
    }
    others = [
        [name, *(percent(of[0][key]) for key in variants.values())]
        for name, of in by_setting("purify", "dmlp").items()
        if "dmlp_trusted" in of[0]
    ]
    whole = table(*purified(columns=PURIFIED | {"test, true labels": "probe"}))
    return whole + "\n\n" + table(["labels right, seed 0, %", *variants], others)


def dmlp_short() -> str:
    return table(*purified(["trec rules", "noisyag_news human", "20news symmetric 50 %", "trec asymmetric 40 %"]))


# What each part of DyGEN adds


def ablation_table(
    title: str, columns: dict[str, tuple[str, tuple[str, ...]]], keep: Callable[[str], bool] = lambda name: True
) -> tuple[list[str], list[list[str]]]:
    """One row a setting; a column is the figure of a method."""
    cells = cells_of("ablations")
    rows = []
    for name in sorted({setting for setting, _, _ in cells}):
        if keep(name):
            rows.append([name, *(spread_of(read(select(cells, name, m), *key)) for m, key in columns.values())])
    return [title, *columns], rows


def is_large(name: str) -> bool:
    return name in {s.name for s in SUITES["ablations"].settings if (s.noise_rate or 0.0) >= 0.5}


def ablation_parts() -> str:
    """Table 3: what is switched on."""
    variants = [
        (title, method, ("accuracy", variant))
        for method, network, whole in (("1 network", "one network", "+ both"), ("2 branches", "stage I", "DyGEN"))
        for title, variant in (
            (network, "network"),
            ("+ prior", "prior"),
            ("+ stage II without prior", "posterior_without_prior"),
            (whole, "posterior"),
        )
    ]
    cells = cells_of("ablations")
    columns = {f"{number}": (method, keys) for number, (_, method, keys) in enumerate(variants)}
    _, rows = ablation_table("", columns, lambda name: not is_large(name))
    average = [
        float(np.mean([np.mean(read(select(cells, row[0], method), *keys)) for row in rows]))
        for _, method, keys in variants
    ]
    rows.append(["**average**", *(f"**{percent(value)}**" for value in average)])
    return table(["test accuracy, %", *(title for title, _, _ in variants)], rows)


def ablation_calibration() -> str:
    """Figure 4: expected calibration error."""
    return table(*ablation_table("ECE, %", {title: (m, ("ece", v)) for title, m, v, _ in CURVES[:4]}))


def ablation_labels() -> str:
    """Figure 5: prior against posterior on the training rows."""
    columns = {f"{kind} labels right": ("train_labels", kind) for kind in ("given", "prior", "posterior")}
    columns |= {"noise rate": ("noise_rate", "measured"), "estimated": ("noise_rate", "estimated")}
    return table(*ablation_table("%", {title: ("2 branches", keys) for title, keys in columns.items()}))


def ablation_detection() -> str:
    """Figure 6: what tells wrong labels from right ones."""
    kinds = ("confidence, last epoch", "AUM", "Cartography", "distance, mean and deviation", "evidence")
    columns = {kind: ("2 branches", ("auroc", kind)) for kind in kinds}
    return table(*ablation_table("area under the ROC curve, %", columns))


def ablation_large() -> str:
    """Figure 7: large noise."""
    columns = {title: (method, ("accuracy", variant)) for title, method, variant, _ in CURVES}
    return table(*ablation_table("test accuracy, %", columns, is_large))


def ablation_swept() -> str:
    """Figure 8: number of branches, learning rate."""
    from benchmarks.ablations import METHODS

    cells = cells_of("ablations")
    chosen = [name for name in sorted({setting for setting, _, _ in cells}) if select(cells, name, "4 branches")]
    parts = {"stage I": "network", "DyGEN": "posterior"}
    rows = [
        [
            method,
            *(spread_of(read(select(cells, n, method), "accuracy", part)) for n in chosen for part in parts.values()),
        ]
        for method in METHODS
    ]
    return table(["test accuracy, %", *(f"{name}: {part}" for name in chosen for part in parts)], rows)


def ablation_note() -> str:
    cells, budget = cells_of("ablations"), SUITES["ablations"].budget
    seeds = ", ".join(map(str, sorted({seed for _, seed, _ in cells})))
    return (
        f"`python -m benchmarks.run --suite ablations`: {len(cells)} trainings, seeds {seeds}; {budget.train_rows} "
        f"rows, {budget.epochs} epochs; last epoch; no true label was used, but for the rate in the column that says "
        "so; mean and deviation over seeds."
    )


def blocks() -> dict[str, str]:
    """What stands between the markers of a document, by marker."""
    parts = (ablation_parts, ablation_calibration, ablation_labels, ablation_detection, ablation_large, ablation_swept)
    return {
        "results": dygen(),
        "dygen_text": dygen() + "\n\n" + dygen_details(),
        "command": f"{told('dygen')}; {versions_of('dygen')}",
        "published": published_prior(),
        "auroc": auroc(),
        "reach": reach(),
        "robust": robust_short(),
        "robust_cifar10": robust("robust-cifar10"),
        "robust_digits": robust("robust-digits"),
        "text_views": text_views(),
        "dmlp": dmlp(),
        "dmlp_short": dmlp_short(),
        "ablation_note": ablation_note(),
        **{part.__name__: part() for part in parts},
    }


def draw_large_noise(image: Path) -> None:
    """Figure 7 of DyGEN: accuracy by the share of wrong labels."""
    import matplotlib.pyplot as plt

    cells, rates = cells_of("ablations"), (40, 50, 60, 70)
    figure, axes = plt.subplots(figsize=(6, 4))
    for title, method, variant, style in CURVES:
        found = [select(cells, f"20news symmetric {rate} %", method) for rate in rates]
        values = [[100 * cell["accuracy"].get(variant, np.nan) for cell in of] for of in found]
        spread = [np.std(of, ddof=1) for of in values]
        axes.errorbar(rates, np.mean(values, axis=1), spread, fmt=style, label=title, capsize=3)
    axes.set_xticks(rates)
    axes.set_xlabel("wrong labels, % (20 newsgroups, symmetric)")
    axes.set_ylabel("test accuracy, %")
    axes.legend(fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(image, dpi=110)
