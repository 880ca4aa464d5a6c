"""The dataset `20news`: messages of 20 newsgroups. Clean labels, for noise injection."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import datasets

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, TEXT
from hf_noisy.data import json_lines
from hf_noisy.data.builders.builder import NoisyDatasetBuilder, noisy_features

CLASSES = [
    "alt.atheism",
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "misc.forsale",
    "rec.autos",
    "rec.motorcycles",
    "rec.sport.baseball",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "soc.religion.christian",
    "talk.politics.guns",
    "talk.politics.mideast",
    "talk.politics.misc",
    "talk.religion.misc",
]
_FOLDERS = {"train": "20news-bydate-train", "test": "20news-bydate-test"}


class NewsgroupsBuilder(NoisyDatasetBuilder):
    """Builder of `20news`, split by date: 11,314 training and 7,532 test messages, headers included.

    The folder holds the original release, `20news-bydate-train/<group>/<number>` and the like, or gzip JSON lines.
    Without a folder, scikit-learn downloads the messages. Rows are in the order of their paths.

    Source: Lang (1995), NewsWeeder; the split by date is that of Rennie.
    """

    NAME = "20news"
    DESCRIPTION = "Messages of 20 newsgroups, split by date."
    HOMEPAGE = "http://qwone.com/~jason/20Newsgroups/"
    LICENSE = "messages of Usenet, distributed without a formal licence"
    CITATION = """@inproceedings{lang1995newsweeder,
  title={{NewsWeeder}: Learning to Filter Netnews}, author={Lang, Ken}, booktitle={ICML}, year={1995}
}"""
    DOWNLOAD = (
        "download 20news-bydate.tar.gz of http://qwone.com/~jason/20Newsgroups/ and unpack its folders "
        "20news-bydate-train and 20news-bydate-test into '20news'"
    )
    MARKERS = (_FOLDERS["train"], json_lines.CLASSES_FILE)
    FETCHED = True
    CODE = (json_lines,)

    def _features(self) -> datasets.Features:
        kept = self.folder and json_lines.has_json_lines(self.folder) and json_lines.json_lines_classes(self.folder)
        return noisy_features(TEXT, datasets.Value("string"), kept or CLASSES)

    def _source_files(self) -> list[Path]:
        own = super()._source_files()
        # The time of a group folder changes when files are added or removed.
        return [*own, *chain.from_iterable(sorted(path.iterdir()) for path in own if path.name in _FOLDERS.values())]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        sources: dict[str, Any]
        if self.folder is None:
            sources = {split: _fetch(split, self.missing(None)) for split in _FOLDERS}
        elif json_lines.has_json_lines(self.folder):
            sources = dict(json_lines.json_lines_splits(self.folder))
        else:
            paths = {split: self.folder / name for split, name in _FOLDERS.items()}
            sources = {split: path for split, path in paths.items() if path.is_dir()}
        return [datasets.SplitGenerator(split, gen_kwargs={"source": source}) for split, source in sources.items()]

    def _generate_examples(self, source: Path | list[tuple[str, int]]) -> Iterator[tuple[int, dict[str, Any]]]:
        # Not `isinstance(source, Path)`: `datasets` replaces Path by its own class while streaming.
        if not isinstance(source, list) and source.is_file():
            yield from enumerate(json_lines.json_lines(source, given=False))
            return
        rows = source if isinstance(source, list) else _folder_rows(source)
        for index, (text, label) in enumerate(rows):
            yield index, {TEXT: text, LABEL: label, CLEAN_LABEL: label}


def _folder_rows(path: Path) -> Iterator[tuple[str, int]]:
    for label, group in enumerate(CLASSES):
        for file in sorted((path / group).iterdir(), key=lambda file: file.name):
            yield file.read_bytes().decode("latin-1"), label


def _fetch(split: str, missing: str) -> list[tuple[str, int]]:
    from sklearn.datasets import fetch_20newsgroups

    try:
        found = fetch_20newsgroups(subset=split)
    except OSError as error:
        raise FileNotFoundError(f"{missing}; scikit-learn cannot fetch it either ({type(error).__name__})") from error
    rows = sorted(zip(map(str, found.filenames), found.data, found.target.tolist(), strict=True))
    return [(text, label) for _, text, label in rows]
