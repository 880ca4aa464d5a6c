"""Tables of labels from several annotators."""

from typing import Any

import numpy as np

from benchmarks.reporting import load, percent, table

_COLUMNS = {
    "majority": "majority",
    "weighted": "weighted",
    "dawid_skene": "Dawid-Skene",
    "model": "`aggregate`, votes only",
    "texts": "`aggregate` with texts",
    "best_single": "best single annotator",
    "checked": "with 50 checked rows",
}
_COMMAND = "`python -m benchmarks.votes`"


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    found = load("votes")
    return {"votes": _labels(found["labels"], found["study"]), "opinions": _opinions(found)}


def _labels(sets: dict[str, dict[str, float]], study: dict[str, Any]) -> str:
    models = [one for one in sets.values() if "checked" in one]
    rules = [one for one in sets.values() if "checked" not in one]
    lines = [_line(name, one) for name, one in sets.items()]
    lines += [_line(name, _mean(group)) for name, group in (("**mean, models**", models), ("**mean, rules**", rules))]
    left_out = ", ".join(
        f"{constant.replace('_', ' ')} {percent(one['left_out'])} (best value {percent(max(one['mean'].values()))})"
        for constant, one in study.items()
    )
    text = (
        "Right labels in percent. The first eight are tasks with the answers of 11 to 13 language models, the last "
        "three labelling rules (chemprot: validation and test rows). True labels score, and are the 50 checked rows "
        "of the last column, which counts the other rows only (3 draws); the constants were chosen with them. "
        f"Each constant chosen on the other sets, mean of the sets left out: {left_out}. "
        f"The accuracies of annotators are estimated with a mean error of {percent(_mean(models)['accuracy_error'])} "
        f"points for models and {percent(_mean(rules)['accuracy_error'])} for rules; the intervals, "
        "widened on these sets, hold "
        f"{percent(_mean(models)['in_interval'])} % and {percent(_mean(rules)['in_interval'])} % of them. {_COMMAND}"
    )
    return f"{table(['set', *_COLUMNS.values()], lines)}\n\n{text}"


def _line(name: str, one: dict[str, float]) -> list[str]:
    return [name, *(percent(one[column]) if column in one else "" for column in _COLUMNS)]


def _mean(group: list[dict[str, float]]) -> dict[str, float]:
    return {column: float(np.mean([one[column] for one in group])) for column in group[0]}


def _opinions(found: dict[str, Any]) -> str:
    """Errors or disagreement, and distributions of opinions."""
    pairs = [
        [name, *(percent(one[column]) for column in ("error", "error_alone", "ambiguous"))]
        for name, one in found["errors"].items()
    ]
    shown = [
        [name, f"{one['cross_entropy']:.3f}", f"{one['manhattan']:.3f}" if "manhattan" in one else ""]
        for name, one in found["opinions"].items()
    ]
    first = table(["votes", "errors", "errors, label of one person", "disagreement"], pairs)
    second = table(["learned from", "soft cross-entropy", "Manhattan distance"], shown)
    one = found["one_model"]
    return (
        f"{first}\n\nAverage precision in percent on the 878 item-label pairs of VariErr NLI, by four people's labels "
        "and an encoder; below, also by what the others say of the reasons, and by a crowd as one more vote. The best "
        f"published scorer has 46.5 and 51.2.\n\n{second}\n\nA linear layer on frozen features of 6,592 tweets with "
        "five opinions each, against the opinions on 3,057 other tweets; the best of three penalties each.\n\n"
        f"Wrong answers of one language model alone ({percent(one['wrong'])} % of 8,278 film reviews): average "
        f"precision {percent(one['aggregate'])}, plain self-confidence {percent(one['self_confidence'])}. With one "
        f"annotator and a weak encoder there is little to go by. {_COMMAND}"
    )
