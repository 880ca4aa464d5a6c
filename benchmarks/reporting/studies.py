"""Tables of the studies outside the leaderboard: DyGEN and its parts, images, text views, DMLP."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import RESULTS, Cells, load, mean_of, percent, read_cells, spread_of, table
from benchmarks.suites import SUITES, SWEPT, SYSTEMS

Show = Callable[[list[Any], str], str]  # from the figures of all seeds, and their key
Found = list[dict[str, Any]]  # cells of one setting and method, by seed
CURVES = (
    ("cross-entropy", "1 network", "network", "o:"),
    ("stage I", "2 branches", "network", "s--"),
    ("prior", "2 branches", "prior", "^--"),
    ("DyGEN", "2 branches", "posterior", "D-"),
    ("DyGEN, true rate given", "2 branches", "posterior_known_rate", "x-"),
)


def cells_of(suite: str) -> Cells:
    return read_cells(RESULTS / f"cells_{suite}.jsonl")


def select(cells: Cells, setting: str, method: str) -> Found:
    return [cell for (name, _, of), cell in sorted(cells.items()) if (name, of) == (setting, method)]


def by_setting(suite: str, method: str) -> dict[str, Found]:
    """Cells of a method by setting, without empty settings."""
    cells = cells_of(suite)
    found = {setting.name: select(cells, setting.name, method) for setting in SUITES[suite].settings}
    return {name: of for name, of in found.items() if of}


def read(found: Found, *keys: str) -> list[float]:
    """One figure of each cell."""
    values: list[Any] = found
    for key in keys:
        values = [value[key] for value in values]
    return values


def protocol_of(suite: str) -> str:
    """The command of a suite, and how the model was selected."""
    cells = cells_of(suite).values()
    (protocol,) = {cell["selected_by"] for cell in cells if cell["method"] != "early_stopping"}
    return f"`python -m benchmarks.run --suite {suite}`; {protocol}"


def versions_of(suite: str) -> str:
    first = next(iter(cells_of(suite).values()))
    return ", ".join(f"{name} {version}" for name, version in first["versions"].items())


def by_figure(suite: str, method: str, title: str, columns: dict[str, str], show: Show) -> str:
    """A row per setting, a column per figure of one method."""
    rows = [
        [name, *(show(read(found, *keys.split("/")), keys) for keys in columns.values())]
        for name, found in by_setting(suite, method).items()
    ]
    return table([title, *columns], rows)


# DyGEN on text

PRIORS = {
    "given labels right, %": "priors/label_accuracy_given",
    "published prior right, %": "priors/paper/prior_label_accuracy",
    "evidence prior right, %": "priors/evidence/prior_label_accuracy",
    "classes lost by the published prior": "priors/paper/classes_with_under_10_percent_of_their_rows",
    "test, published, %": "priors/paper/test_accuracy",
    "test, evidence, %": "priors/evidence/test_accuracy",
}
AUROC = {
    "1 - probability": "priors/auroc_of_wrong/1-p",
    "mean distance": "priors/auroc_of_wrong/mean",
    "deviation": "priors/auroc_of_wrong/deviation",
    "mean + deviation": "priors/auroc_of_wrong/both",
    "evidence": "priors/auroc_of_wrong/evidence",
}
REACH = {
    "agrees with the given label, %": "priors/agreement_by_epoch",
    "features and true labels, test accuracy, %": "priors/pretrained_features_with_true_labels",
}


def shown_prior(values: list[Any], keys: str) -> str:
    """A share in percent, of the last epoch if given by epoch; a number of classes unchanged."""
    if keys.endswith("by_epoch"):
        return mean_of([by_epoch[-1] for by_epoch in values])
    return f"{np.mean(values):.1f}" if "classes" in keys else mean_of(values)


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
    return table(["test accuracy, %", *header], rows) + f"\n\n{protocol_of(suite)}; {changes}."


def systems() -> str:
    """The systems of the papers beside cross-entropy, and why some are not above it."""
    from benchmarks.systems import METHODS, WHY_NOT

    shown = {name: METHODS[name] for name in SYSTEMS}
    cells = cells_of("systems")
    measured = [setting for setting in SUITES["systems"].settings if select(cells, setting.name, "cross_entropy")]
    settings = [setting for setting in measured if setting.noise_rate]
    found = {
        (method, setting.name): read(select(cells, setting.name, method), "test_accuracy_last")
        for method in shown
        for setting in settings
    }
    rows = [
        [competitor.title, *(_with_seeds(found[method, setting.name]) for setting in settings)]
        for method, competitor in shown.items()
    ]
    notes = []
    for method, competitor in shown.items():
        lost = {
            setting.name: _lost(found["cross_entropy", setting.name], found[method, setting.name])
            for setting in settings
        }
        points = [f"{100 * by:.1f} on {name}" for name, by in lost.items() if by > 0]
        if points:
            notes.append(f"- {competitor.title}: points below cross-entropy: {', '.join(points)}; {WHY_NOT[method]}.")
    header = ["test accuracy, %, last epoch", *(setting.name for setting in settings)]
    parts = [table(header, rows), "\n".join(notes)]
    if clean := [setting.name for setting in measured if not setting.noise_rate]:
        parts.append(systems_on_clean_labels(clean))
    return "\n\n".join([*parts, f"{protocol_of('systems')}."])


def systems_on_clean_labels(names: list[str]) -> str:
    """What the systems lose where no label is wrong."""
    from benchmarks.systems import METHODS

    cells = cells_of("systems")
    rows = []
    for method in ("early_stopping", *SYSTEMS[1:]):
        found = [read(select(cells, name, method), "test_accuracy_last") for name in names]
        plain = [read(select(cells, name, "cross_entropy"), "test_accuracy_last") for name in names]
        points = [f"{-100 * _lost(base, of):+.1f}" if of else "" for base, of in zip(plain, found, strict=True)]
        if any(points):
            rows.append([METHODS[method].title, *points])
    return table(["points from cross-entropy", *names], rows)


def _lost(baseline: list[float], values: list[float]) -> float:
    """By how much a method is below the baseline, on the first seeds that both have."""
    both = min(len(baseline), len(values))
    return round(float(np.mean(baseline[:both]) - np.mean(values[:both])), 9) if both else 0.0


def _with_seeds(values: list[float]) -> str:
    if not values:
        return ""
    return spread_of(values) + (f" ({len(values)} seed{'s' * (len(values) > 1)})" if len(values) < 3 else "")


def text_views() -> str:
    from benchmarks.text_views import METHODS

    cells = cells_of("text-views")
    rows = [
        [setting.name, *(spread_of(read(select(cells, setting.name, name), "test_accuracy")) for name in METHODS)]
        for setting in SUITES["text-views"].settings
    ]
    return table(["test accuracy, %", *METHODS], rows) + f"\n\n{protocol_of('text-views')}."


# DMLP

PURIFIED = {
    "given labels right": "given",
    "ridge on clean rows": "ridge",
    "DMLP": "dmlp",
    "test, given labels": "retrained_given",
    "test, DMLP's": "retrained_dmlp",
}


def purified(names: list[str] | None = None, columns: dict[str, str] = PURIFIED) -> tuple[list[str], list[list[str]]]:
    """Header and rows, by default of all settings."""
    found = by_setting("purify", "dmlp")
    rows = [[name, *(mean_of(read(found[name], key), 4) for key in columns.values())] for name in names or found]
    return ["mean of 3 seeds, %", *columns], rows


def purified_by_evidence() -> str:
    """Label accuracy by `purify`, constants chosen without the set: injected noise, and real noise that it changes."""
    shown = load("leave_one_out_purify")["shown"]
    real = {name: of for name, of in shown.items() if name.endswith(("rules", "human", "distant", "language model"))}
    names = [
        *("20news symmetric 40 %", "20news asymmetric 40 %", "digits symmetric 40 %", "mr_chatgpt symmetric 10 %"),
        *(name for name, of in real.items() if of["changed"] >= 0.1),
    ]
    rows = [
        [name, *(f"{shown[name][key]:.1f}" for key in ("given", "purified", "changed", "changed and right"))]
        for name in names
    ]
    same = ", ".join(name for name in real if name not in names)
    return table(["% of the rows", "given right", "purified right", "changed", "changed and right"], rows) + (
        f"\n\nUnchanged: {same}, and the right labels of {sum(name.endswith('clean') for name in shown)} sets. "
        "Measured with `min_confidence=0.5`; the default, 0.65, changes fewer."
    )


def dmlp_variants() -> str:
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
    return table(["labels right, seed 0, %", *variants], others)


# What each part of DyGEN adds

ONE, TWO, PUBLISHED = "1 network", "2 branches", "2 branches, published prior"
STAGES = {
    "network": "",
    "prior": "+ prior",
    "posterior_without_prior": "+ stage II without prior",
    "posterior": "+ both",
}
DETECTORS = ("confidence, last epoch", "AUM", "Cartography", "distance, mean and deviation", "evidence")
Column = tuple[str, str, tuple[str, ...]]  # title, method, and the figure of its cells
# By marker, after the paper: what is switched on (Table 3), calibration (Figure 4), labels of the training rows
# (Figure 5), detection of wrong labels (Figure 6), large noise (Figure 7).
ABLATIONS: dict[str, tuple[str, list[Column]]] = {
    "ablation_parts": (
        "test accuracy, %",
        [("one network" if of == "network" else title, ONE, ("accuracy", of)) for of, title in STAGES.items()]
        + [
            ({"network": "stage I", "posterior": "DyGEN"}.get(of, title), TWO, ("accuracy", of))
            for of, title in STAGES.items()
        ],
    ),
    "ablation_calibration": ("ECE, %", [(title, method, ("ece", of)) for title, method, of, _ in CURVES[:4]]),
    "ablation_labels": (
        "%",
        [(f"{of} labels right", TWO, ("train_labels", of)) for of in ("given", "prior", "posterior")]
        + [("noise rate", TWO, ("noise_rate", "measured")), ("estimated", TWO, ("noise_rate", "estimated"))],
    ),
    "ablation_detection": ("area under the ROC curve, %", [(of, TWO, ("auroc", of)) for of in DETECTORS]),
    "ablation_priors": (
        "%, the rate being known",
        [
            (f"{kind}, {title}", PUBLISHED, (key, by))
            for kind, key in (("prior right", "train_labels"), ("test accuracy", "accuracy"))
            for by, title in (("distance", "distance"), ("aum", "AUM"), ("data_map", "data maps"))
        ],
    ),
    "ablation_large": ("test accuracy, %", [(title, method, ("accuracy", of)) for title, method, of, _ in CURVES]),
}


def ablations() -> dict[str, str]:
    cells, made = cells_of("ablations"), {}
    large = {s.name: (s.noise_rate or 0.0) >= 0.5 for s in SUITES["ablations"].settings}
    for marker, (title, columns) in ABLATIONS.items():
        kept = {"ablation_parts": [False], "ablation_priors": [False], "ablation_large": [True]}.get(
            marker, [False, True]
        )
        names = [name for name in sorted(large) if large[name] in kept]
        figures = [[read(select(cells, name, method), *keys) for name in names] for _, method, keys in columns]
        rows = [[name, *(spread_of(column[i]) for column in figures)] for i, name in enumerate(names)]
        if marker == "ablation_parts":
            average = [float(np.mean([np.mean(values) for values in column])) for column in figures]
            rows.append(["**average**", *(f"**{percent(value)}**" for value in average)])
        made[marker] = table([title, *(header for header, _, _ in columns)], rows)
    return made


def wrong_in_lists() -> str:
    """Average precision of wrong tags and cells, and the estimated noise rate."""
    lines = []
    for name, one in load("wrong_in_lists").items():
        rate, low, high = map(percent, one["noise_rate"])
        best = max(one["cleanlab"].values())
        shown = [f"{one['hf_noisy']:.3f}", f"{best:.3f}", percent(one["wrong"]), f"{rate} [{low}, {high}]"]
        lines.append([f"{name} ({one['units']:,})", *shown])
    return table(["data", "ours", "cleanlab's best score", "wrong, %", "estimated, %"], lines)


def ablation_swept() -> str:
    """Figure 8: number of branches, learning rate."""
    from benchmarks.ablations import METHODS

    cells, parts = cells_of("ablations"), {"stage I": "network", "DyGEN": "posterior"}
    chosen = [(name, title) for name in sorted(SWEPT) for title in parts]
    rows = [
        [method, *(spread_of(read(select(cells, n, method), "accuracy", parts[title])) for n, title in chosen)]
        for method in METHODS
        if method != PUBLISHED
    ]
    return table(["test accuracy, %", *(f"{name}: {title}" for name, title in chosen)], rows)


def ablation_note() -> str:
    cells, budget = cells_of("ablations"), SUITES["ablations"].budget
    seeds = ", ".join(map(str, sorted({seed for _, seed, _ in cells})))
    return (
        f"`python -m benchmarks.run --suite ablations`: {len(cells)} trainings, seeds {seeds}; {budget.train_rows} "
        f"rows, {budget.epochs} epochs; last epoch; only the column that says so uses the true rate; mean "
        "and standard deviation over seeds."
    )


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    from benchmarks import many_labels, tokens

    return {
        "command": f"{protocol_of('dygen')}; {versions_of('dygen')}",
        "published": by_figure("dygen", "dygen", "", PRIORS, shown_prior),
        "auroc": by_figure("dygen", "dygen", "", AUROC, lambda values, _: f"{np.mean(values):.2f}"),
        "reach": by_figure("dygen", "dygen", "", REACH, shown_prior),
        "robust_cifar10": robust("robust-cifar10"),
        "robust_digits": robust("robust-digits"),
        "systems": systems(),
        "text_views": text_views(),
        "tokens": tokens.table(),
        "tokens_short": tokens.table(only="cross_entropy"),
        "wrong_in_lists": wrong_in_lists(),
        "many_labels": many_labels.table().strip(),
        "dmlp": table(*purified(columns=PURIFIED | {"test, true labels": "probe"})),
        "dmlp_variants": dmlp_variants(),
        "purified_by_evidence": purified_by_evidence(),
        "ablation_note": ablation_note(),
        "ablation_swept": ablation_swept(),
        **ablations(),
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
