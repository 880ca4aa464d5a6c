"""Outputs of shared layers that are read from a file, beside those that are computed."""

import copy
import errno

import pytest
import torch

from hf_noisy.models import BranchedModel
from hf_noisy.models.pooling import pooled_features
from hf_noisy.models.shared_layers import shared_layers_of

LORA = {"r": 2, "lora_dropout": 0.0}


@pytest.fixture
def model(network, tmp_path):
    model = BranchedModel.from_model(network("bert"), 2, lora=LORA, shared_layers=1)
    model.keep_shared_outputs(tmp_path)
    return model.train()


def texts(*lengths, first=5):
    """Token ids padded on the right; a text of the same length is the same text."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.arange(first, first + length)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def runs(model, call):
    """How often the shared layer is computed, and the result."""
    calls = []
    (shared,) = shared_layers_of(model.branches)
    hook = shared.layer.register_forward_hook(lambda *_: calls.append(1))
    try:
        return len(calls), call(), len(calls)
    finally:
        hook.remove()


def computed(model, inputs, **options):
    """Whether the shared layer is computed, with the logits of one pass."""
    torch.manual_seed(3)
    _, output, count = runs(model, lambda: model(**inputs, **options).branch_logits)
    return bool(count), output


def known(model, *batches):
    """Show the texts to the model until they are read from the file."""
    for inputs in batches * 2:
        model(**inputs)


def without(model, inputs):
    kept, model._kept = model._kept, None
    torch.manual_seed(3)
    logits = model(**inputs).branch_logits
    model._kept = kept
    return logits


def test_losses_and_gradients_are_those_of_computed_layers(model):
    known(model, texts(3, 7, 5), texts(4, 6))
    inputs = texts(4, 5, 3)  # another batch, of another length
    for _ in range(2):
        was_computed, logits = computed(model, inputs)
        assert not was_computed
        expected = without(model, inputs)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        mine, theirs = (
            torch.autograd.grad(of.square().sum(), model.branches[1].classifier.weight) for of in (logits, expected)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert all(layer.output is None for layer in shared_layers_of(model.branches))


def test_new_texts_are_computed(model):
    known(model, texts(3, 7))
    assert computed(model, texts(3, 6))[0]  # one of them is new
    assert not computed(model, texts(6, 7))[0]
    assert computed(model, texts(3, 7, first=6))[0]
    types = {"token_type_ids": torch.ones(2, 7, dtype=torch.long)}
    assert computed(model, texts(3, 7) | types)[0]
    assert computed(model, texts(3, 7), output_hidden_states=True)[0]


def test_inputs_of_another_form_are_computed(model):
    left = texts(3, 7)
    left = {name: value.flip(1) for name, value in left.items()}
    for _ in range(3):
        was_computed, logits = computed(model, left)
        assert was_computed
        torch.testing.assert_close(logits, without(model, left), rtol=0, atol=0)


def test_the_features_before_training_fill_the_file(model):
    inputs = texts(3, 7)
    model.eval()
    first, again = pooled_features(model, inputs), pooled_features(model, inputs)
    torch.testing.assert_close(first, again, rtol=0, atol=1e-6)
    count = runs(model, lambda: pooled_features(model, inputs))[2]
    assert count == 0
    assert not computed(model.train(), inputs)[0]


def test_other_weights_empty_the_file(model):
    inputs = texts(3, 7)
    known(model, inputs)
    assert not computed(model, inputs)[0]
    with torch.no_grad():
        shared_layers_of(model.branches)[0].layer.attention.self.query.weight.mul_(2.0)
    was_computed, logits = computed(model, inputs)
    assert was_computed
    torch.testing.assert_close(logits, without(model, inputs), rtol=0, atol=0)


def test_precisions_are_kept_apart(model):
    inputs = texts(3, 7)
    known(model, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert computed(model, inputs)[0]
        known(model, inputs)
        assert not computed(model, inputs)[0]
    assert not computed(model, inputs)[0]


def test_layers_that_depend_on_the_batch_are_computed(model, caplog):
    """As those of an encoder with absolute positions and padding on the left would."""
    (shared,) = shared_layers_of(model.branches)
    forward = shared.layer.forward
    shared.layer.forward = lambda hidden, *args, **kwargs: forward(hidden, *args, **kwargs) + hidden.mean((0, 1)) * 9
    model(**texts(3, 7))
    model(**texts(3, 4))
    for _ in range(2):
        was_computed, logits = computed(model, texts(3, 4))
        assert was_computed
        torch.testing.assert_close(logits, without(model, texts(3, 4)), rtol=0, atol=0)
    assert "depends on the rest of the batch" in caplog.text


def test_a_full_file_or_disk_ends_it(model, tmp_path, caplog):
    model.keep_shared_outputs(tmp_path, max_gib=4 * 16 * 8 / 2**30)  # eight tokens
    known(model, texts(3, 7))
    assert computed(model, texts(3, 7))[0]
    known(model, texts(3))
    assert not computed(model, texts(3))[0]

    class Full:
        def seek(self, place):
            raise OSError(errno.ENOSPC, "No space left on device")

    model.keep_shared_outputs(tmp_path)
    model._kept._file = Full()
    known(model, texts(3, 7))
    assert computed(model, texts(3, 7))[0]
    assert "No space left" in caplog.text


def test_copies_keep_nothing(model):
    known(model, texts(3, 7))
    other = copy.deepcopy(model)
    assert other._kept is None
    assert computed(other, texts(3, 7))[0]


def test_a_model_without_shared_layers_is_refused(network):
    with pytest.raises(ValueError, match="has no shared layers; make it with shared_layers=1"):
        BranchedModel.from_model(network("bert"), 2).keep_shared_outputs()
