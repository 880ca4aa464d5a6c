"""What `run_dygen` does beside calling the library."""

import numpy as np
import torch
from transformers import default_data_collator

from hf_noisy.cli.run_dygen import _predict
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
