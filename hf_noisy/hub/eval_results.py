"""Test figures of a model as the Hub shows them beside the benchmark of a data set."""

import yaml  # type: ignore[import-untyped]
from huggingface_hub import EvalResultEntry, ModelCard, eval_result_entries_to_yaml

EVAL_RESULTS = ".eval_results/hf_noisy.yaml"


def eval_results_yaml(card: ModelCard) -> bytes | None:
    """The figures of a card that are of data sets on the Hub, in percent; None if it has none."""
    named = card.data.get("datasets") or []
    on_hub = {named} if isinstance(named, str) else set(named)
    entries = [
        EvalResultEntry(
            dataset_id=one.dataset_type,
            task_id=one.task_type,
            value=round(100 * one.metric_value, 4),
            notes=one.metric_name,
        )
        for one in card.data.get("eval_results") or []
        if one.dataset_type in on_hub
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode() if entries else None
