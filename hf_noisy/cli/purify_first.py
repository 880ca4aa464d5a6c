"""Training labels that a purifier corrects before the training."""

from typing import Any

from datasets import Dataset
from transformers import TrainingArguments

from hf_noisy.cli.arguments import TrainArguments
from hf_noisy.cli.source import add_features
from hf_noisy.core.columns import FEATURES, LABEL_CHANGED
from hf_noisy.data.checked import CheckedRows
from hf_noisy.data.flat_labels import HELD, task_of_labels
from hf_noisy.purification import PURIFIERS, purify
from hf_noisy.purification.policies import check_purifiable

POLICIES = ("relabel", "soft", "weight")  # rows that a policy drops would have to be kept somewhere


def check_purifier(arguments: TrainArguments) -> None:
    """Refuse a purifier or a policy that cannot be applied, before the rows are read."""
    known = sorted(name for name, one in PURIFIERS.items() if one.needs_features)
    if arguments.purifier is not None and arguments.purifier not in known:
        raise ValueError(f"--purifier must be one of {', '.join(known)}, got '{arguments.purifier}'")
    if arguments.policy not in POLICIES:
        raise ValueError(
            f"--policy must be one of {', '.join(POLICIES)}, got {arguments.policy!r}; purify first for others"
        )


def with_purified_labels(
    rows: Dataset, arguments: TrainArguments, checked: CheckedRows | None, training: TrainingArguments
) -> Dataset:
    """The training rows with labels as corrected by the purifier; test rows keep theirs."""
    if arguments.purifier is None:
        return rows
    if (task := task_of_labels(rows)) != "one-label":
        raise ValueError(f"--purifier corrects one label a row, but the rows have {HELD[task]}; leave it out")
    name = "dmlp_trusted" if arguments.purifier == "dmlp" and checked is None else arguments.purifier
    check_purifiable(rows, name, arguments.policy, checked)
    stored = FEATURES in rows.column_names
    model = None if stored else arguments.model_name_or_path
    with training.main_process_first(desc="purification"):
        embedded = add_features(rows, model, arguments.trust_remote_code).rows
        purified: Any = purify(
            embedded, name, arguments.policy, checked=None if checked is None else checked.as_column()
        )
    changed = sum(purified.with_format(None)[LABEL_CHANGED][:])
    if training.process_index == 0:
        print(f"{changed:,} of {len(rows):,} training labels are overruled by '{name}', policy {arguments.policy}")
    return purified if stored else purified.remove_columns(FEATURES)
