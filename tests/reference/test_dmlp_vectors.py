"""IPC against numbers of the published code and of the printed equations, and against autograd through the inverse."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_noisy.purification.dmlp.correction import (
    InnerRidge,
    code_loss_gradient,
    entropy_gradient,
    paper_loss_gradient,
    softmax_gradient,
)
from tests.reference import dmlp_loop

FIXTURES = Path(__file__).parent / "fixtures"
CODE = json.loads((FIXTURES / "dmlp_official_code_steps.json").read_text())
PAPER = json.loads((FIXTURES / "dmlp_paper_formula_ipc.json").read_text())
CHUNK, CLEAN = (torch.tensor(CODE["inputs"][f"features_{name}"], dtype=torch.float64) for name in ("train", "val"))
CLEAN_LABELS = torch.tensor(CODE["inputs"]["clean_labels_val"])
GIVEN = torch.eye(4).double()[torch.tensor(CODE["inputs"]["noisy_labels_train"])]


def near(found, expected, atol=1e-9):
    np.testing.assert_allclose(found.tolist(), expected, rtol=0, atol=atol)


def balance_gradient(scores):
    """Of the third term of the published clean loss, at the scores of the training rows."""
    p = torch.softmax(scores, 1)
    slope = -1 / (scores.shape[1] * len(scores) * p.mean(0))
    return softmax_gradient(p, slope.expand_as(p))


def test_weights_and_gradient_of_the_published_code():
    inner, expected = InnerRidge.fit(CHUNK, penalty=0.0), CODE["outputs"]["IPC"]
    weights = inner.weights(CHUNK, GIVEN)
    near(weights, expected["W"])
    slope = CLEAN.T @ code_loss_gradient(CLEAN @ weights, CLEAN_LABELS)
    gradient = inner.target_gradient(CHUNK, slope + CHUNK.T @ balance_gradient(CHUNK @ weights))
    near(gradient, expected["grad_wrt_Y"])
    labels = GIVEN.clone()
    labels.grad = gradient
    torch.optim.Adam([labels], lr=0.01, betas=(0.5, 0.999), weight_decay=3e-4).step()
    near(labels, expected["Y_after_1_Adam_step"])


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("printed", [False, True])
def test_the_printed_equations(printed, entropy):
    name = "softmax_on_Y_onehot_init" if printed else "raw_Y"
    expected = PAPER["outputs"][f"{name}|L_mse_{'plus_entropy_of_softmax(pred)' if entropy else 'only'}"]
    targets = torch.softmax(GIVEN, 1) if printed else GIVEN
    inner = InnerRidge.fit(CHUNK, penalty=1.0)
    weights = inner.weights(CHUNK, targets)
    near(weights, expected["W"])
    scores = CLEAN @ weights
    near(scores, expected["val_pred"])
    of_loss = paper_loss_gradient(scores, CLEAN_LABELS)
    if not entropy:
        of_loss = of_loss - entropy_gradient(scores) / len(scores)
    gradient = inner.target_gradient(CHUNK, CLEAN.T @ of_loss)
    gradient = softmax_gradient(targets, gradient) if printed else gradient
    near(gradient, expected["grad_Y"])
    near(GIVEN - 0.01 * gradient, expected["Y_after_plain_step_eta0.01"])


@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_the_closed_form_is_autograd_through_the_inverse(penalty):
    draw = torch.Generator().manual_seed(0)
    chunk, clean = torch.randn(40, 7, generator=draw).double(), torch.randn(15, 7, generator=draw).double()
    labels, clean_labels = torch.rand(40, 3, generator=draw).double(), torch.arange(15) % 3
    labels.requires_grad_()
    inverse = torch.linalg.inv(chunk.T @ chunk + penalty * torch.eye(7).double())
    scores = clean @ (inverse @ chunk.T @ labels)
    onehot = torch.eye(3).double()[clean_labels]
    (torch.nn.functional.cross_entropy(scores, clean_labels) + ((scores - onehot) ** 2).sum()).backward()
    inner = InnerRidge.fit(chunk, penalty)
    found = clean @ inner.weights(chunk, labels.detach())
    gradient = inner.target_gradient(chunk, clean.T @ code_loss_gradient(found, clean_labels))
    near(gradient, labels.grad.tolist(), 1e-11)


def branches(count=2):
    weights, biases = CODE["inputs"]["fc_init_weight[branch1,branch2]"], CODE["inputs"]["fc_init_bias"]
    made = []
    for weight, bias in list(zip(weights, biases, strict=True))[:count]:
        head = torch.nn.Linear(5, 4).double()
        head.weight.data, head.bias.data = (
            torch.tensor(weight, dtype=torch.float64),
            torch.tensor(bias, dtype=torch.float64),
        )
        made.append(dmlp_loop.Branch(GIVEN, head))
    return made


def test_the_reference_loop_is_the_published_one():
    out = CODE["outputs"]
    (one,) = branches(1)
    one.epoch(CHUNK, CLEAN, CLEAN_LABELS, rows=12, batch=12, number=0)
    near(one.head.weight, out["EAC"]["fc_weight_after"])
    near(one.head.bias, out["EAC"]["fc_bias_after"])
    assert one.head_losses[0] == pytest.approx(out["EAC"]["loss_total"], abs=1e-9)
    assert one.label_losses[0] == pytest.approx(out["IPC"]["loss_total"], abs=1e-9)
    near(one.predict(CHUNK), out["EAC"]["predict_newfcv1 (softmax outputs after the step)"])


def test_the_reference_loop_over_two_chunks():
    (one,) = branches(1)
    one.epoch(CHUNK, CLEAN, CLEAN_LABELS, rows=6, batch=6, number=0)
    out = CODE["outputs"]["one_epoch_two_batches_bs6"]
    key = next(name for name in out if name.startswith("Y1_after_epoch"))
    near(one.labels, out[key])
    np.testing.assert_allclose(one.label_losses, out["loss_ipc_per_batch"], atol=1e-8)
    near(torch.stack(one.gradients), out["grad_wrt_full_Y_per_batch"], 1e-8)


def test_the_reference_loop_over_three_epochs():
    (one,) = branches(1)
    for number in range(3):
        one.epoch(CHUNK, CLEAN, CLEAN_LABELS, rows=12, batch=6, number=number)
    out = CODE["outputs"]["three_epochs_unpatched_bs12_bsfc6"]
    near(one.labels, out["Y1_final"])
    near(one.head.weight, out["fc1_weight"])
    np.testing.assert_allclose(one.label_losses, out["loss_ipc_per_epoch"], atol=1e-9)
    np.testing.assert_allclose(one.head_losses, out["loss_eac_per_step"], atol=1e-9)


def test_the_reference_loop_with_its_labels_replaced():
    first, second = branches()
    for number in range(2):
        for branch in (first, second):
            branch.epoch(CHUNK, CLEAN, CLEAN_LABELS, rows=12, batch=6, number=number)
        dmlp_loop.overwrite_crosswise(first, second, CHUNK)
    out = CODE["outputs"]["forced_EAC_swap_2_epochs_bs12_bsfc6"]
    near(first.labels, out["Y1_final (= predict_newfcv2, cross-assigned)"])
    near(second.labels, out["Y2_final (= predict_newfcv1)"])
    np.testing.assert_allclose(first.label_losses, out["loss_ipc_per_epoch"], atol=1e-9)
