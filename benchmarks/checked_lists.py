"""Tags and sets of classes corrected with the help of 100 checked rows, beside none.

    python -m benchmarks.checked_lists

Writes benchmarks/results/checked_lists.json: for each data set and draw of the checked rows the share of wrong labels
of the rows that nobody checked, as given and as corrected, how many labels change and how many of these end right,
the estimated shares with their intervals beside the true ones, and the F1 on test rows (of entities, or micro F1 at
0.5) of a linear head trained on the corrected labels as soft targets, beside that of given and of true labels. Of
the 100 checked rows all are random, or the last 50 are those that `hf-noisy next` takes: how many wrong labels these
50 have. Frozen MiniLM features.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit
from transformers import AutoModel, AutoTokenizer

from benchmarks.pools import minilm, minilm_features
from hf_noisy import inject_noise, load_noisy_dataset, noise
from hf_noisy.core.columns import CLEAN_LABEL, FEATURES, TOKENS
from hf_noisy.data.checked import RANDOM
from hf_noisy.data.checked_lists import CheckedLists
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.detection.list_audit import audit_lists
from hf_noisy.detection.lists_to_check import lists_to_check
from hf_noisy.detection.predictors import LENGTH
from hf_noisy.metrics.entities import entity_scores
from hf_noisy.metrics.label_sets import multi_label_scores
from hf_noisy.models.word_features import embed_words

RESULTS = Path(__file__).parent / "results" / "checked_lists.json"
MISSING = "goemotions, 40 % missing"  # on which no constant was chosen
DATASETS, CHECKED, DRAWS = ("wikigold_distant", "redocred", MISSING), (20, 100), 3
CHOSEN = 50  # of the last of these numbers
ROWS = 4000  # of goemotions
_PENALTY_TAGS, _PENALTY_SETS = 0.0003, 0.003


def load(name: str) -> Any:
    """The splits of a data set, with real noise or with injected noise."""
    if name != MISSING:
        return load_noisy_dataset(name)
    splits = load_noisy_dataset("goemotions")
    splits["train"] = inject_noise(splits["train"].select(range(ROWS)), noise.label_sets(missing=0.4))
    return splits


def features_of(name: str, rows: Any) -> np.ndarray:
    if TOKENS not in rows.column_names:
        return minilm_features(rows, max_length=256)
    model, tokenizer = AutoModel.from_pretrained(minilm()), AutoTokenizer.from_pretrained(minilm())
    return np.asarray(embed_words(rows, model, tokenizer).with_format("numpy")[FEATURES][:])


class Heads:
    """Linear heads on the training rows, scored on true labels of test rows."""

    def __init__(self, train: Any, test: Any, features: np.ndarray, test_features: np.ndarray) -> None:
        centre = mean_direction(features)
        self.train, self.test = (
            (LENGTH * directions(one, centre)).astype(np.float32) for one in (features, test_features)
        )
        self.rows, self.names = test, np.array(list_names(train))

    def f1(self, targets: np.ndarray) -> float:
        """F1 of a head trained on probabilities of the labels."""
        if TOKENS not in self.rows.column_names:
            head = fit_linear_head(self.train, targets, _PENALTY_SETS, sigmoid=True)
            true = label_sets(self.rows, CLEAN_LABEL)[0]
            return multi_label_scores(true, expit(head.logits(self.test)))["micro_f1"]
        head, true = fit_linear_head(self.train, targets, _PENALTY_TAGS), flat_tags(self.rows, CLEAN_LABEL)
        tags = (true.split(self.names[one]) for one in (true.labels, head.logits(self.test).argmax(1)))
        return entity_scores(*([one.tolist() for one in side] for side in tags))["entity_f1"]


def checked_by(rows: Any, index: np.ndarray, random: int) -> CheckedLists | None:
    """The true labels of rows, of which so many were drawn at random."""
    if TOKENS in rows.column_names:
        flat = flat_tags(rows, CLEAN_LABEL)
        values = [flat.labels[flat.offsets[row] : flat.offsets[row + 1]] for row in index]
    else:
        values = list(label_sets(rows, CLEAN_LABEL)[0].astype(np.int64)[index])
    order = np.argsort(index)
    strategy = [RANDOM if place < random else "informative" for place in order]
    return CheckedLists(index[order], [values[place] for place in order], strategy) if len(index) else None


def measure(rows: Any, features: np.ndarray, count: int, seed: int, heads: Heads, chosen: int = 0) -> dict[str, Any]:
    """One draw of checked rows, the last of them chosen; none for the correction without them."""
    tokens = TOKENS in rows.column_names
    true = flat_tags(rows, CLEAN_LABEL).labels if tokens else label_sets(rows, CLEAN_LABEL)[0].astype(np.int64)
    index = np.random.default_rng(seed).permutation(len(rows))[: count - chosen]
    if chosen:
        audit = audit_lists(rows, features, checked=checked_by(rows, index, len(index)))
        index = np.concatenate([index, lists_to_check(rows, features, audit, index, chosen)])
    started = time.process_time()
    found = audit_lists(rows, features, checked=checked_by(rows, index, count - chosen))
    seconds = time.process_time() - started
    changes = found.changes(0.5)  # as `purify` does
    new, left = np.where(changes, found.issues.suggested, found.given), ~found.is_checked
    one: dict[str, Any] = {
        "checked": count,
        "chosen": chosen,
        "seed": seed,
        "given": float((found.given != true)[left].mean()),
        "corrected": float((new != true)[left].mean()),
        "changed": int((changes & left).sum()),
        "right": int((new == true)[changes & left].sum()),
        "seconds": round(seconds, 1),
    }
    odd = found.given != true
    of_row = np.bincount(flat_tags(rows).rows, weights=odd, minlength=len(rows)) if tokens else odd.sum(1)
    if count:
        one["f1"] = heads.f1(found.probabilities)
        one["wrong_in_last"] = int(of_row[index[-CHOSEN:]].sum())
    else:  # without checked rows the probabilities are those of the given labels
        as_targets = (lambda labels: np.eye(len(heads.names))[labels]) if tokens else (lambda labels: labels)
        one |= {"f1_given": heads.f1(as_targets(found.given)), "f1_true": heads.f1(as_targets(true))}
    if found.shares is not None and found.shares.missing is not None:
        has = true > (list_names(rows).index("O") if tokens else 0)  # the tag O comes first
        one |= {"wrong": found.shares.wrong[:3], "true_wrong": float((found.given != true).mean())}
        one |= {"missing": found.shares.missing[:3], "true_missing": float((found.given == 0)[has].mean())}
    return one


def main() -> None:
    results = {}
    for name in DATASETS:
        splits = load(name)
        rows = splits["train"]
        features = features_of(name, rows)
        heads = Heads(rows, splits["test"], features, features_of(name, splits["test"]))
        settings = [*((count, 0) for count in CHECKED), (CHECKED[-1], CHOSEN)]
        runs = [(count, seed, chosen) for count, chosen in settings for seed in range(DRAWS)]
        results[name] = [
            measure(rows, features, count, seed, heads, chosen) for count, seed, chosen in [(0, 0, 0), *runs]
        ]
        for one in results[name]:
            print(name, one, flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
