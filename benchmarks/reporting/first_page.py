"""What the fine-tuned texts say to a reader: the table of the first page, which method to choose, checked rows."""

import numpy as np

from benchmarks.reporting import percent, spread_of, table
from benchmarks.reporting.tuned import IMAGES, TEXTS, cells_of, note, title_of
from benchmarks.suites import SUITES
from benchmarks.systems import METHODS

SHORT = ("cross_entropy", "early_stopping", "class_mean", "checked_only", "auto", "auto_checked_100")
_IN_WORDS = {"early_stopping": "early stopping", "class_mean": "class means"}
CHECKED = ("cross_entropy", "auto", "auto_checked_100", "checked_only")


def accuracies(methods: tuple[str, ...], suite: str = TEXTS, clean: bool = False) -> dict[str, list[dict[int, float]]]:
    """Test accuracy by seed, of each method, by setting with given or clean labels, where all methods have cells."""
    settings = (setting.name for setting in SUITES[suite].settings if (setting.noise == "clean") == clean)
    found: dict[str, list[dict[int, float]]] = {name: [{} for _ in methods] for name in settings}
    for (name, seed, method), cell in sorted(cells_of(suite).items()):
        if name in found and method in methods:
            found[name][methods.index(method)][seed] = cell["test_accuracy_last"]
    return {name: of for name, of in found.items() if all(of)}


def short() -> str:
    """One row a method, one column a data set, as on the first page."""
    found = accuracies(SHORT)
    rows = []
    for number, method in enumerate(SHORT):
        means = [float(np.mean(list(of[number].values()))) for of in found.values()]
        rows.append([title_of(method), *(percent(value) for value in (*means, float(np.mean(means))))])
    names = [name.removesuffix(" rules").replace("asymmetric 40 %", "(injected)") for name in found]
    return table(["accuracy, %", *names, "mean"], rows)


def seeds() -> str:
    """How many seeds the rows of the first page are means of."""
    methods: dict[int, list[str]] = {}
    for number, method in enumerate(SHORT):
        fewest = min(len(of[number]) for of in accuracies(SHORT).values())
        methods.setdefault(fewest, []).append(_IN_WORDS.get(method, METHODS[method].title))
    (fewest, _), *more = sorted(methods.items())
    words = [f"{count} seeds for {_listed(*of)}" for count, of in more]
    return "; ".join([f"{fewest} seed{'s' * (fewest > 1)}", *words]) + "."


def _listed(*names: str) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def gains(method: str, suite: str = TEXTS, clean: bool = False, over: str = "cross_entropy") -> dict[str, float]:
    """How far a method is above another one by setting, in points, in pairs of the same seed."""
    found = accuracies((over, method), suite, clean)
    return {
        name: float(np.mean([100 * (ours[seed] - plain[seed]) for seed in shared]))
        for name, (plain, ours) in found.items()
        if (shared := ours.keys() & plain.keys())
    }


def gain() -> str:
    """How far `auto` is above cross-entropy on average and at worst."""
    pairs = gains("auto")
    mean, worst = float(np.mean(list(pairs.values()))), min(pairs, key=lambda setting: pairs[setting])
    return (
        f"`auto` is {_points(mean)} cross-entropy on average of {len(pairs)} sets, "
        f"and {_points(pairs[worst])} at worst ({worst.split()[0]})."
    )


def ahead() -> str:
    """The rows that ask for no more than `auto` and beat it, with the sets."""
    beaten = []
    for rival, title in _IN_WORDS.items():
        sets = [name.split()[0] for name, points in gains(rival, over="auto").items() if points > 0]
        beaten += [f"{title} on {', '.join(sets)}"] if sets else []
    return f"Above it: {'; '.join(beaten)}." if beaten else ""


def _points(value: float) -> str:
    return f"{abs(value):.1f} points {'above' if value >= 0 else 'below'}"


def decision() -> str:
    """Which method to use, in five lines, with what it gained."""
    checked, auto = (list(gains(name).values()) for name in ("auto_checked_100", "auto"))
    images = list(gains("auto", IMAGES).values())
    clean = gains("auto", clean=True) | gains("auto", IMAGES, clean=True)
    costs = ", ".join(f"{points:+.1f} on {name.removesuffix(' clean')}" for name, points in clean.items())
    return "\n".join(
        [
            "1. You can check a hundred rows: do it first, and pass them as `checked=` to any method ("
            f"[how](checked_rows.md)). With `auto`: {np.mean(checked):+.1f} points from cross-entropy on "
            f"{len(checked)} sets.",
            f"2. You have a pretrained encoder: `auto`. {np.mean(auto):+.1f} points on {len(auto)} sets of texts, "
            f"{min(auto):+.1f} at worst; {np.mean(images):+.1f} in {len(images)} settings of images, "
            f"{min(images):+.1f} at worst.",
            "3. You train an image network from scratch: `nct`, or `dal` if it must cost no more than cross-entropy "
            "([figures](benchmarks.md)).",
            "4. You want to know which rows are wrong: `hf-noisy audit` and `purify`, or `dygen`, which also gives "
            "the probability of each class for every row.",
            f"5. Your labels may be clean: `auto` as well. On clean labels {costs}.",
        ]
    )


def checked_rows() -> str:
    """What checked rows add to a fine-tuned encoder."""
    rows = [[name, *(spread_of(list(of.values())) for of in found)] for name, found in accuracies(CHECKED).items()]
    return table(["test accuracy, %", *(METHODS[method].title for method in CHECKED)], rows)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    return {
        "decision": decision(),
        "first_page": "\n\n".join([short(), " ".join(filter(None, [gain(), ahead(), seeds()]))]),
        "checked_rows_tuned": "\n\n".join([checked_rows(), note(TEXTS)]),
    }
