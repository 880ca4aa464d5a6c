import contextlib
import tracemalloc

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_noisy.core.task import SINGLE_LABEL
from hf_noisy.data.fingerprint import describe
from hf_noisy.data.labels import check_training_labels, check_training_weights
from hf_noisy.models.inference import (
    batches_by_length,
    batches_of,
    encoding,
    evaluating,
    outputs_by_row,
    token_lengths,
)

VALUES = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
ROWS = Dataset.from_dict({"x": VALUES.tolist(), "label": [0, 1, 2, 0, 1, 2, 0]})

MODEL = torch.nn.Linear(1, 1)


def collate(rows):
    return [position for position, _ in rows], {"x": torch.tensor([row["x"] for _, row in rows])}


def extract(batches, dataset=ROWS, forward=lambda inputs: [torch.stack([inputs["x"], 2 * inputs["x"]])], **options):
    settings = {"collate": collate, "dtype": "float32", **options}
    return outputs_by_row(MODEL, dataset, forward, batches=batches, **settings)


@pytest.mark.parametrize(
    ("batches", "num_workers"),
    [
        ([[0, 1, 2, 3, 4, 5, 6]], 0),
        ([[6, 0], [3, 5, 1], [4, 2]], 0),
        ([[6, 0], [3, 5, 1], [4, 2]], 2),
        ([[6], [5], [4], [3], [2], [1], [0]], 0),
    ],
)
def test_rows_come_back_in_their_order(batches, num_workers):
    (found,) = extract(batches, num_workers=num_workers)
    np.testing.assert_array_equal(found, np.stack([VALUES, 2 * VALUES]))


def test_several_arrays_of_the_wanted_type():
    def forward(inputs):
        assert not torch.is_grad_enabled()
        return [inputs["x"][None].bfloat16(), inputs["x"][None, :, :1]]

    first, second = extract([[1, 0, 2], [3, 4, 5, 6]], forward=forward, dtype="float16")
    assert (first.dtype, first.shape, second.shape) == (np.float16, (1, 7, 3), (1, 7, 1))
    np.testing.assert_array_equal(second[0], VALUES[:, :1].astype(np.float16))
    np.testing.assert_array_equal(first[0], torch.tensor(VALUES).bfloat16().float().numpy().astype(np.float16))


def test_a_row_in_two_batches_is_written_once():
    (found,) = extract([[0, 1, 2, 3], [4, 5, 6], [0, 1]])
    np.testing.assert_array_equal(found[0], VALUES)


def test_values_that_are_not_finite_are_refused_on_request():
    def forward(inputs):
        return [(inputs["x"] * 1e38 * 1e10)[None]]

    assert not np.isfinite(extract([list(range(7))], forward=forward)[0]).any()
    with pytest.raises(ValueError, match="a recorded value is not finite in float32"):
        extract([list(range(7))], forward=forward, check_finite=True)


def test_the_model_and_the_random_state_are_left_as_they_were():
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout()).train()
    modes, state = [], torch.get_rng_state()

    def forward(inputs):
        modes.append(model.training)
        return [inputs["x"][None] + torch.rand(())]

    outputs_by_row(model, ROWS, forward, batches=[list(range(7))], collate=collate)
    assert (modes, model.training) == ([False], True)
    assert torch.equal(torch.get_rng_state(), state)
    with contextlib.suppress(KeyError), evaluating(model):
        assert not model.training
        raise KeyError
    assert model.training


def test_missing_rows_are_not_left_uninitialised():
    with pytest.raises(RuntimeError, match="only 5 of 7 rows were computed"):
        extract([[0, 1, 2], [4, 5]])


def test_no_more_than_the_arrays_is_held_in_memory():
    rows, width = 20_000, 256
    dataset = list(range(rows))

    def batch_of(rows):
        index = [position for position, _ in rows]
        return index, {"x": torch.tensor(index, dtype=torch.float32)[:, None].expand(-1, width) % 1000}

    class Rows:
        def __len__(self):
            return rows

        def __getitem__(self, index):
            return {"number": index}

    batches = [dataset[i : i + 100] for i in range(0, rows, 100)]
    tracemalloc.start()
    try:
        (found,) = extract(batches, Rows(), lambda inputs: [inputs["x"][None]], collate=batch_of, dtype="float16")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.nbytes == rows * width * 2
    assert peak < 1.3 * found.nbytes
    np.testing.assert_array_equal(found[0, :, 7], np.arange(rows) % 1000)


class Listed(list):
    """A custom class that names its columns but cannot select them."""

    @property
    def column_names(self):
        return list(self[0])


def test_rows_of_a_custom_class_are_read_one_by_one():
    rows = Listed({"input_ids": [1] * n, "label": 0, "label_weight": 1.0} for n in (3, 1, 2))
    assert describe(rows)["labels"] is None
    assert batches_of(rows, 2) == [[0, 1], [2]]
    assert check_training_weights(rows)  # batches must have them then
    assert not check_training_labels(rows, SINGLE_LABEL, 2)


def test_rows_are_batched_by_their_number_of_tokens():
    ids = [[1] * length for length in (3, 1, 2, 3)]
    rows = Dataset.from_dict({"input_ids": ids, "label": [0] * 4})
    for given in (rows, rows.with_format("torch"), rows.with_transform(lambda batch: batch)):
        assert token_lengths(given).tolist() == [3, 1, 2, 3]
        assert batches_of(given, 2) == [[1, 2], [0, 3]]
    assert token_lengths(rows.select([2, 1])).tolist() == [2, 1]
    assert token_lengths([{"input_ids": [1]}]) is None
    assert token_lengths(Dataset.from_dict({"input_ids": []})) is None
    assert batches_of(rows.remove_columns("input_ids"), 3) == [[0, 1, 2], [3]]
    assert batches_by_length([-3, -1, -2, -3], 2) == [[0, 3], [2, 1]]


def test_rotary_frequencies_stay_exact_in_bfloat16():
    encoder = torch.nn.Linear(2, 2)
    encoder.register_buffer("inv_freq", torch.tensor([1.0, 0.1]))
    with encoding(encoder, torch.device("cpu"), "bfloat16") as copied:
        assert (copied.weight.dtype, copied.inv_freq.dtype) == (torch.bfloat16, torch.float32)
        assert torch.equal(copied.inv_freq, encoder.inv_freq)
    assert encoder.weight.dtype == torch.float32


def test_an_encoder_that_needs_float32_is_named():
    with (
        pytest.raises(ValueError, match=r"Linear does not compute in bfloat16; take dtype='float32'"),
        encoding(torch.nn.Linear(2, 2), torch.device("cpu"), "bfloat16") as copied,
    ):
        copied(torch.ones(1, 2))
