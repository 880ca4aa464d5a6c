"""Checks that checkpoints are complete, and belong to the run that resumes from them."""

import json
import re
import shutil
import uuid
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset
from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging

from hf_noisy.core.files import (
    check_digest,
    clear_os_errors,
    file_digest,
    read_sealed,
    sync,
    write_atomically,
    write_sealed,
)
from hf_noisy.data.fingerprint import describe

STATE_FILE = "hf_noisy_state.json"
RATE = "learning_rate"  # the one noted setting that a resumed run may change
_FORMAT = 1
_WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?$")
_TORCH = (".bin", ".pt", ".pth")  # zip archives, whose members carry checksums
_NEEDED = ("optimizer", "scheduler", "scaler", "rng_state")  # to resume; written by `Trainer`

logger = logging.get_logger(__name__)


def last_whole_checkpoint(folder: str | Path) -> str | None:
    """The newest complete checkpoint in a folder; incomplete ones are skipped with a warning.

    Args:
        folder: The `output_dir` of a trainer; need not exist.

    Returns:
        Path of the checkpoint, or None if there is none.

    Example:
        ```python
        trainer.train(resume_from_checkpoint=last_whole_checkpoint("output/run"))
        ```
    """
    for checkpoint in _checkpoints(Path(folder)):
        problem = _problem(checkpoint)
        if problem is None:
            return str(checkpoint)
        logger.warning(f"{checkpoint} is skipped: {problem}")
    return None


def checkpoint_to_resume(given: Any, folder: str | Path) -> str | None:
    """Path of the checkpoint for `resume_from_checkpoint`, which must be complete; None to start anew."""
    if given is None or given is False:
        return None
    if given is True:
        if (last := last_whole_checkpoint(folder)) is None:
            raise ValueError(
                f"resume_from_checkpoint=True, but output_dir {folder} holds no whole checkpoint; train without it"
            )
        return last
    if problem := _problem(Path(given)):
        before = last_whole_checkpoint(Path(given).parent)
        raise ValueError(
            f"resume_from_checkpoint {given} is not whole: {problem}; "
            + (f"resume from {before}" if before else "no other checkpoint beside it is, so train anew")
        )
    return str(given)


def identity(dataset: Any, columns: Collection[str], num_classes: int, method: str) -> dict[str, Any]:
    """What must not change when a run resumes; of datasets of other libraries only the number of rows."""
    known = dict.fromkeys(("rows", "labels", "fingerprint"))
    if isinstance(dataset, Dataset) and (read := [name for name in dataset.column_names if name in columns]):
        known |= describe(dataset.select_columns(read))
    elif hasattr(dataset, "__len__"):
        known["rows"] = len(dataset)
    names = {"rows": "rows of train_dataset", "labels": "labels", "fingerprint": "contents of the rows"}
    noted = {names[name]: value for name, value in known.items() if value is not None}
    return {**noted, "classes": num_classes, "methods": method}


def write_state(checkpoint: str | Path, identity: Mapping[str, Any]) -> None:
    """Seal a checkpoint with the identity of its run and the digests of its files."""
    files = {}
    for path in sorted(Path(checkpoint).iterdir()):
        # torch 2.8 does not notice that the last kilobytes, which hold the directory of the archive, met a full disk.
        needed = path.suffix in _TORCH and path.name.startswith(_NEEDED)
        if needed and not (path.is_file() and zipfile.is_zipfile(path)):
            raise OSError(f"{path.name} was written in part")
        if path.is_file() and path.name != STATE_FILE:
            sync(path)
            files[path.name] = file_digest(path)
    write_sealed(Path(checkpoint) / STATE_FILE, {**identity, "files": files}, _FORMAT)


def noted_identity(checkpoint: str | Path) -> dict[str, Any]:
    """The identity of the run that a checkpoint notes; empty for stock checkpoints."""
    path = Path(checkpoint) / STATE_FILE
    return read_sealed(path, _FORMAT) if path.is_file() else {}


def refuse_other_run(checkpoint: str | Path, identity: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other data, classes, settings or another method; stock checkpoints are accepted."""
    noted = noted_identity(checkpoint)
    for name, value in identity.items():
        if name in noted and noted[name] != value and name != RATE:
            values = f"{noted[name]} then, {value} now" if len(str(value)) < 60 else "not those of then"
            raise ValueError(
                f"resume_from_checkpoint {checkpoint} belongs to another run: {name} differ ({values}); resume with "
                "the data, the model, the method and the settings of the first run, of which only learning_rate and "
                "num_train_epochs may change, or train anew, without resume_from_checkpoint and in another output_dir"
            )


@contextmanager
def whole_or_removed(checkpoint: Path) -> Iterator[None]:
    """Write a checkpoint; if that fails, remove it and raise `OSError`."""
    last = checkpoint / TRAINER_STATE_NAME
    last.unlink(missing_ok=True)  # makes an older checkpoint of this step incomplete
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if last.is_file() and _is_whole(last):
            raise  # the checkpoint is complete; something later failed
        shutil.rmtree(checkpoint, ignore_errors=True)
        free, reason = shutil.disk_usage(checkpoint.parent).free, (str(error).splitlines() or [repr(error)])[0]
        raise OSError(
            f"{checkpoint} could not be written ({reason}) and was removed, {free / 1e9:.1f} GB "
            "are free; earlier checkpoints are whole: make room and train with resume_from_checkpoint=True"
        ) from error


def refuse_unwritable(folder: str | Path) -> None:
    """Raise `OSError` early if the output folder is not writable."""
    path = Path(folder) / f".write-test.{uuid.uuid4().hex[:8]}.tmp"
    with clear_os_errors(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "x")
        path.unlink()


def warn_of_earlier_run(folder: str | Path) -> None:
    """Warn if a new run in `folder` finds checkpoints of an earlier one."""
    if earlier := _checkpoints(Path(folder)):
        logger.warning(
            f"output_dir {folder} has {earlier[0].name}, which is not of this run: resume_from_checkpoint=True would "
            "take it until this run is further; resume by the path of a checkpoint or give each run its own output_dir"
        )


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    numbered = [(path.name.removeprefix("checkpoint-"), path) for path in folder.glob("checkpoint-*") if path.is_dir()]
    return [path for _, path in sorted(((int(n), path) for n, path in numbered if n.isdecimal()), reverse=True)]


def _problem(checkpoint: Path) -> str | None:
    """What is incomplete in a checkpoint, if anything."""
    if not (checkpoint / TRAINER_STATE_NAME).is_file():
        return f"it has no {TRAINER_STATE_NAME}, which is written last"
    noted = checkpoint / STATE_FILE
    try:
        digests = read_sealed(noted, _FORMAT)["files"] if noted.is_file() else {}
        for name, digest in digests.items():
            if (checkpoint / name).exists() or not _holds_other_weights(checkpoint, name):
                check_digest(checkpoint / name, digest)
    except (OSError, ValueError) as error:
        return str(error).split(";")[0]
    others = sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name not in digests)
    indices = [path for path in checkpoint.glob("*.index.json") if _WEIGHTS.match(path.name)]
    if missing := next((name for index in indices for name in _missing_shards(index)), None):
        return f"{missing} is missing"
    return next((f"{path.name} is truncated or damaged" for path in others if not _is_whole(path)), None)


def _holds_other_weights(checkpoint: Path, name: str) -> bool:
    """Whether a missing file is of weights that were put into other shards since."""
    return bool(_WEIGHTS.match(name)) and any(_WEIGHTS.match(path.name) for path in checkpoint.iterdir())


def _missing_shards(index: Path) -> list[str]:
    """Files that an index of weights names and that are not there."""
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError):
        return [index.name]
    return sorted(name for name in shards if not (index.parent / name).is_file())


def _is_whole(path: Path) -> bool:
    """Whether a file is readable, where no digest was recorded (by other processes or stock trainers)."""
    try:
        if path.suffix in _TORCH:
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):  # compares the header with the size
                return True
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False
    return True
