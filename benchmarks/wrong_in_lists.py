"""Wrong tags of words and wrong cells of sets of classes against cleanlab, on the same probabilities.

    python -m benchmarks.wrong_in_lists

Writes benchmarks/results/wrong_in_lists.json: for each data set the area under the precision-recall curve (average
precision) of the qualities of `find_wrong_tokens` and `find_wrong_cells` and of each of cleanlab's scores for tokens
and for cells, the estimated and true share of wrong labels, and the times. Probabilities are out of fold, by a linear
head on frozen MiniLM features; sentences are held out whole.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, f1_score
from transformers import AutoModel, AutoTokenizer

from benchmarks.pools import minilm, minilm_features
from hf_noisy import inject_noise, load_noisy_dataset, noise
from hf_noisy.core.columns import CLEAN_LABEL, FEATURES, TOKENS
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names
from hf_noisy.detection import find_wrong_cells, find_wrong_tokens
from hf_noisy.detection.list_predictions import out_of_fold_cells, out_of_fold_tags
from hf_noisy.models.word_features import embed_words

RESULTS = Path(__file__).parent / "results" / "wrong_in_lists.json"
METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
ROWS = 4000  # of goemotions, the first ones


def precision(wrong: np.ndarray, quality: np.ndarray) -> float:
    return round(float(average_precision_score(wrong.ravel(), -quality.ravel())), 4)


def of_tokens(name: str) -> dict[str, Any]:
    from cleanlab.token_classification.rank import get_label_quality_scores

    rows = load_noisy_dataset(name)["train"]
    flat, true, names = flat_tags(rows), flat_tags(rows, CLEAN_LABEL).labels, list_names(rows)
    model, tokenizer = AutoModel.from_pretrained(minilm()), AutoTokenizer.from_pretrained(minilm())
    features = np.asarray(embed_words(rows, model, tokenizer).with_format("numpy")[FEATURES][:])
    probabilities = out_of_fold_tags(features, flat.labels, flat.rows, len(names))
    labels, parts = [one.tolist() for one in flat.split(flat.labels)], flat.split(probabilities)
    wrong, words = flat.labels != true, rows[TOKENS][:]
    found: dict[str, Any] = {"wrong": float(wrong.mean()), "units": len(wrong), "cleanlab": {}}
    started = time.process_time()
    issues = find_wrong_tokens(labels, probabilities, words=words, names=names)
    found["seconds"] = round(time.process_time() - started, 3)
    found["hf_noisy"] = precision(wrong, issues.quality)
    plain = find_wrong_tokens(labels, probabilities, names=names)
    found["hf_noisy, probabilities and tags alone"] = precision(wrong, plain.quality)
    found["f1"] = round(float(f1_score(wrong, issues.is_wrong)), 4)
    found["noise_rate"] = [round(one, 4) for one in issues.noise_rate]
    for method in METHODS:
        _, scores = get_label_quality_scores(labels, parts, token_score_method=method)
        found["cleanlab"][method] = precision(wrong, np.concatenate([one.to_numpy() for one in scores]))
    return found


def of_cells(name: str, rows: Any) -> dict[str, Any]:
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    sets, true = label_sets(rows)[0], label_sets(rows, CLEAN_LABEL)[0]
    # A cleanlab class without a row fails.
    kept = sets.any(axis=0)
    sets, true = sets[:, kept], true[:, kept]
    probabilities = out_of_fold_cells(minilm_features(rows, max_length=256), sets)
    wrong = sets != true
    found: dict[str, Any] = {"wrong": float(wrong.mean()), "units": wrong.size, "cleanlab": {}}
    started = time.process_time()
    issues = find_wrong_cells(sets, probabilities)
    found["seconds"] = round(time.process_time() - started, 3)
    found["hf_noisy"] = precision(wrong, issues.quality)
    found["f1"] = round(float(f1_score(wrong.ravel(), issues.is_wrong.ravel())), 4)
    found["noise_rate"] = [round(one, 4) for one in issues.noise_rate]
    labels = [np.flatnonzero(row).tolist() for row in sets]
    for method in METHODS:
        scores = get_label_quality_scores_per_class(labels, probabilities, method=method)
        found["cleanlab"][method] = precision(wrong, np.asarray(scores))
    return found


def main() -> None:
    emotions = load_noisy_dataset("goemotions")["train"].select(range(ROWS))
    results = {
        "wikigold_distant": of_tokens("wikigold_distant"),
        "redocred": of_cells("redocred", load_noisy_dataset("redocred")["train"]),
        "goemotions, 40 % missing": of_cells("goemotions", inject_noise(emotions, noise.label_sets(missing=0.4))),
        "goemotions, 20 % missing and 0.5 % spurious": of_cells(
            "goemotions", inject_noise(emotions, noise.label_sets(missing=0.2, spurious=0.005))
        ),
        "goemotions, 1 % spurious": of_cells("goemotions", inject_noise(emotions, noise.label_sets(spurious=0.01))),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, found in results.items():
        print(name, found)


if __name__ == "__main__":
    main()
