import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from hf_noisy.dygen import vae as vae_module
from hf_noisy.dygen.vae import (
    DirichletVAE,
    dirichlet_mode,
    fit_vae,
    gamma_kl,
    latent_uniforms,
    prior_alpha,
    reparameterise,
    row_order,
)

BRANCHES, ROWS, DIM, CLASSES = 2, 7, 5, 3


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(rows: int = ROWS) -> dict[str, torch.Tensor]:
    labels = torch.arange(rows) % CLASSES
    return {
        "w": draw(BRANCHES, rows, DIM) * 2 - 1,
        "labels": labels,
        "prior_alpha": prior_alpha(F.one_hot((labels + 1) % CLASSES, CLASSES).double()),
        "uniforms": draw(BRANCHES, rows, CLASSES, seed=1) * 0.9 + 0.05,
    }


def test_divergence_and_sample_have_the_gradient_of_their_formula() -> None:
    alpha = (1.1 + 3 * draw(2, 4)).requires_grad_()
    prior = (1.1 + 3 * draw(2, 4, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(gamma_kl, (alpha, prior))
    assert torch.autograd.gradcheck(lambda a: reparameterise(a, draw(2, 4, seed=2).clamp(0.01)), (alpha,))
    assert torch.autograd.gradcheck(dirichlet_mode, (alpha,))


@given(st.lists(st.floats(0.1, 50), min_size=4, max_size=4), st.lists(st.floats(0.1, 50), min_size=4, max_size=4))
def test_divergence_is_that_of_gamma_variables_and_never_below_zero(first: list[float], second: list[float]) -> None:
    alpha, prior = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    one = torch.ones_like(alpha)
    gamma = torch.distributions.Gamma
    expected = torch.distributions.kl_divergence(gamma(alpha, one), gamma(prior, one)).sum()
    assert gamma_kl(alpha, prior).item() == pytest.approx(expected.item(), abs=1e-9)
    assert gamma_kl(alpha, prior) > -1e-9
    assert gamma_kl(alpha, alpha) == 0


def test_uniform_of_zero_has_a_finite_gradient() -> None:
    alpha = torch.full((3,), 1.5, requires_grad=True)
    sample = reparameterise(alpha, torch.tensor([0.0, 1e-30, 0.5]))
    (gradient,) = torch.autograd.grad(sample.sum(), alpha)
    assert sample.isfinite().all()
    assert gradient.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    alpha = (1.1 + draw(2, 4)).bfloat16()
    for result in (
        gamma_kl(alpha, alpha),
        reparameterise(alpha, alpha - 1),
        dirichlet_mode(alpha),
        prior_alpha(alpha),
    ):
        assert result.dtype == torch.float32
    model = DirichletVAE(BRANCHES, DIM, CLASSES)
    w = problem()["w"].bfloat16()
    assert torch.equal(model.alpha(w, problem()["labels"]), model.alpha(w.float(), problem()["labels"]))


def test_prior_is_floor_plus_strength_times_evidence() -> None:
    soft = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert prior_alpha(soft).tolist() == [[2.75, 5.25], [6.5, 1.5]]
    assert prior_alpha(soft, delta=1.0, rho=2.0).tolist() == [[1.5, 2.5], [3.0, 1.0]]


def test_all_noisy_labels_at_once_equal_one_pass_each() -> None:
    model, w = DirichletVAE(BRANCHES, DIM, CLASSES).double(), problem()["w"]
    together = model.alpha_all(w)
    for k in range(CLASSES):
        alone = model.alpha(w, torch.full((ROWS,), k))
        torch.testing.assert_close(together[:, :, k], alone, rtol=0, atol=1e-14)
    assert (together > model.delta).all()


def test_loss_has_the_gradient_of_its_formula() -> None:
    model, inputs = DirichletVAE(BRANCHES, DIM, CLASSES).double(), problem()
    names, values = zip(*model.named_parameters(), strict=True)

    def total(*parameters: torch.Tensor) -> torch.Tensor:
        class Total(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.vae = model

            def forward(self) -> torch.Tensor:
                return self.vae.loss(**inputs, beta=0.7, weight=2.0).total

        stand_in = {f"vae.{name}": value for name, value in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Total(), stand_in, ())

    assert torch.autograd.gradcheck(total, values)


@pytest.mark.parametrize("weight", [0.0, 3.0])
@pytest.mark.parametrize("prior_per_branch", [False, True])
def test_gradient_of_a_training_step_is_that_of_the_loss(weight: float, prior_per_branch: bool) -> None:
    model, inputs = DirichletVAE(BRANCHES, DIM, CLASSES).double(), problem()
    if prior_per_branch:
        inputs["prior_alpha"] = 1.0 + 4 * draw(BRANCHES, ROWS, CLASSES, seed=5)
    model.loss(**inputs, weight=weight).total.mean().backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    vae_module._set_gradients(
        model,
        inputs["w"],
        inputs["labels"],
        F.one_hot(inputs["labels"], CLASSES).double().T,
        inputs["prior_alpha"].expand(BRANCHES, -1, -1).mT,
        inputs["uniforms"].log().mT,
        weight=weight,
    )
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-10, atol=1e-12)


def test_equal_branches_do_not_disagree() -> None:
    model, inputs = DirichletVAE(BRANCHES, DIM, CLASSES).double(), problem()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[1] = parameter[0]
    inputs["w"] = inputs["w"][:1].expand(BRANCHES, -1, -1)
    assert model.loss(**inputs).coregularization.abs().max() < 1e-12


def test_posterior_rows_sum_to_one() -> None:
    model = DirichletVAE(BRANCHES, DIM, CLASSES).double()
    posterior = model.posterior(problem()["w"], draw(BRANCHES, ROWS, CLASSES).softmax(-1))
    assert posterior.min() > 0
    torch.testing.assert_close(posterior.sum(-1), torch.ones(ROWS, dtype=torch.float64))


def test_weights_start_like_a_linear_layer_and_belong_to_their_branch() -> None:
    two, three = DirichletVAE(2, 60, CLASSES, seed=4), DirichletVAE(3, 60, CLASSES, seed=4)
    for small, large in zip(two.parameters(), three.parameters(), strict=True):
        assert torch.equal(small, large[:2])
        assert small.abs().max() <= 63**-0.5
    assert two.trajectory_weight.std().item() == pytest.approx(63**-0.5 / 3**0.5, rel=0.1)
    assert not torch.equal(two.trajectory_weight[0], two.trajectory_weight[1])
    assert not torch.equal(two.trajectory_weight, DirichletVAE(2, 60, CLASSES, seed=5).trajectory_weight)


def fit(rows: int = 50, **arguments: object) -> DirichletVAE:
    inputs = problem(rows)
    options = {"batch_size": 16, "epochs": 2, "show_progress": False, **arguments}
    return fit_vae(inputs["w"], inputs["labels"], inputs["prior_alpha"], **options)


def test_fit_lowers_the_loss_and_leaves_evaluation_mode() -> None:
    inputs = problem(50)
    before = DirichletVAE(BRANCHES, DIM, CLASSES).double().loss(**inputs).total.mean()
    model = fit(epochs=30, learning_rate=1e-2)
    assert model.loss(**inputs).total.mean() < before - 1
    assert not model.training
    assert model.trajectory_weight.dtype == torch.float64


def test_fit_is_the_same_whatever_the_global_generator() -> None:
    torch.manual_seed(0)
    first = fit()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    second = fit()
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first.trajectory_weight, fit(seed=1).trajectory_weight)


@pytest.mark.parametrize(
    ("epochs", "warmup_ratio", "agree"), [(1, 0.0, True), (1, 0.5, False), (2, 0.5, True), (2, 1.0, False)]
)
def test_agreement_counts_from_the_first_epoch_after_the_warm_up(
    epochs: int, warmup_ratio: float, agree: bool
) -> None:
    options = {"epochs": epochs, "warmup_ratio": warmup_ratio}
    without = fit(**options, coregularization_weight=0.0)
    assert torch.equal(fit(**options).bias, without.bias) == (not agree)


def test_order_and_noise_are_keyed() -> None:
    assert sorted(row_order(np.arange(20), 0, 3).tolist()) == list(range(20))
    assert row_order(np.arange(20), 0, 3).tolist() != row_order(np.arange(20), 0, 4).tolist()
    few = latent_uniforms(2, np.arange(5), CLASSES, 0, 1)
    many = latent_uniforms(3, np.arange(9), CLASSES, 0, 1)
    assert torch.equal(few, many[:2, :5])


def test_bad_input_is_refused() -> None:
    inputs = problem()
    w, labels, prior = inputs["w"], inputs["labels"], inputs["prior_alpha"]
    with pytest.raises(ValueError, match="delta must be at least 1"):
        DirichletVAE(2, DIM, CLASSES, delta=0.5)
    with pytest.raises(ValueError, match="rows of w"):
        vae_module._check(ROWS, CLASSES, labels[:-1], prior)
    with pytest.raises(ValueError, match="labels must be classes 0 to"):
        fit_vae(w, labels + 1, prior, show_progress=False)
    with pytest.raises(ValueError, match="prior_alpha must be above 0"):
        fit_vae(w, labels, prior * 0, show_progress=False)
