"""Speed-up of stage II of DyGEN over the same computation written with loops: stage2_speed.json.

    python -m benchmarks.cost.stage2_speed

Both sides compute scores, kNN prior, VAE and posterior from the same numbers (the results are compared). The loops of
tests/reference/dygen_loop.py run over branches, classes and noisy labels. Two totals: with the posterior of all rows
after `every` iteration in mini-batches, as in the published code, and only after the `last`. Runs are paired; results
are medians of the ratios.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from benchmarks.cost import harness
from hf_noisy.dygen.vae import DirichletVAE, fit_vae, latent_uniforms, prior_alpha, row_order
from hf_noisy.dynamics.scores import centroid_distances, centroids, dynamics_score
from tests.reference import dygen_loop

PARTS = ("scores", "prior", "vae", "posterior")
Result = tuple[np.ndarray, torch.Tensor]  # scores [branch, rows], posterior [rows, classes]


@dataclass
class Arguments(harness.Arguments):
    rows: int = harness.option(2500, "training rows")
    branches: int = harness.option(2, "branches")
    epochs: int = harness.option(8, "recorded epochs")
    dim: int = harness.option(384, "width of an embedding")
    classes: int = harness.option(6, "classes")
    iterations: int = harness.option(10, "passes of stage II")
    repeats: int = harness.option(5, "timed pairs, after a warm-up")
    seed: int = harness.option(0, "of the rows")
    batch_sizes: list[int] = harness.option([32, 128], "32 is the published one")


class Problem:
    """Gaussian classes whose embeddings drift over the epochs; 40 % of the given labels are the next class."""

    def __init__(self, args: Arguments, batch_size: int) -> None:
        self.branches, self.epochs, self.classes = args.branches, args.epochs, args.classes
        self.rows, self.dim, self.iterations, self.batch_size = args.rows, args.dim, args.iterations, batch_size
        rng = np.random.default_rng(args.seed)
        true = rng.integers(0, args.classes, args.rows)
        self.given = np.where(rng.random(args.rows) < 0.4, (true + 1) % args.classes, true)
        centres = rng.normal(size=(args.classes, args.dim))
        shape = (args.branches, args.epochs, args.rows, args.dim)
        self.embeddings = (rng.normal(size=shape) + 0.3 * centres[self.given]).astype(np.float32)
        self.labels = torch.from_numpy(self.given)
        w = torch.from_numpy(self.embeddings).transpose(1, 2)
        self.w = w.reshape(args.branches, args.rows, args.epochs * args.dim).contiguous()
        logits = torch.from_numpy(rng.normal(size=(args.branches, args.rows, args.classes)))
        self.probabilities = logits.softmax(-1).float()


def knn_prior(problem: Problem, scores: np.ndarray) -> torch.Tensor:
    """Prior of both sides: the most suspicious 40 % of a branch take the label of their unsuspected neighbours."""
    labels = np.stack([problem.given] * problem.branches)
    for m, score in enumerate(scores):
        suspected = score > np.quantile(score, 0.6)
        knn = KNeighborsClassifier(n_neighbors=10, weights="distance")
        knn.fit(problem.embeddings[m, 0][~suspected], problem.given[~suspected])
        labels[m, suspected] = knn.predict(problem.embeddings[m, 0][suspected])
    return prior_alpha(F.one_hot(torch.from_numpy(labels), problem.classes).float())


def batched(problem: Problem, clock: harness.Clock) -> Result:
    def own_distances(epoch: np.ndarray) -> np.ndarray:
        means = centroids(epoch, problem.given, problem.classes)
        return centroid_distances(epoch, means)[np.arange(problem.rows), problem.given]

    with clock("scores"):
        branches = [np.stack([own_distances(epoch) for epoch in branch]) for branch in problem.embeddings]
        score = np.stack([dynamics_score(distances).score for distances in branches])
    with clock("prior"):
        prior = knn_prior(problem, score)
    options = {"epochs": problem.iterations, "batch_size": problem.batch_size, "show_progress": False}
    with clock("vae"):
        vae = fit_vae(problem.w, problem.labels, prior, **options)
    with clock("posterior"), torch.no_grad():
        for _ in range(problem.iterations):
            posterior = vae.posterior(problem.w, problem.probabilities)
    return score, posterior


def loop_vaes(problem: Problem) -> list[dygen_loop.BranchVAE]:
    """One VAE per branch, with the initial weights of the batched one."""
    initial = DirichletVAE(problem.branches, problem.w.shape[2], problem.classes)
    vaes = [dygen_loop.BranchVAE(problem.w.shape[2], problem.classes) for _ in range(problem.branches)]
    with torch.no_grad():
        for m, vae in enumerate(vaes):
            weight, bias = initial.trajectory_weight[m].chunk(2), initial.bias[m].chunk(2)
            vae.encoder.weight.copy_(torch.cat([weight[0], initial.label_weight[m]], 1))
            vae.decoder.weight.copy_(torch.cat([weight[1], initial.latent_weight[m]], 1))
            vae.encoder.bias.copy_(bias[0])
            vae.decoder.bias.copy_(bias[1])
    return vaes


def looped(problem: Problem, clock: harness.Clock) -> Result:
    vaes, steps = loop_vaes(problem), range(problem.iterations)
    with clock("scores"):
        score = dygen_loop.scores([list(branch) for branch in problem.embeddings], problem.given, problem.classes)
    with clock("prior"):
        prior = knn_prior(problem, score)
    with clock("vae"):
        rows = np.arange(problem.rows)
        orders = [torch.from_numpy(row_order(rows, 0, i)) for i in steps]
        noise = [latent_uniforms(problem.branches, rows, problem.classes, 0, i).float() for i in steps]
        batches = [list(order.split(problem.batch_size)) for order in orders]
        dygen_loop.train(vaes, problem.w, problem.labels, prior, batches, noise)
    with clock("posterior"):
        for _ in steps:
            posterior = dygen_loop.posterior(vaes, problem.w, problem.probabilities, problem.batch_size)
    return score, posterior


def summary(runs: list[dict[str, harness.Run]], clock: str, iterations: int) -> dict[str, Any]:
    """Medians over the pairs of runs: seconds of either side, and the ratio within a pair."""
    weights = {part: {part: 1.0} for part in PARTS}
    for name, share in (("every", 1.0), ("last", 1.0 / iterations)):
        weights[f"total, posterior after {name} iteration"] = dict.fromkeys(PARTS, 1.0) | {"posterior": share}
    result = {}
    for name, shares in weights.items():
        loop, fast = (
            [sum(run[side][clock][part] * share for part, share in shares.items()) for run in runs]
            for side in ("loop", "batched")
        )
        values = {"loop_s": loop, "batched_s": fast, "ratio": np.divide(loop, fast)}
        result[name] = {key: round(float(np.median(column)), 4) for key, column in values.items()}
    return result


def measured(arguments: Arguments, batch_size: int) -> dict[str, Any]:
    problem, runs = Problem(arguments, batch_size), []
    for _ in range(arguments.repeats + 1):
        clocks = {"loop": harness.Clock(), "batched": harness.Clock()}
        loop_scores, loop_posterior = looped(problem, clocks["loop"])
        scores, posterior = batched(problem, clocks["batched"])
        runs.append({side: clock.seconds for side, clock in clocks.items()})
    difference = {
        "scores": float(np.abs(loop_scores - scores).max()),
        "posterior": float((loop_posterior - posterior).abs().max()),
    }
    # The first pair warms up.
    result = {clock: summary(runs[1:], clock, arguments.iterations) for clock in ("wall", "cpu")}
    return {**result, "batch_size": batch_size, "largest_difference": difference}


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["results"] = []
    for batch_size in arguments.batch_sizes:
        result = measured(arguments, batch_size)
        report["results"].append(result)
        print(f"batch size {batch_size}, largest difference {result['largest_difference']}")
        for clock in ("wall", "cpu"):
            for name, row in result[clock].items():
                print(f"  {clock:4} {name:42} {row['loop_s']:8.3f} s {row['batched_s']:8.3f} s {row['ratio']:6.1f} x")


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "numpy", "scikit-learn")
