"""How much faster stage II of DyGEN is than the same stage written with loops.

Both sides do the same computation on the same numbers (the results are compared): scores, kNN prior, VAE, posterior.
The loop runs over branches, classes and noisy labels, see tests/reference/dygen_loop.py. Two arrangements:
`every` evaluates the posterior of all rows after each iteration in mini-batches, as the published code does, `last`
only once at the end. `--habits published` lets the loop also have the other habits of the published code: rows
through a `DataLoader`, four losses read out a step, and a full pass of the VAE, decoder included, for every noisy
label at inference. The default, `lean`, spares the loop all of that. Runs are paired (loop, batched, loop, ...), the
figure is the median of the ratios. On a shared machine one thread and the processor time say most.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.stage2_speed --output benchmarks/results/stage2_speed.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from hf_noisy.dygen.vae import DirichletVAE, fit_vae, latent_uniforms, prior_alpha, row_order
from hf_noisy.dynamics.scores import centroid_distances, centroids, dynamics_score
from tests.reference import dygen_loop

PARTS = ("scores", "prior", "vae", "posterior")


class Problem:
    """Gaussian classes whose embeddings drift over the epochs; 40 % of the given labels are the next class."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.branches, self.epochs, self.classes = args.branches, args.epochs, args.classes
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


def batched(problem: Problem, args: argparse.Namespace, timed: Callable[..., Any]) -> tuple[np.ndarray, torch.Tensor]:
    rows = np.arange(args.rows)

    def own_distances(epoch: np.ndarray) -> np.ndarray:
        means = centroids(epoch, problem.given, problem.classes)
        return centroid_distances(epoch, means)[rows, problem.given]

    def scores() -> np.ndarray:
        return np.stack([dynamics_score(np.stack([own_distances(e) for e in b])).score for b in problem.embeddings])

    def posterior() -> torch.Tensor:
        for _ in range(args.iterations):
            result = vae.posterior(problem.w, problem.probabilities)
        return result

    score = timed("scores", scores)
    prior = timed("prior", lambda: knn_prior(problem, score))
    options = {"epochs": args.iterations, "batch_size": args.batch_size, "show_progress": False}
    vae = timed("vae", lambda: fit_vae(problem.w, problem.labels, prior, **options))
    with torch.no_grad():
        return score, timed("posterior", posterior)


def looped(problem: Problem, args: argparse.Namespace, timed: Callable[..., Any]) -> tuple[np.ndarray, torch.Tensor]:
    initial = DirichletVAE(args.branches, args.epochs * args.dim, args.classes)
    vaes = [dygen_loop.BranchVAE(args.epochs * args.dim, args.classes) for _ in range(args.branches)]
    with torch.no_grad():
        for m, vae in enumerate(vaes):
            weight, bias = initial.trajectory_weight[m].chunk(2), initial.bias[m].chunk(2)
            vae.encoder.weight.copy_(torch.cat([weight[0], initial.label_weight[m]], 1))
            vae.decoder.weight.copy_(torch.cat([weight[1], initial.latent_weight[m]], 1))
            vae.encoder.bias.copy_(bias[0])
            vae.decoder.bias.copy_(bias[1])

    def loader(*columns: torch.Tensor, **options: Any) -> DataLoader[Any]:
        return DataLoader(TensorDataset(*columns), batch_size=args.batch_size, **options)

    def published_train() -> None:
        optimizer = torch.optim.Adam([p for vae in vaes for p in vae.parameters()], lr=1e-3)
        for i in range(args.iterations):
            noise = latent_uniforms(args.branches, args.rows, args.classes, 0, i).float().transpose(0, 1)
            order = row_order(args.rows, 0, i).tolist()
            for w, alpha, u, labels in loader(by_row, prior.transpose(0, 1), noise, problem.labels, sampler=order):
                batch = (w.transpose(0, 1), labels, alpha.transpose(0, 1), u.transpose(0, 1))
                bound, disagreement = dygen_loop.loss(vaes, *batch)
                loss = bound + (i >= 0.1 * args.iterations) * disagreement
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                for term in (loss, bound, disagreement, loss):
                    term.item()

    @torch.no_grad()
    def published_posterior() -> torch.Tensor:
        for _ in range(args.iterations):
            parts = []
            for w, p in loader(by_row, problem.probabilities.transpose(0, 1)):
                merged = torch.zeros(len(w), args.classes)
                for m, vae in enumerate(vaes):
                    for k in range(args.classes):
                        one_hot = torch.zeros(len(w), args.classes)
                        one_hot[:, k] = 1
                        _, alpha = vae(w[:, m], one_hot, torch.rand(len(w), args.classes))
                        merged += (alpha - 1) / (alpha - 1).sum(1, keepdim=True) * p[:, m, k : k + 1]
                parts.append(merged / args.branches)
        return torch.cat(parts)

    def train() -> None:
        shape = (args.branches, args.rows, args.classes)
        steps = range(args.iterations)
        orders = [torch.from_numpy(row_order(args.rows, 0, i)) for i in steps]
        noise = [latent_uniforms(*shape, 0, i).float() for i in steps]
        batches = [list(order.split(args.batch_size)) for order in orders]
        dygen_loop.train(vaes, problem.w, problem.labels, prior, batches, noise)

    def posterior() -> torch.Tensor:
        for _ in range(args.iterations):
            result = dygen_loop.posterior(vaes, problem.w, problem.probabilities, args.batch_size)
        return result

    if args.habits == "published":
        train, posterior = published_train, published_posterior
    by_row = problem.w.transpose(0, 1).contiguous()
    epochs = [list(branch) for branch in problem.embeddings]
    score = timed("scores", lambda: dygen_loop.scores(epochs, problem.given, problem.classes))
    prior = timed("prior", lambda: knn_prior(problem, score))
    timed("vae", train)
    return score, timed("posterior", posterior)


def clocked(side: Callable[..., Any], problem: Problem, args: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Seconds of each part, by the clock on the wall and by processor time."""
    seconds: dict[str, dict[str, float]] = {"wall": {}, "cpu": {}}

    def timed(part: str, work: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        seconds["wall"][part], seconds["cpu"][part] = time.perf_counter() - wall, time.process_time() - cpu
        return result

    return seconds, side(problem, args, timed)


def total(seconds: dict[str, float], evaluations: float) -> float:
    return seconds["scores"] + seconds["prior"] + seconds["vae"] + seconds["posterior"] * evaluations


def compared(runs: list[dict[str, Any]], seconds: Callable[[dict[str, Any]], float]) -> dict[str, float]:
    """Medians over the pairs of runs: seconds of either side, and the ratio within a pair."""
    loop, fast = [seconds(run["loop"]) for run in runs], [seconds(run["batched"]) for run in runs]
    ratios = [slow / quick for slow, quick in zip(loop, fast, strict=True)]
    values = {"loop_s": loop, "batched_s": fast, "ratio": ratios}
    return {name: round(statistics.median(column), 4) for name, column in values.items()}


def summary(runs: list[dict[str, Any]], clock: str, iterations: int) -> dict[str, Any]:
    result = {part: compared(runs, lambda side, part=part: side[clock][part]) for part in PARTS}
    for name, share in (("every", 1.0), ("last", 1.0 / iterations)):
        key = f"total, posterior after {name} iteration"
        result[key] = compared(runs, lambda side, share=share: total(side[clock], share))
    return result


def environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "sklearn": sklearn.__version__,
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"rows": 2500, "branches": 2, "epochs": 8, "dim": 384, "classes": 6, "iterations": 10}
    for name, default in {**sizes, "repeats": 5, "threads": 1, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32, 128], help="32 is the published one")
    parser.add_argument("--habits", choices=["lean", "published"], default="lean", help="how the loop is written")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    problem = Problem(args)
    report: dict[str, Any] = {"settings": {k: v for k, v in vars(args).items() if k != "output"}, "results": []}
    report["environment"] = environment()
    for batch_size in args.batch_sizes:
        args.batch_size, runs = batch_size, []
        for repeat in range(args.repeats + 1):
            loop, (loop_scores, loop_posterior) = clocked(looped, problem, args)
            fast, (fast_scores, fast_posterior) = clocked(batched, problem, args)
            if repeat:  # the first pair warms up
                runs.append({"loop": loop, "batched": fast})
        result = {clock: summary(runs, clock, args.iterations) for clock in ("wall", "cpu")}
        result["batch_size"] = args.batch_size
        result["largest_difference"] = {
            "scores": float(np.abs(loop_scores - fast_scores).max()),
            "posterior": float((loop_posterior - fast_posterior).abs().max()),
        }
        report["results"].append(result)
        print(f"batch size {args.batch_size}, largest difference {result['largest_difference']}")
        for clock in ("wall", "cpu"):
            for name, row in result[clock].items():
                print(f"  {clock:4} {name:42} {row['loop_s']:8.3f} s {row['batched_s']:8.3f} s {row['ratio']:6.1f} x")
    if args.output:
        temporary = args.output.with_suffix(".tmp")
        temporary.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(temporary, args.output)


if __name__ == "__main__":
    main()
