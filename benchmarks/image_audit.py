"""Wrong labels of CIFAR-10, found by `audit` on frozen features (`audit-images`).

Beside it cleanlab's self-confidence on out-of-fold logistic regression, and the mean confidence of the data map.
"""

from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value

from benchmarks.pools import prepare as prepare
from benchmarks.suites import Cell
from benchmarks.tasks import task_of
from hf_noisy.detection.audit import audit
from hf_noisy.detection.probe import out_of_fold_probabilities
from hf_noisy.metrics.detection import detection_scores

METHODS = ["audit"]


def run(cell: Cell, context: Any) -> dict[str, Any]:
    from cleanlab.rank import get_label_quality_scores

    task = task_of(cell, context)
    columns = {"features": List(Value("float32")), "label": ClassLabel(num_classes=task.num_classes)}
    rows = Dataset.from_dict({"features": task.features, "label": task.given}, features=Features(columns))
    found, wrong = audit(rows, seed=cell.seed), task.given != task.clean
    plain = out_of_fold_probabilities(task.features, task.given, seed=cell.seed)
    quality = {
        "hf_noisy": found.issues.quality,
        "cleanlab": get_label_quality_scores(task.given, plain),
        "data map": found.dynamics.confidence,
    }
    rate, flagged = found.issues.noise_rate, found.issues.is_wrong
    return {
        "rows": len(task.given),
        "noise_rate": float(wrong.mean()),
        "noise_rate_estimated": [rate.rate, rate.low, rate.high],
        "auprc": {name: detection_scores(-values, wrong)["auprc"] for name, values in quality.items()},
        "flagged": float(flagged.mean()),
        "f1": 2 * float((flagged & wrong).sum()) / max(float(flagged.sum() + wrong.sum()), 1.0),
        "suggestion_right": float((found.issues.suggested == task.clean)[flagged & wrong].mean()),
        "data": task.digest,
    }
