"""CIFAR-10 with the human labels of CIFAR-10N, from a folder of `HF_NOISY_DATA_DIR`.

The folder holds `labels.json` (`classes`), `<split>_jpeg.npz` (`data`: the JPEG files one after another, `offsets`:
where each begins and the last ends, `label`: true classes) and `cifar10n_train_labels.npz` (the classes that
annotators gave).
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from jaxtyping import Integer

from hf_noisy.columns import CLEAN_LABEL, IMAGE, LABEL
from hf_noisy.data.folders import find_folder
from hf_noisy.data.records import record_known_noise

NAME = "cifar10"
# Mean and standard deviation of red, green and blue over the training images, of pixels in [0, 1].
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse.
CLASS_MAP = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
# Name of the noise -> array with the labels.
HUMAN_LABELS = {
    "aggre": "aggre_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "worse": "worse_label",
}


def load_cifar10(data_dir: str | Path | None = None, human: str | None = None) -> DatasetDict:
    """Load CIFAR-10, 50,000 rows to train on and 10,000 to test, images as they are stored.

    Args:
        data_dir: Folder that holds the folder; by default the environment variable `HF_NOISY_DATA_DIR`.
        human: Whose labels `train` is given. `"random1"`, `"random2"` and `"random3"` are those of one annotator a
            row, `"aggre"` the majority of the three, `"worse"` a wrong one wherever there is any; `None` gives the
            true ones.

    Returns:
        `train` and `test` with `image`, `label` (given) and `clean_label`.

    Raises:
        FileNotFoundError: If the folder or one of its files is not there.

    Source: images Krizhevsky (2009); human labels Wei et al. (2022), CIFAR-10N.

    Example:
        ```python
        load_cifar10(human="worse")["train"].features["label"].names[:2]  # ["airplane", "automobile"]
        ```
    """
    folder = find_folder(NAME, data_dir)
    labels = ClassLabel(names=json.loads((folder / "labels.json").read_text("utf-8"))["classes"])
    splits = DatasetDict({split: _load_split(folder / f"{split}_jpeg.npz", labels) for split in ("train", "test")})
    if human is not None:
        given = _arrays(folder / "cifar10n_train_labels.npz", HUMAN_LABELS[human])[0].astype(np.int64)
        train = splits["train"].remove_columns(LABEL).add_column(LABEL, given, feature=labels)
        splits["train"] = record_known_noise(train.select_columns([IMAGE, LABEL, CLEAN_LABEL]), f"annotators/{human}")
    return splits


def _load_split(path: Path, labels: ClassLabel) -> Dataset:
    data, offsets, classes = _arrays(path, "data", "offsets", "label")
    content = data.tobytes()
    # Files as they are: encoding the pixels anew would lose quality once more.
    images = [content[start:end] for start, end in pairwise(offsets.tolist())]
    true = classes.astype(np.int64)
    features = Features({IMAGE: Image(), LABEL: labels, CLEAN_LABEL: labels})
    return Dataset.from_dict({IMAGE: images, LABEL: true, CLEAN_LABEL: true}, features=features)


def _arrays(path: Path, *names: str) -> list[Integer[np.ndarray, "_"]]:
    if not path.is_file():
        raise FileNotFoundError(f"file '{path}' of dataset '{NAME}' is missing; put it beside labels.json")
    with np.load(path) as arrays:
        return [arrays[name] for name in names]
