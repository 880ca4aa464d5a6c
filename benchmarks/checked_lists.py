"""Tags and sets of classes corrected with the help of 100 checked rows, beside none.

    python -m benchmarks.checked_lists

Writes benchmarks/results/checked_lists.json: for each data set and draw of the checked rows the share of wrong labels
of the rows that nobody checked, as given and as corrected, how many labels change and how many of these were wrong,
and the estimated shares with their intervals beside the true ones. Frozen MiniLM features.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModel, AutoTokenizer

from benchmarks.pools import minilm, minilm_features
from hf_noisy import load_noisy_dataset
from hf_noisy.core.columns import CLEAN_LABEL, FEATURES, TOKENS
from hf_noisy.data.checked import RANDOM
from hf_noisy.data.checked_lists import CheckedLists
from hf_noisy.data.flat_labels import flat_tags, label_sets, list_names
from hf_noisy.detection.list_audit import audit_lists
from hf_noisy.models.word_features import embed_words

RESULTS = Path(__file__).parent / "results" / "checked_lists.json"
DATASETS, CHECKED, DRAWS = ("wikigold_distant", "redocred"), (20, 100), 3


def features_of(name: str, rows: Any) -> np.ndarray:
    if TOKENS not in rows.column_names:
        return minilm_features(rows, max_length=256)
    model, tokenizer = AutoModel.from_pretrained(minilm()), AutoTokenizer.from_pretrained(minilm())
    return np.asarray(embed_words(rows, model, tokenizer).with_format("numpy")[FEATURES][:])


def measure(rows: Any, features: np.ndarray, count: int, seed: int) -> dict[str, Any]:
    """One draw of checked rows; none for the correction without them."""
    tokens = TOKENS in rows.column_names
    true = flat_tags(rows, CLEAN_LABEL).labels if tokens else label_sets(rows, CLEAN_LABEL)[0].astype(np.int64)
    index = np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])
    labels = [rows[int(row)][CLEAN_LABEL] for row in index]
    started = time.process_time()
    found = audit_lists(rows, features, checked=CheckedLists(index, labels, [RANDOM] * count) if count else None)
    seconds = time.process_time() - started
    quality, wrong = found.issues.quality, found.issues.is_wrong
    changes = wrong & (1 - quality >= 0.5)  # what `purify` changes
    new, left = np.where(changes, found.issues.suggested, found.given), ~found.is_checked
    one: dict[str, Any] = {
        "checked": count,
        "seed": seed,
        "given": float((found.given != true)[left].mean()),
        "corrected": float((new != true)[left].mean()),
        "changed": int((changes & left).sum()),
        "right": float((new == true)[changes & left].mean()),
        "seconds": round(seconds, 1),
    }
    if found.shares is not None and found.shares.missing is not None:
        has = true > (list_names(rows).index("O") if tokens else 0)  # the tag O comes first
        one |= {"wrong": found.shares.wrong[:3], "true_wrong": float((found.given != true).mean())}
        one |= {"missing": found.shares.missing[:3], "true_missing": float((found.given == 0)[has].mean())}
    return one


def main() -> None:
    results = {}
    for name in DATASETS:
        rows = load_noisy_dataset(name)["train"]
        features = features_of(name, rows)
        runs = [(count, seed) for count in CHECKED for seed in range(DRAWS)]
        results[name] = [measure(rows, features, count, seed) for count, seed in [(0, 0), *runs]]
        for one in results[name]:
            print(name, one, flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
