"""The published prior and the default one on the trajectories that benchmarks/dygen_text.py left behind.

    HF_NOISY_DATA_DIR=... python benchmarks/published_prior.py --work_dir output/dygen_text

The published prior is handed the true noise rate, as its authors do. Writes benchmarks/results/published_prior.json.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from dygen_text import RESULTS, SETTINGS, cell_folder
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import HfArgumentParser

from hf_noisy import DyGen, Trajectories, load_noisy_dataset

NOISE = ("noise_type", "noise_rate", "noise_seed")


@dataclass
class Arguments:
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2], metadata={"help": "as in dygen_text.py"})
    work_dir: str = field(default="output/dygen_text", metadata={"help": "as in dygen_text.py"})
    output: str = field(default=str(RESULTS / "published_prior.json"), metadata={"help": "result file"})


def labels_of(result: dict, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Given and true labels of the rows that the run drew, by the rule of examples/run_dygen.py."""
    used = result["arguments"]
    data = load_noisy_dataset(name=used["dataset"], **{key: used[key] for key in NOISE})[split]
    limit = used["max_train_samples" if split == "train" else "max_test_samples"]
    rows = np.sort(np.random.default_rng(result["seed"]).permutation(len(data))[:limit])
    return np.array(data["label"])[rows], np.array(data["clean_label"])[rows]


def measure(folder: Path) -> dict:
    result = json.loads((folder / "dygen_results.json").read_text())
    (given, true), (_, test) = labels_of(result, "train"), labels_of(result, "test")
    trajectories = Trajectories(folder)
    wrong = given != true
    probabilities = softmax(trajectories.logits("train"), axis=-1).mean((0, 1))
    agreement = (trajectories.logits("train").argmax(-1) == given).mean((1, 2))
    row = {"label_accuracy_given": 1 - wrong.mean(), "agreement_by_epoch": agreement.round(3).tolist()}
    # How much the pretrained encoder could tell: a linear model on its features, taught by the true labels.
    ceiling = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    ceiling.fit(trajectories.features("train"), true)
    row["pretrained_features_with_true_labels"] = ceiling.score(trajectories.features("test"), test)
    for preset, rate in {"paper": float(wrong.mean()), "evidence": None}.items():
        dygen = DyGen.fit(trajectories, given, rate, preset=preset, seed=result["seed"], show_progress=False)
        prior = dygen.prior.argmax(2)  # of every branch; their mean would break ties by the number of the class
        expected = 0.1 * np.bincount(true, minlength=trajectories.num_classes)
        lost = [(np.bincount(labels, minlength=trajectories.num_classes) < expected).sum() for labels in prior]
        row[preset] = {
            "prior_label_accuracy": (prior == true).mean(),
            "classes_with_under_10_percent_of_their_rows": float(np.mean(lost)),
            "test_accuracy": (dygen.posterior("test").argmax(1) == test).mean(),
        }
        dynamics = dygen.dynamics(given)
        if preset == "paper":
            own = probabilities[np.arange(len(given)), given]
            scores = {"mean": dynamics.mean, "deviation": dynamics.deviation, "both": dynamics.score, "1-p": -own}
            row["auroc_of_wrong"] = {name: roc_auc_score(wrong, score) for name, score in scores.items()}
        else:
            row["auroc_of_wrong"]["evidence"] = roc_auc_score(wrong, dygen.fitted_prior.suspicion)
    return row


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    rows = {}
    for name in SETTINGS:
        cells = [measure(cell_folder(arguments.work_dir, name, seed)) for seed in arguments.seeds]
        rows[name] = {"seeds": cells}
        shown = {f"{preset} {key}": np.mean([cell[preset][key] for cell in cells]).round(3)
                 for preset in ("paper", "evidence") for key in ("prior_label_accuracy", "test_accuracy")}  # fmt: skip
        print(name, "given", np.mean([cell["label_accuracy_given"] for cell in cells]).round(3), shown, flush=True)
    Path(arguments.output).write_text(json.dumps({"seeds": arguments.seeds, "rows": rows}, indent=1, default=float))


if __name__ == "__main__":
    main()
