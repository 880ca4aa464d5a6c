"""Losses against numbers of the published code: values of each row, their mean, and its gradient."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_noisy.losses.apl import NCEandAGCE, NCEandRCE
from hf_noisy.losses.bi_tempered import BiTempered
from hf_noisy.losses.bootstrap import Bootstrap
from hf_noisy.losses.cross_entropy import CrossEntropy, LabelSmoothing
from hf_noisy.losses.dal import DAL
from hf_noisy.losses.gce import GCE
from hf_noisy.losses.loss import Loss
from hf_noisy.losses.mae import MAE
from hf_noisy.losses.sce import SCE
from hf_noisy.losses.sparse import SR
from hf_noisy.losses.taylor import TCE

VALUE, GRADIENT = 1e-9, 1e-9
# Of the published files, but no losses of this package; JS stands in the test of its own file.
ELSEWHERE = ("js_scaled",)


def vector(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    content = json.loads((Path(__file__).parent / "fixtures" / f"{name}.json").read_text())
    return content["inputs"], content["outputs"]


DAL_INPUTS, DAL_OUTPUTS = vector("dal_and_baseline_losses")
GJS_INPUTS, GJS_OUTPUTS = vector("gjs_losses")
SCHEDULE = vector("dal_schedule")[1]

BASELINES: dict[str, Loss] = {
    "ce": CrossEntropy(),
    "mae": MAE(),
    **{f"gce_q{q}": GCE(q) for q in (0.1, 0.3, 0.6, 0.7, 1.0, 1.2, 1.5)},
    "rce": SCE(alpha=0.0, beta=1.0),
    "nce": NCEandRCE(alpha=1.0, beta=0.0),
    **{f"sce_a{alpha}_b{beta}": SCE(alpha, beta) for alpha, beta in ((0.1, 1.0), (1.0, 1.0), (6.0, 0.1))},
    **{f"nce_and_rce_a{alpha}_b{beta}": NCEandRCE(alpha, beta) for alpha, beta in ((1.0, 1.0), (10.0, 0.1))},
    **{f"tce_t{order}": TCE(order) for order in (2, 6, 18)},
    "agce_a3_q0.7": NCEandAGCE(alpha=0.0, beta=1.0, a=3.0, q=0.7),
    "agce_a1e-5_q0.5": NCEandAGCE(alpha=0.0, beta=1.0, a=1e-5, q=0.5),
    "nce_and_agce_a3_q0.7_alpha10_beta0.1": NCEandAGCE(alpha=10.0, beta=0.1, a=3.0, q=0.7),
}
# From 0.6 to 1.5, `q` is where the progress is (q - 0.6) / 0.9, and the weight follows.
DAL_CASES = [("soft", q, weight) for q, weight in ((0.6, 0.0), (0.9, 0.0), (1.0, 0.0))] + [
    (kind, q, weight)
    for kind, q, weight in (
        ("soft", 1.2, 0.4),
        ("soft", 1.494, 0.988),
        ("soft", 1.5, 1.0),
        ("hard", 1.2, 0.4),
        ("hard", 1.5, 1.0),
    )
]
BOOTSTRAPPING = {
    "soft": "bs_soft (entropy, eps 1e-6 inside log, no detach)",
    "hard": "bs_hard (CE to own argmax; initial commit only)",
}


def rows(inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    logits = torch.tensor(inputs["logits"], dtype=torch.float64, requires_grad=True)
    return logits, torch.tensor(inputs["labels"])


def assert_near(actual: torch.Tensor, expected: Any, tolerance: float = VALUE) -> None:
    torch.testing.assert_close(
        actual.detach(), torch.tensor(expected, dtype=torch.float64), rtol=tolerance, atol=tolerance
    )


def check(losses: torch.Tensor, logits: torch.Tensor, expected: dict[str, Any]) -> None:
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    assert_near(losses, expected["loss_per_sample"])
    assert_near(losses.mean(), expected["loss_mean"])
    assert_near(gradient, expected["grad_logits_of_mean"], GRADIENT)


@pytest.mark.parametrize("name", BASELINES)
def test_baseline(name: str) -> None:
    logits, labels = rows(DAL_INPUTS)
    check(BASELINES[name](logits, labels), logits, DAL_OUTPUTS[name])


@pytest.mark.parametrize(("kind", "q", "weight"), DAL_CASES)
def test_dal(kind: str, q: float, weight: float) -> None:
    logits, labels = rows(DAL_INPUTS)
    check(DAL(bootstrap=kind)(logits, labels, (q - 0.6) / 0.9), logits, DAL_OUTPUTS[f"dal_{kind}_q{q}_lam{weight}"])


@pytest.mark.parametrize("kind", BOOTSTRAPPING)
def test_bootstrapping_of_dal(kind: str) -> None:
    logits, labels = rows(DAL_INPUTS)
    losses = DAL(q_start=1.5, q_end=1.5, bootstrap=kind)(logits, labels) - GCE(1.5)(logits, labels)
    check(1.5 * math.log(5) * losses, logits, DAL_OUTPUTS[BOOTSTRAPPING[kind]])


@pytest.mark.parametrize(("name", "p", "weight"), [("lamb8_tau0.5_p0.01", 0.01, 8.0), ("lamb2_tau0.5_p0.1", 0.1, 2.0)])
def test_sparse_regularisation(name: str, p: float, weight: float) -> None:
    logits, labels = rows(DAL_INPUTS)
    losses = SR(0.5, p, weight)(logits, labels)
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    expected = DAL_OUTPUTS[f"ce_and_sr_{name}"]
    assert_near(losses, expected["loss_per_sample"])
    # The published gradient of the row of zeros, 1, is about 1e11.
    others = [row for row in range(len(losses)) if row != 1]
    assert_near(gradient[others], [expected["grad_logits_of_mean"][row] for row in others])


def test_bi_tempered_is_the_limit_of_the_published_five_iterations() -> None:
    logits, labels = rows(DAL_INPUTS)
    losses = BiTempered(0.7, 1.5)(logits, labels)
    (gradient,) = torch.autograd.grad(losses.mean(), logits)
    expected = DAL_OUTPUTS["btl_t1_0.7_t2_1.5_iters5"]
    assert_near(losses, expected["loss_per_sample"], 1e-2)
    assert_near(gradient, expected["grad_logits_of_mean"], 1e-2)


def test_every_published_loss_has_a_test() -> None:
    dal = {f"dal_{kind}_q{q}_lam{weight}" for kind, q, weight in DAL_CASES}
    rest = DAL_OUTPUTS.keys() - BASELINES.keys() - dal - set(BOOTSTRAPPING.values())
    rest -= {name for name in rest if name.startswith(("ce_and_sr", "btl"))}
    assert all(name.startswith(ELSEWHERE) for name in rest), rest


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("bootstrap_t0.5", Bootstrap(beta=0.5)),
        ("GCE_q0.7_eps1e-7", GCE(0.7, epsilon=1e-7)),
        ("SCE_a0.1_b0.1_eps1e-7", SCE(0.1, 0.1)),
        ("NCE+RCE_a10_b0.1", NCEandRCE(10.0, 0.1)),
    ],
)
def test_baseline_of_the_second_code(name: str, loss: Loss) -> None:
    logits, labels = rows(GJS_INPUTS)
    check(loss(logits, labels), logits, GJS_OUTPUTS[name])


def test_label_smoothing_is_a_divergence_plus_the_entropy_of_the_target() -> None:
    logits, labels = rows(GJS_INPUTS)
    target = torch.full((5,), 0.1, dtype=torch.float64)
    target[0] += 0.5
    entropy = -(target * target.log()).sum()
    check(LabelSmoothing(0.5)(logits, labels) - entropy, logits, GJS_OUTPUTS["label_smoothing_t0.5"])


@pytest.mark.parametrize(
    ("name", "epochs", "q_start"), [("cifar", 150, 0.6), ("webvision", 250, 0.4), ("small", 10, 0.6)]
)
def test_schedule(name: str, epochs: int, q_start: float) -> None:
    q, weight = zip(*(DAL(q_start).schedule(epoch / epochs) for epoch in range(epochs)), strict=True)
    assert_near(torch.tensor(q, dtype=torch.float64), SCHEDULE[name]["q"])
    assert_near(torch.tensor(weight, dtype=torch.float64), SCHEDULE[name]["lamb"])


def test_an_exponent_below_one_has_no_bootstrapping_unlike_the_published_code() -> None:
    q, weight = zip(*(DAL(0.5, 0.9).schedule(epoch / 10) for epoch in range(10)), strict=True)
    assert_near(torch.tensor(q, dtype=torch.float64), SCHEDULE["bug_qe_below_1"]["q"])
    assert min(SCHEDULE["bug_qe_below_1"]["lamb"]) > 1.0
    assert set(weight) == {0.0}
