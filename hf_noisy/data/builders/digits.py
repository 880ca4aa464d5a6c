"""The dataset `digits`: 1,797 scanned handwritten digits of 8 x 8 pixels from scikit-learn, with clean labels."""

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
from jaxtyping import Bool, Integer

from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, LABEL
from hf_noisy.core.rng import uniforms
from hf_noisy.data.builders.builder import NoisyDatasetBuilder, noisy_features

# Mean and standard deviation over the training images, of pixels in [0, 1], the same for red, green and blue.
MEAN, STD = (0.305,) * 3, (0.376,) * 3
_CLASSES = [str(digit) for digit in range(10)]
_TEST_SHARE = 0.25
_WHITE = 16  # in the stored scans


class DigitsBuilder(NoisyDatasetBuilder):
    """Builder of `digits`; a fixed quarter of the rows of each class is the test split.

    Source: scans of the UCI repository (Alpaydin and Kaynak, 1998), in scikit-learn's `load_digits`.
    """

    NAME = "digits"
    DESCRIPTION = "Scanned handwritten digits of 8 x 8 grey pixels."
    HOMEPAGE = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
    LICENSE = "CC BY 4.0"
    CITATION = """@misc{alpaydin1998optical,
  title={Optical Recognition of Handwritten Digits}, author={Alpaydin, E. and Kaynak, C.},
  howpublished={UCI Machine Learning Repository}, year={1998}
}"""
    CODE = (uniforms,)

    def _features(self) -> datasets.Features:
        return noisy_features(IMAGE, datasets.Image(), _CLASSES)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        from sklearn.datasets import load_digits

        scans, labels = load_digits(return_X_y=True)
        test = _is_test(labels)
        parts = {datasets.Split.TRAIN: ~test, datasets.Split.TEST: test}
        return [
            datasets.SplitGenerator(split, gen_kwargs={"scans": scans[rows], "labels": labels[rows]})
            for split, rows in parts.items()
        ]

    def _generate_examples(self, scans: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        pixels = np.round(scans.reshape(-1, 8, 8) * (255 / _WHITE)).astype(np.uint8)
        for row, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
            yield row, {IMAGE: image, LABEL: label, CLEAN_LABEL: label}


def _is_test(labels: Integer[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    draws = uniforms(0, stream="digits/split", index=np.arange(len(labels)), size=1)[:, 0]
    test = np.zeros(len(labels), dtype=bool)
    for label in range(len(_CLASSES)):
        rows = np.flatnonzero(labels == label)
        test[rows[np.argsort(draws[rows])[: round(_TEST_SHARE * len(rows))]]] = True
    return test
