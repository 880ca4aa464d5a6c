"""Files of one training run: a manifest lists them with their checksums and the id of the run."""

import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerState

from hf_noisy.core.files import check_digest, read_sealed, replacing, write_sealed

MANIFEST = "manifest.json"
_FORMAT = 2
_KEY = "hf_noisy_run"  # in the state of the trainer


def run_id(state: TrainerState) -> str:
    """The id of a run, the same for all its callbacks, processes and checkpoints."""
    kept: Any = state.stateful_callbacks  # the only part of the state that is free for others and in checkpoints
    if _KEY not in kept:
        kept[_KEY] = {"attributes": {"id": broadcast_object_list([new_run_id()])[0]}}
    return str(kept[_KEY]["attributes"]["id"])


def new_run_id() -> str:
    """A random id."""
    return uuid.uuid4().hex


class RunFiles:
    """The files that the manifest of a folder lists; others are ignored, and a missing or changed one is an error."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_sealed(folder / MANIFEST, _FORMAT)
        self.digests: dict[str, str] = self.manifest.pop("files", None)
        if not isinstance(self.digests, dict) or not isinstance(self.manifest.get("run"), str):
            raise ValueError(f"file '{folder / MANIFEST}' names no run or no files; put it back, or make it again")
        if outside := [name for name in self.digests if ".." in name or name.startswith(("/", "\\"))]:
            raise ValueError(f"file '{folder / MANIFEST}' lists '{outside[0]}', which is outside of its folder")

    @classmethod
    def create(cls, folder: Path, manifest: Mapping[str, Any]) -> "RunFiles":
        """Begin a run, of which no file is listed yet."""
        folder.mkdir(parents=True, exist_ok=True)
        write_sealed(folder / MANIFEST, {**manifest, "files": {}}, _FORMAT)
        return cls(folder)

    @property
    def run(self) -> str:
        return str(self.manifest["run"])

    def verified(self, name: str) -> Path:
        """The path of a listed file, with its checksum verified."""
        check_digest(self.folder / name, self.digests[name])
        return self.folder / name

    def write(self, writers: Mapping[str, Callable[[Path], str]]) -> None:
        """Write files by functions that return the checksum; those of the same name are not listed meanwhile."""
        now = RunFiles(self.folder)
        if now.run != self.run:
            raise ValueError(f"another run has started at {self.folder} since this one; give each its own output_dir")
        self.digests = now.digests
        if self.digests.keys() & writers.keys():
            self.keep(self.digests.keys() - writers.keys())
        written = {}
        for name, write in writers.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            with replacing(self.folder / name) as temporary:
                written[name] = write(temporary)
        self._list(self.digests | written)

    def keep(self, names: Collection[str]) -> None:
        """List only these files."""
        self._list({name: digest for name, digest in self.digests.items() if name in names})

    def _list(self, digests: Mapping[str, str]) -> None:
        ordered = dict(sorted(digests.items()))
        write_sealed(self.folder / MANIFEST, {**self.manifest, "files": ordered}, _FORMAT)
        self.digests = ordered
