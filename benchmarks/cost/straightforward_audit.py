"""What people use to find wrong labels: sentence-transformers, logistic regression and cleanlab, with their defaults.

    python -m benchmarks.cost.straightforward_audit rows.csv found.npz folder_of_the_encoder

Run by audit.py in a process of its own. Nothing of hf_noisy is imported.
"""

import csv
import sys

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict


def main(rows: str, output: str, encoder: str) -> None:
    with open(rows, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    labels = np.unique([row["label"] for row in table], return_inverse=True)[1]
    transformer = Transformer(encoder, max_seq_length=256)
    model = SentenceTransformer(modules=[transformer, Pooling(transformer.get_embedding_dimension()), Normalize()])
    features = model.encode([row["text"] for row in table], show_progress_bar=True)
    probabilities = cross_val_predict(
        LogisticRegression(max_iter=1000), features, labels, cv=5, method="predict_proba"
    )
    found = find_label_issues(labels, probabilities, n_jobs=1)
    np.savez(output, quality=get_label_quality_scores(labels, probabilities), found=found)


if __name__ == "__main__":
    main(*sys.argv[1:])
