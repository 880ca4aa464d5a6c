"""Training labels that a purifier corrects before the training."""

from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from transformers import TrainingArguments

from hf_noisy.cli.arguments import TrainArguments
from hf_noisy.cli.purifier_name import purifier_name
from hf_noisy.cli.source import add_features
from hf_noisy.core.columns import FEATURES, LABEL, LABEL_CHANGED, column_vectors
from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.flat_labels import HELD, TaskName
from hf_noisy.data.labelled_rows import true_noise
from hf_noisy.purification import purify
from hf_noisy.purification.policies import check_purifiable
from hf_noisy.purification.restore import is_purified

POLICIES = ("relabel", "soft", "weight")  # rows that a policy drops would have to be kept somewhere


class TrainingRows(NamedTuple):
    """The rows to train on, and what `results.json` says of them."""

    rows: Dataset
    results: dict[str, Any]


def check_purifier(arguments: TrainArguments, method: Any) -> None:
    """Refuse a purifier or a policy that cannot be applied, before anything is embedded."""
    if arguments.purifier is None:
        if arguments.policy is not None:
            raise ValueError(f"--policy {arguments.policy} belongs to --purifier; pass both, or leave it out")
        return
    purifier_name(arguments.purifier)
    if method == "auto":
        raise ValueError("method 'auto' corrects labels itself; leave out --purifier, or name a method")
    if (policy := arguments.policy or "relabel") not in POLICIES:
        raise ValueError(
            f"--policy must be one of {', '.join(POLICIES)}, got '{policy}'; run hf-noisy purify for the others"
        )
    if policy == "soft" and not method.soft_labels:
        raise ValueError(
            f"method '{arguments.method}' does not train on soft labels; leave out --policy, or use cross_entropy"
        )


def with_purified_labels(
    rows: Dataset, task: TaskName, arguments: TrainArguments, checked: CheckedRows | None, training: TrainingArguments
) -> TrainingRows:
    """The training rows with labels as corrected by the purifier; test rows keep theirs."""
    if arguments.purifier is None:
        return TrainingRows(rows, {})
    if task != "one-label":
        raise ValueError(f"--purifier corrects one label a row, but the rows have {HELD[task]}; leave it out")
    if is_purified(rows):
        raise ValueError("the labels are purified already; leave out --purifier, or pass the original data")
    name = purifier_name(arguments.purifier, has_checked=checked is not None)
    policy: Any = arguments.policy or "relabel"
    check_purifiable(rows, name, policy, checked)
    stored = FEATURES in rows.column_names
    with training.main_process_first(desc="purification"):
        model = None if stored else arguments.model_name_or_path
        embedded = add_features(rows, model, arguments.trust_remote_code).rows
        purified = purify(embedded, name, policy, checked=None if checked is None else checked.as_column())
    changed = int(np.sum(purified.with_format(None)[LABEL_CHANGED][:]))
    if training.process_index == 0:
        print(f"{changed:,} of {len(rows):,} training labels overruled by {arguments.purifier}, policy {policy}")
    labels = column_vectors(purified, LABEL)
    results = {
        "purifier": name,
        "policy": policy,
        "labels_changed": changed,
        "noise_rate_purified": true_noise(rows, labels.argmax(1) if labels.ndim == 2 else labels),
    }
    return TrainingRows(purified if stored else purified.remove_columns(FEATURES), results)
