"""Base of the builders of named datasets: where the files are, their description, and when to rebuild."""

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import datasets
from datasets.exceptions import DatasetGenerationError

from hf_noisy.core.columns import CLEAN_LABEL, LABEL, VOTES
from hf_noisy.data.json_lines import VARIABLE, general_folder
from hf_noisy.data.records import record_known_noise


@dataclass
class NoisyConfig(datasets.BuilderConfig):  # type: ignore[misc]
    """One configuration of a dataset: the source of its given labels."""

    noise: str | None = None  # as in the noise record, such as "rules"; None if the given labels are the true ones


class NoisyDatasetBuilder(datasets.GeneratorBasedBuilder):  # type: ignore[misc]
    """Base of the builders: rows come from `self.folder`; if it is None, from the Hub or another download."""

    NAME: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    HOMEPAGE: ClassVar[str] = ""
    LICENSE: ClassVar[str]
    CITATION: ClassVar[str]
    DOWNLOAD: ClassVar[str] = ""  # "download X from Y and put Z into it": what to do when the folder is missing
    MARKERS: ClassVar[tuple[str, ...]] = ()  # glob patterns; a match of any of them identifies the folder
    HUB_ID: ClassVar[str | None] = None
    FETCHED: ClassVar[bool] = False  # True: the subclass downloads the rows if there is no folder
    # Other modules, or functions, that the rows depend on.
    CODE: ClassVar[tuple[ModuleType | Callable[..., Any], ...]] = ()
    BUILDER_CONFIG_CLASS = NoisyConfig
    BUILDER_CONFIGS: ClassVar[list[NoisyConfig]] = [
        NoisyConfig(name="clean", description="The given label is the true one.")
    ]
    DEFAULT_CONFIG_NAME: ClassVar[str] = "clean"

    def __init__(self, config_name: str | None = None, data_dir: str | Path | None = None, **kwargs: Any) -> None:
        self.folder = self._find_folder(data_dir)
        kwargs.setdefault("dataset_name", f"hf_noisy_{self.NAME}")
        digest = hashlib.sha256("\0".join(self._fingerprint_parts()).encode())
        kwargs.setdefault("hash", digest.hexdigest()[:16])
        super().__init__(config_name=config_name, **kwargs)

    def build(self) -> datasets.DatasetDict:
        """The prepared splits, with a record of the noise in those whose given labels are not all true."""
        try:
            self.download_and_prepare()
        except DatasetGenerationError as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError):
                raise cause from error
            what = (str(cause).splitlines() or [""])[0]
            source = f"'{self.folder}'" if self.folder else "its source"
            raise ValueError(
                f"dataset '{self.NAME}' cannot be read from {source}: {type(cause).__name__}: {what}"
            ) from error
        splits = self.as_dataset()
        return datasets.DatasetDict({key: self._record_noise(split) for key, split in splits.items()})

    def hub_splits(self) -> datasets.DatasetDict:
        """The dataset `HUB_ID` of the Hub."""
        try:
            return datasets.load_dataset(self.HUB_ID)
        except OSError as error:
            raise FileNotFoundError(
                f"{self.missing(None)}; the Hub's '{self.HUB_ID}' cannot be loaded either ({type(error).__name__})"
            ) from error

    def missing(self, root: Path | None) -> str:
        """Error message for a dataset that is not in the folder `root`, or for which no folder is set."""
        found = f"dataset '{self.NAME}' is read from a folder, and none is set"
        if root is not None:
            found = f"folder '{root / self.NAME}' with {' or '.join(self.MARKERS)} is missing"
        return f"{found}: {VARIABLE} (or data_dir=) must point to the folder that holds '{self.NAME}'; {self.DOWNLOAD}"

    @property
    def _root(self) -> Path:
        assert self.folder is not None  # `_find_folder` has refused a missing folder if there is no other source
        return self.folder

    @abstractmethod
    def _features(self) -> datasets.Features:
        """Columns and classes, by [`noisy_features`]."""

    def _source_files(self) -> list[Path]:
        """Files and folders on which the rows depend; by default those directly in `self.folder`."""
        return sorted(self.folder.iterdir()) if self.folder else []

    def _fingerprint_parts(self) -> list[str]:
        """What the rows depend on: the code of the builder, and the name, size and time of its files."""
        classes = [part for part in type(self).__mro__ if issubclass(part, NoisyDatasetBuilder)]
        code = [*map(inspect.getfile, classes), *map(inspect.getfile, self.CODE)]
        states = [(str(path.absolute()), path.stat()) for path in self._source_files()]
        files = [f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states]
        return [*(Path(file).read_text("utf-8") for file in code), *files, self.HUB_ID or ""]

    def _find_folder(self, data_dir: str | Path | None) -> Path | None:
        root = data_dir or general_folder()
        for folder in (Path(root) / self.NAME, Path(root)) if root and self.MARKERS else ():
            if any(next(folder.glob(marker), None) for marker in self.MARKERS):
                return folder
        # A given data_dir must exist; without one, the rows may come from the Hub or a download.
        if self.MARKERS and (data_dir or not (self.HUB_ID or self.FETCHED)):
            raise FileNotFoundError(self.missing(Path(root) if root else None))
        return None

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="\n".join(filter(None, [self.DESCRIPTION, self.config.description])),
            features=self._features(),
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
            citation=self.CITATION,
        )

    def _record_noise(self, split: datasets.Dataset) -> datasets.Dataset:
        if self.config.noise is None or CLEAN_LABEL not in split.column_names:
            return split
        columns = split.select_columns([LABEL, CLEAN_LABEL]).with_format("arrow")[:]
        return split if columns[LABEL].equals(columns[CLEAN_LABEL]) else record_known_noise(split, self.config.noise)


def noisy_features(
    content: str, kind: datasets.Image | datasets.Value, names: list[str], clean: bool = True, votes: bool = False
) -> datasets.Features:
    """Columns of a dataset, in the order used everywhere: content, `label`, `clean_label`, `votes`."""
    labels = datasets.ClassLabel(names=names)
    optional = {CLEAN_LABEL: labels} if clean else {}
    if votes:
        optional[VOTES] = datasets.List(datasets.Value("int16"))
    return datasets.Features({content: kind, LABEL: labels, **optional})
