"""DyGEN against numbers of the published code, and against the same stage written with loops."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

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
from hf_noisy.dynamics.scores import centroid_distances, centroids, dynamics_score
from hf_noisy.losses.branch_divergence import branch_divergence
from tests.reference import dygen_loop

VALUE, GRADIENT = 1e-9, 1e-6


def vector(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    content = json.loads((Path(__file__).parent / "fixtures" / f"{name}.json").read_text())
    return content["inputs"], content["outputs"]


def real(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_near(actual: torch.Tensor, expected: Any, tolerance: float = VALUE) -> None:
    torch.testing.assert_close(actual.detach(), real(expected), rtol=0, atol=tolerance)


def with_weights(encoders: list[tuple[Any, Any]], decoders: list[tuple[Any, Any]], classes: int) -> DirichletVAE:
    """A VAE with the weights of one `Linear([w, label])` and one `Linear([w, z])` a branch."""
    dim = len(encoders[0][0][0]) - classes
    vae = DirichletVAE(len(encoders), dim, classes).double()
    with torch.no_grad():
        for m, ((encoder, encoder_bias), (decoder, decoder_bias)) in enumerate(zip(encoders, decoders, strict=True)):
            vae.trajectory_weight[m] = torch.cat([real(encoder)[:, :dim], real(decoder)[:, :dim]])
            vae.label_weight[m], vae.latent_weight[m] = real(encoder)[:, dim:], real(decoder)[:, dim:]
            vae.bias[m] = torch.cat([real(encoder_bias), real(decoder_bias)])
    return vae


def test_euclidean_distances() -> None:
    inputs, outputs = vector("dygen_euclidean")
    embeddings, labels = np.array(inputs["embeddings"]), np.array(inputs["labels"])
    means = centroids(embeddings, labels, 3)
    np.testing.assert_allclose(means, outputs["centroids_code"], rtol=0, atol=VALUE)
    np.testing.assert_allclose(
        centroid_distances(embeddings, means), outputs["dists_official[n,C]"], rtol=0, atol=VALUE
    )


def test_dynamics_score() -> None:
    inputs, outputs = vector("dygen_dynamics_score")
    distances, labels = np.array(inputs["dists[epoch,n,C]"]), np.array(inputs["noisy_labels"])
    own = distances[:, np.arange(len(labels)), labels]
    paper, code = dynamics_score(own), dynamics_score(own, ddof=1)
    for actual, name in (
        (paper.mean, "mean"),
        (paper.deviation, "std_biased(paper)"),
        (code.deviation, "std_unbiased(code)"),
        (code.score, "score_code"),
    ):
        np.testing.assert_allclose(actual, outputs[name], rtol=0, atol=VALUE)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_stage_one_loss(alpha: float) -> None:
    inputs, outputs = vector("dygen_stage1_coreg")
    expected = outputs[f"alpha_t={alpha}"]
    logits, labels = real(inputs["logits[M,B,C]"]).requires_grad_(), torch.tensor(inputs["labels"])
    task = torch.stack([F.cross_entropy(branch, labels) for branch in logits]).mean()
    loss = task + alpha * branch_divergence(logits.softmax(-1), inputs["eps"]).mean()
    loss.backward()
    assert_near(loss, expected["loss"])
    assert_near(logits.grad, [expected["grad_logits_branch1"], expected["grad_logits_branch2"]], GRADIENT)


def test_stage_two_loss() -> None:
    inputs, outputs = vector("dygen_stage2_loss")
    prior_labels = torch.tensor(inputs["y_prior"])
    alpha = real(inputs["alpha_infer[M,B,C]"]).requires_grad_()
    prior = prior_alpha(F.one_hot(prior_labels, 4).double(), rho=float(inputs["prior_norm(rho)"]))
    assert_near(prior, outputs["alpha_prior (= 1 + 1/C + 5*onehot)"])
    divergence = gamma_kl(alpha, prior)
    assert_near(divergence, outputs["gamma_kl_per_sample[M,B]"])
    assert_near(divergence.mean(0).sum(), outputs["kl_loss"])
    modes = dirichlet_mode(alpha)
    assert_near(modes, outputs["mode_m = (alpha-1)/sum(alpha-1)"])
    disagreement = branch_divergence(modes).sum()
    assert_near(disagreement, outputs["reg_loss"])
    (to_alpha,) = torch.autograd.grad(divergence.mean(0).sum(), alpha, retain_graph=True)
    assert_near(to_alpha, outputs["grad_kl_wrt_alpha"], GRADIENT)
    (to_alpha,) = torch.autograd.grad(disagreement, alpha)
    assert_near(to_alpha, outputs["grad_reg_wrt_alpha"], GRADIENT)


def test_stage_two_loss_through_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, outputs = vector("dygen_stage2_loss")
    labels, prior_labels = torch.tensor(inputs["y_tilde"]), torch.tensor(inputs["y_prior"])
    alpha, logits = real(inputs["alpha_infer[M,B,C]"]), real(inputs["recon_logits[M,B,C]"])
    vae = DirichletVAE(2, 5, 4).double()
    monkeypatch.setattr(vae, "_activate", lambda encoded, labels: alpha)
    monkeypatch.setattr(vae, "_decode", lambda decoded, z: logits)
    prior = prior_alpha(F.one_hot(prior_labels, 4).double())
    arguments = (torch.zeros(2, 3, 5, dtype=torch.float64), labels, prior, torch.full((2, 3, 4), 0.5))
    loss = vae.loss(*arguments)
    assert_near(loss.reconstruction.sum(), outputs["recon_loss"])
    assert_near(loss.divergence.sum(), outputs["kl_loss"])
    assert_near(loss.coregularization.sum(), outputs["reg_loss"])
    assert_near(loss.total.sum(), outputs["total_beta1_lambda1"])
    assert_near(vae.loss(*arguments, weight=5.0).total.sum(), outputs["total_beta1_lambda5"])


def test_reparameterisation() -> None:
    inputs, outputs = vector("dygen_reparameterisation")
    alpha, uniforms = real(inputs["alpha"]).requires_grad_(), real(inputs["u"])
    z = reparameterise(alpha, uniforms)
    z.sum().backward()
    assert_near(z, outputs["z"])
    assert_near(alpha.grad, outputs["grad_of_sum_z_wrt_alpha"], GRADIENT)


def test_encoder_and_decoder() -> None:
    inputs, outputs = vector("dygen_cvae_forward")
    vae = with_weights([(inputs["enc_W"], inputs["enc_b"])], [(inputs["dec_W"], inputs["dec_b"])], classes=4)
    w, labels = real([inputs["x"]]), torch.tensor(inputs["y_tilde"])
    alpha = vae.alpha(w, labels)
    assert_near(alpha[0], outputs["alpha"])
    logits = vae._decode(vae._read(w, slice(4, None)), reparameterise(alpha, real([inputs["u"]])))
    assert_near(logits[0], outputs["y_recon_logits"])


def test_posterior() -> None:
    inputs, outputs = vector("dygen_posterior_merge")
    encoders = list(zip(inputs["enc_W[M]"], inputs["enc_b[M]"], strict=True))
    vae = with_weights(encoders, encoders, classes=4)
    w = real(inputs["x[B,M,D]"]).transpose(0, 1)
    probabilities = real(inputs["logits[M,B,C]"]).softmax(-1)
    transition = dirichlet_mode(vae.alpha_all(w))
    assert_near(transition.mT, outputs["H[M][B,y,k]"])
    assert_near(vae.posterior(w, probabilities), outputs["merged_official[B,C]"])


def loop_vaes(vae: DirichletVAE) -> list[dygen_loop.BranchVAE]:
    """One module a branch with the weights of the batched VAE."""
    classes = vae.num_classes
    modules = []
    for m in range(vae.num_branches):
        module = dygen_loop.BranchVAE(vae.dim, classes).to(vae.bias.dtype)
        with torch.no_grad():
            for layer, rows, extra in (
                (module.encoder, slice(0, classes), vae.label_weight),
                (module.decoder, slice(classes, None), vae.latent_weight),
            ):
                layer.weight.copy_(torch.cat([vae.trajectory_weight[m, rows], extra[m]], 1))
                layer.bias.copy_(vae.bias[m, rows])
        modules.append(module)
    return modules


def test_batched_stage_two_equals_the_loop() -> None:
    branches, epochs, rows, dim, classes, seed, iterations = 3, 4, 45, 6, 4, 7, 5
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(branches, epochs, rows, dim))
    given = rng.integers(0, classes, rows)
    batched_scores = []
    for branch in embeddings:
        distances = [
            centroid_distances(epoch, centroids(epoch, given, classes))[np.arange(rows), given] for epoch in branch
        ]
        batched_scores.append(dynamics_score(np.stack(distances)).score)
    loop_scores = dygen_loop.scores([list(branch) for branch in embeddings], given, classes)
    np.testing.assert_allclose(np.stack(batched_scores), loop_scores, rtol=0, atol=1e-8)

    w = torch.from_numpy(embeddings).permute(0, 2, 1, 3).reshape(branches, rows, epochs * dim)
    labels = torch.from_numpy(given)
    suspected = torch.from_numpy(loop_scores > np.median(loop_scores, 1, keepdims=True))
    prior_labels = torch.where(suspected, (labels + 1) % classes, labels)
    prior = prior_alpha(F.one_hot(prior_labels, classes).double())
    probabilities = real(rng.normal(size=(branches, rows, classes))).softmax(-1)

    options = {"epochs": iterations, "batch_size": 8, "learning_rate": 1e-2, "warmup_ratio": 0.3, "seed": seed}
    vae = fit_vae(w, labels, prior, show_progress=False, **options)
    vaes = loop_vaes(DirichletVAE(branches, epochs * dim, classes, seed=seed).double())
    batches = [list(torch.from_numpy(row_order(np.arange(rows), seed, i)).split(8)) for i in range(iterations)]
    noise = [latent_uniforms(branches, np.arange(rows), classes, seed, i) for i in range(iterations)]
    dygen_loop.train(vaes, w, labels, prior, batches, noise, learning_rate=1e-2, warmup=0.3)

    expected = dygen_loop.posterior(vaes, w, probabilities, batch_size=8)
    assert (vae.trajectory_weight[0, :classes] - vaes[0].encoder.weight[:, :-classes]).abs().max() < 1e-8
    assert (vae.posterior(w, probabilities) - expected).abs().max() < 1e-8
