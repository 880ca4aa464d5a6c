"""Test figures as `.eval_results`."""

import yaml
from huggingface_hub import parse_eval_result_entries

from hf_noisy.hub.eval_results import eval_results_yaml
from hf_noisy.hub.model_card import model_card


def test_figures_of_a_data_set_of_the_hub():
    results = {"method": "gce", "test_accuracy_last": 0.5, "test_labels": "given", "dataset": "owner/rows"}
    (entry,) = parse_eval_result_entries(yaml.safe_load(eval_results_yaml(model_card(results, name="Letters"))))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("owner/rows", "text-classification", 50.0)
    assert entry.notes == "Accuracy against given labels"


def test_local_rows_and_trainings_without_test_rows_have_none():
    for results in (
        {"method": "gce", "test_accuracy_last": 0.5, "dataset": "rows.csv"},
        {"method": "gce", "dataset": "owner/rows"},
    ):
        assert eval_results_yaml(model_card(results, name="Letters")) is None
