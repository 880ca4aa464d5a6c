"""What each part of DyGEN adds, on heads over frozen features: benchmarks/results/ablations.json.

    HF_NOISY_DATA_DIR=... python -m benchmarks.ablations --workers 2

After the ablations of the paper (Zhuang et al., 2023): stage I, the prior and stage II on and off (Table 3), prior
against posterior (Figure 5), what finds wrong labels (Figure 6), large noise (Figure 7), the number of branches and
the learning rate (Figure 8), calibration (Figure 4). A cell is one training, from which every variant is read.
Finished cells are kept.
"""

import json
import os
import platform
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from benchmarks.suites import SUITES, Setting

RESULT = Path(__file__).parent / "results" / "ablations.json"
MAIN = [
    Setting("20news", "symmetric 40 %", "clean", "symmetric", 0.4),
    Setting("20news", "asymmetric 40 %", "clean", "asymmetric", 0.4),
    Setting("20news", "instance 40 %", "clean", "instance", 0.4),
    Setting("trec", "rules", "rules"),
    Setting("semeval", "rules", "rules"),
    Setting("docs", "rules", "rules"),
    Setting("noisyag_news", "human", "mid"),
]
LARGE = [Setting("20news", f"symmetric {rate} %", "clean", "symmetric", rate / 100) for rate in (50, 60, 70)]
SWEPT = [MAIN[0], MAIN[3]]


@dataclass(frozen=True)
class Cell:
    setting: Setting
    seed: int
    branches: int = 2  # 1: no stage I, one network by cross-entropy
    learning_rate: float = 1e-3

    @property
    def key(self) -> str:
        return f"{self.setting.name}/{self.branches}/{self.learning_rate}/{self.seed}"


@dataclass
class Arguments:
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "of rows, noise and networks"})
    workers: int = field(default=1, metadata={"help": "cells at a time, one thread each"})
    work_dir: str = field(default="output/benchmark", metadata={"help": "where the frozen features are kept"})
    output: str = field(default=str(RESULT), metadata={"help": "result file; what it holds is not run again"})


def cells(seeds: list[int]) -> list[Cell]:
    made = [Cell(setting, seed, branches) for seed in seeds for setting in MAIN + LARGE for branches in (1, 2)]
    made += [Cell(setting, seed, branches) for seed in seeds for setting in SWEPT for branches in (3, 4)]
    made += [Cell(setting, seed, 2, rate) for seed in seeds for setting in SWEPT for rate in (3e-4, 3e-3)]
    return made


def run(cell: Cell, work_dir: str) -> dict[str, Any]:
    from benchmarks.competitors import recorded
    from benchmarks.pools import load_pool
    from benchmarks.tasks import make_task
    from hf_noisy import BranchedModel, CoRegularization, DyGen

    torch.set_num_threads(1)
    budget = replace(SUITES["text-small"].budget, learning_rate=cell.learning_rate)
    task = make_task(cell.setting, budget, cell.seed, load_pool(cell.setting.dataset, Path(work_dir) / "pools"))
    with tempfile.TemporaryDirectory() as folder:
        model, method = task.network(), "cross_entropy"
        if cell.branches > 1:
            model = BranchedModel.from_model(model, cell.branches, seed=cell.seed, initialize="all")
            method = CoRegularization(agreement_weight=5.0, warmup_ratio=0.1)
        trajectories = recorded(task, method, model, folder).trajectories
        dygen = DyGen.fit(trajectories, task.given, seed=cell.seed, show_progress=False)
        logits = trajectories.logits("test")[-1].astype(np.float64)
        said = {
            "network": softmax(logits, axis=-1).mean(0),
            "prior": dygen.prior_of("test"),
            "posterior": dygen.posterior("test"),
            "posterior_without_prior": without_prior(trajectories, task.given, cell.seed),
        }
        if cell.setting in LARGE:  # as in the paper, whose DyGEN is told how many labels are wrong
            rate = float((task.given != task.clean).mean())
            told = DyGen.fit(trajectories, task.given, noise_rate=rate, seed=cell.seed, show_progress=False)
            said["posterior_known_rate"] = told.posterior("test")
        result = {"accuracy": {}, "ece": {}, "auroc": find_wrong(trajectories, dygen, task)}
        for name, probabilities in said.items():
            scores = score(probabilities, task.truth)
            result["accuracy"][name], result["ece"][name] = scores
        right = lambda labels: float((labels == task.clean).mean())  # noqa: E731
        posterior = dygen.posterior("train", task.given)
        result["train_labels"] = {"given": right(task.given), "prior": right(dygen.prior.mean(0).argmax(1)),
                                  "posterior": right(posterior.argmax(1))}  # fmt: skip
        result["noise_rate"] = {"measured": 1 - right(task.given), "estimated": dygen.noise_rate}
    return result


def score(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    from hf_noisy.metrics import expected_calibration_error

    accuracy = float((probabilities.argmax(1) == truth).mean())
    return accuracy, float(expected_calibration_error(np.asarray(probabilities, np.float64), truth))


def without_prior(trajectories: Any, given: np.ndarray, seed: int) -> np.ndarray:
    """Stage II on a prior that knows the given labels only."""
    from hf_noisy.dygen.vae import fit_vae, prior_alpha
    from hf_noisy.dygen.vectors import TrajectoryVectors

    vectors = TrajectoryVectors.fit(trajectories, "train")
    labels = torch.from_numpy(np.asarray(given, np.int64))
    one_hot = torch.nn.functional.one_hot(labels, trajectories.num_classes).float()[None]
    vae = fit_vae(
        vectors(trajectories, "train"), labels, prior_alpha(one_hot, 1.0, 10.0), epochs=10, batch_size=32,
        learning_rate=1e-3, delta=1.0, seed=seed, show_progress=False,
    )  # fmt: skip
    last = torch.from_numpy(trajectories.logits("test")[-1]).softmax(-1)
    with torch.no_grad():
        return vae.posterior(vectors(trajectories, "test"), last).double().numpy()


def find_wrong(trajectories: Any, dygen: Any, task: Any) -> dict[str, float] | None:
    """Area under the ROC curve of 'the given label is wrong', by what is suspicious."""
    from hf_noisy.detection import aum, data_map, self_confidence

    wrong = task.given != task.clean
    if not 0 < wrong.sum() < len(wrong):
        return None
    logits = trajectories.logits("train")[:, 0]
    probabilities = softmax(logits.astype(np.float64), axis=-1)
    cartography = data_map(list(logits), task.given)
    dynamics = dygen.dynamics(task.given)
    suspicious = {
        "confidence, last epoch": -self_confidence(probabilities[-1], task.given),
        "AUM": -aum(list(logits), task.given),
        "Cartography": -cartography.confidence,
        "distance, mean and deviation": dynamics.mean + dynamics.deviation,
        "evidence": dygen.fitted_prior.suspicion,
    }
    return {name: float(roc_auc_score(wrong, values)) for name, values in suspicious.items()}


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    from benchmarks.pools import load_pool
    from benchmarks.run import write_atomically

    output, budget = Path(arguments.output), asdict(SUITES["text-small"].budget)
    result = json.loads(output.read_text()) if output.is_file() else {"cells": {}, "budget": budget}
    if result["budget"] != budget:
        raise SystemExit(f"{output} holds cells of another budget; name another --output")
    for name in dict.fromkeys(setting.dataset for setting in MAIN):
        load_pool(name, Path(arguments.work_dir) / "pools")  # once, before several workers would each make it
    result |= {
        "command": " ".join(["python -m benchmarks.ablations", *sys.argv[1:]]),
        "protocol": "last epoch; no true label was used, but for the rate in the column that says so",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("hf-noisy", "torch", "transformers", "datasets")},
    }
    wanted, failed = [cell for cell in cells(arguments.seeds) if cell.key not in result["cells"]], []
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, cell, arguments.work_dir): cell for cell in wanted}
        for future in tqdm(as_completed(futures), total=len(futures), desc="cells"):
            if (error := future.exception()) is not None:  # the others go on
                failed.append(f"{futures[future].key}: {error!r}")
                continue
            result["cells"][futures[future].key] = future.result()
            write_atomically(output, json.dumps(result, indent=1) + "\n")
    if failed:
        raise SystemExit("\n".join(["some cells failed; a second call runs them again:", *failed]))


if __name__ == "__main__":
    main()
