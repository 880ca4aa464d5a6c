"""What `run_dygen` does beside calling the library."""

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features
from transformers import default_data_collator

from hf_noisy.cli.run_dygen import _SOURCE_ROW, _predict, write_suspects
from tests.contract.runs import bert, make_rows, make_trainer


def test_predictions_keep_the_order_of_the_rows_when_batches_are_grouped_by_length(tmp_path):
    settings = {"train_sampling_strategy": "group_by_length", "per_device_eval_batch_size": 2}
    rows = make_rows(count=12)
    trainer = make_trainer(tmp_path, "cross_entropy", bert(), **settings)
    found = _predict(trainer, rows)
    batch = default_data_collator([{k: v for k, v in row.items() if k != "label"} for row in rows])
    with torch.no_grad():
        expected = trainer.model.eval()(**{k: v for k, v in batch.items() if k != "labels"}).logits.softmax(-1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_suspects_have_class_names_and_another_label(tmp_path):
    labels = Features({"label": ClassLabel(names=["no, never", "yes"])})
    rows = Dataset.from_dict({"label": [0, 1, 0, 1]}, features=labels)
    rows = rows.add_column("text", ["a", "b", "c", None]).add_column("text_pair", ["d", "e", "f", "g"])
    rows = rows.add_column(_SOURCE_ROW, [3, 1, 7, 8]).add_column("row", ["x"] * 4).add_column("probability", [0.0] * 4)
    posterior = np.array([[0.25, 0.75], [0.4, 0.6], [0.3, 0.7], [0.9, 0.1]])
    write_suspects(tmp_path / "suspects.csv", rows, posterior, np.array([True, True, False, True]))
    assert (tmp_path / "suspects.csv").read_text() == (
        'row,text,text_pair,label,proposed_label,probability\n3,a,d,"no, never",yes,0.75\n8,,g,yes,"no, never",0.9\n'
    )
    write_suspects(tmp_path / "none.csv", rows, posterior, np.zeros(4, bool))
    assert (tmp_path / "none.csv").read_text() == "row,text,text_pair,label,proposed_label,probability\n"
