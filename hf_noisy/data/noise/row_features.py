"""Row vectors for instance-dependent noise: stored features, or computed from texts or images."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from jaxtyping import Float, Num

from hf_noisy.core.columns import FEATURES, IMAGE, TEXT, column_vectors
from hf_noisy.data.pixel_values import to_rgb
from hf_noisy.data.texts import shown_texts

_TEXT_TERMS = 1000
_NUM_FEATURES = 64
_IMAGE_SIZE = 16


def row_features(*splits: datasets.Dataset) -> list[Num[np.ndarray, "rows features"]]:
    """Row vectors from the column `features`, `text` or `image`, by one fit for all splits."""
    if all(FEATURES in split.column_names for split in splits):
        return [column_vectors(split, FEATURES) for split in splits]
    if all(TEXT in split.column_names for split in splits):
        return text_features(*(shown_texts(split) or [] for split in splits))
    if all(IMAGE in split.column_names for split in splits):
        # Images stay in their column: they are decoded one by one, and only their features are kept.
        return image_features(*(split.with_format(None)[IMAGE] for split in splits))
    raise ValueError(
        f"instance-dependent noise needs features; the dataset has no column '{FEATURES}', '{TEXT}' or '{IMAGE}', so "
        "pass features= to inject_noise, an array of shape (rows, features)"
    )


def text_features(texts: Sequence[str], *others: Sequence[str]) -> list[Float[np.ndarray, "rows features"]]:
    """Row vectors of texts: TF-IDF of frequent terms, reduced by a truncated SVD."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=_TEXT_TERMS, sublinear_tf=True, token_pattern=r"\w+")
    try:
        terms = vectorizer.fit_transform(texts)
    except ValueError:  # no word at all
        terms = np.empty((len(texts), 0))
    if terms.shape[1] < 2:
        raise ValueError(f"column '{TEXT}' must hold two different words to tell rows apart; pass features=")
    size = min(_NUM_FEATURES, terms.shape[1], len(texts))
    reduction = TruncatedSVD(size, algorithm="randomized", random_state=0).fit(terms)
    return [np.asarray(reduction.transform(part)) for part in (terms, *map(vectorizer.transform, others))]


def image_features(images: Sequence[Any], *others: Sequence[Any]) -> list[Float[np.ndarray, "rows features"]]:
    """Row vectors of images: the pixels at 16 x 16, reduced by a PCA."""
    from sklearn.decomposition import PCA

    parts = [np.stack([_pixels(image) for image in split]) for split in (images, *others)]
    reduction = PCA(min(_NUM_FEATURES, len(images)), svd_solver="covariance_eigh").fit(parts[0])
    return [np.asarray(reduction.transform(part)) for part in parts]


def _pixels(image: Any) -> Float[np.ndarray, " pixels"]:
    small = to_rgb(image).resize((_IMAGE_SIZE, _IMAGE_SIZE))
    return np.asarray(small, dtype=np.float32).ravel() / 255
