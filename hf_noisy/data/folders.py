"""Named datasets of texts kept as folders of gzip JSON lines, found through `HF_NOISY_DATA_DIR`.

A folder holds `labels.json` (`classes`: names in the order of the ids) and `<split>.jsonl.gz` with a row a line:
`text`, `label` (the true class) and, where labels are noisy, `weak_label` (the given class) and `weak_votes` (one
class or -1 a labelling rule).
"""

import json
import os
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from hf_noisy.columns import CLEAN_LABEL, LABEL, TEXT, VOTES
from hf_noisy.data.records import record_known_noise

_VARIABLE = "HF_NOISY_DATA_DIR"
_SPLITS = ("train", "validation", "test")
# Folder of texts -> where the noise of its given labels comes from; None where labels are clean.
FOLDERS: dict[str, str | None] = {"20news": None, "noisyag_news": "annotators", "semeval": "rules", "trec": "rules"}


def load_folder(name: str, data_dir: str | Path | None = None) -> DatasetDict:
    """Load one named dataset from its folder.

    Args:
        name: One of `FOLDERS`.
        data_dir: Folder that holds the folder; by default the environment variable `HF_NOISY_DATA_DIR`.

    Returns:
        Splits with `text`, `label` (given), `clean_label` and, where there are rules, `votes`. A split without given
        labels has the true ones in both columns.

    Raises:
        FileNotFoundError: If the folder is not there.
    """
    folder = find_folder(name, data_dir)
    names = json.loads((folder / "labels.json").read_text("utf-8"))["classes"]
    splits = {
        split: _load_split(folder / f"{split}.jsonl.gz", ClassLabel(names=names), FOLDERS[name])
        for split in _SPLITS
        if (folder / f"{split}.jsonl.gz").is_file()
    }
    return DatasetDict(splits)


def find_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """The folder of a named dataset, refused where it is not known or holds no `labels.json`."""
    root = data_dir or os.environ.get(_VARIABLE)
    if not root:
        raise FileNotFoundError(
            f"dataset '{name}' is read from a folder that is not known: {_VARIABLE} (or data_dir=) must point to the "
            f"folder that holds '{name}'"
        )
    folder = Path(root) / name
    if not (folder / "labels.json").is_file():
        raise FileNotFoundError(
            f"folder '{folder}' with labels.json is missing: {_VARIABLE} (or data_dir=) must point to the folder that "
            f"holds '{name}'"
        )
    return folder


def _load_split(path: Path, labels: ClassLabel, source: str | None) -> Dataset:
    rows = load_dataset("json", data_files=str(path), split="train")
    given = "weak_label" if "weak_label" in rows.column_names else None
    kept = {TEXT: TEXT, LABEL: CLEAN_LABEL, "weak_label": LABEL, "weak_votes": VOTES}
    kept = {old: new for old, new in kept.items() if old in rows.column_names}
    rows = rows.select_columns(list(kept)).rename_columns(kept)
    if given is None:
        rows = rows.add_column(LABEL, rows.with_format("arrow")[:].column(CLEAN_LABEL).to_numpy())
    features = Features({TEXT: Value("string"), LABEL: labels, CLEAN_LABEL: labels})
    if VOTES in rows.column_names:
        features[VOTES] = List(Value("int16"))
    rows = rows.select_columns(list(features)).cast(features)
    return rows if given is None or source is None else record_known_noise(rows, source)
