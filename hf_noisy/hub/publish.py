"""Push datasets and models with their cards; existing cards are merged, and an interrupted push can be repeated."""

import logging
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict  # noqa: F401  # both: checks of types read the one out of the other
from huggingface_hub import CommitInfo, CommitOperationAdd, DatasetCard, HfApi, ModelCard, RepoCard
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from hf_noisy.hub.card_builder import configurations
from hf_noisy.hub.errors import clear_hub_errors
from hf_noisy.hub.eval_results import EVAL_RESULTS, eval_results_yaml
from hf_noisy.hub.text import merged, placed

logger = logging.getLogger(__name__)

_CARD = "README.md"
_ATTEMPTS = 3
# Files that `from_pretrained` and `pipeline` read, and the record of the chosen network. Other files of a training
# name local folders.
_MODEL_FILES = re.compile(
    r".*\.safetensors(\.index\.json)?|(adapter_|generation_|preprocessor_|processor_)?config\.json|tokenizer.*|vocab\..*"
    r"|(added_tokens|special_tokens_map|chosen_network)\.json|chat_template\.jinja|merges\.txt"
    r"|sentencepiece.*\.model|spiece\.model"
)


def push_dataset_to_hub(
    splits: DatasetDict,
    repo_id: str,
    card: DatasetCard,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> CommitInfo:
    """Publish rows as Parquet files, with their card.

    Splits with other columns than the purified one, such as a test split, become a separate configuration:
    `load_dataset(repo_id)` loads the purified rows, `load_dataset(repo_id, "unchanged")` the others. An existing card
    is kept: our section is replaced or appended, and metadata is only added.

    Commits are atomic and nothing local is changed: after an interrupted push, call it again to upload the rest.

    Args:
        splits: All splits, including dropped rows.
        repo_id: `owner/name`, or a name for your own.
        card: The card, such as from [`~hf_noisy.hub.dataset_card.purified_card`].
        private: Whether a new repository is private; by default public, unless the settings of the organisation make
            new ones private. A message before the upload says which.
        token: Access token; by default the one saved by `hf auth login`.
        revision: Branch to push to, created if it is missing; `main` by default.

    Returns:
        The commit of the card; as a string, its URL.

    Raises:
        ValueError: If there is no split, `repo_id` is invalid, the existing card cannot be read, or the repository is
            public while `private` is set.
        PermissionError: If the token is missing or may not write there.
        FileNotFoundError: If the repository or the branch cannot be found.
        ConnectionError: If the connection breaks, or the Hub fails.
    """
    groups = configurations(splits)
    api = HfApi(token=token)
    with clear_hub_errors(repo_id):
        repo_id = _open(api, repo_id, "dataset", private, revision, _described(splits))
        merged(_existing_card(api, repo_id, "dataset", revision), card)  # refuses an invalid card before any upload
        for configuration, names in groups.items():
            part = DatasetDict({name: splits[name] for name in names})
            message = f"Upload rows of '{configuration}'"
            part.push_to_hub(repo_id, configuration, token=token, revision=revision, commit_message=message)
        return _commit(api, repo_id, "dataset", card, [], "Describe the noise of the labels", revision)


def push_model_to_hub(
    model: Any,
    repo_id: str,
    card: ModelCard,
    processing_class: Any = None,
    *,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> CommitInfo:
    """Publish a model with its card, in one commit; test figures on a data set of the Hub also as `.eval_results`.

    Args:
        model: A model with `save_pretrained`, or the folder of a saved one. From a folder only the files that
            `from_pretrained` reads are uploaded: no checkpoints, logs or arguments.
        repo_id: `owner/name`, or a name for your own.
        card: The card, such as from [`~hf_noisy.hub.model_card.model_card`]; merged as in [`push_dataset_to_hub`].
        processing_class: Tokenizer or image processor to publish with a model.
        private: As in [`push_dataset_to_hub`].
        token: As in [`push_dataset_to_hub`].
        revision: As in [`push_dataset_to_hub`].

    Returns:
        The commit; as a string, its URL.

    Raises:
        ValueError: As [`push_dataset_to_hub`].
        PermissionError: As [`push_dataset_to_hub`].
        FileNotFoundError: As [`push_dataset_to_hub`], or if the folder holds no model.
        ConnectionError: As [`push_dataset_to_hub`].
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(model if isinstance(model, str | Path) else scratch)
        if folder != Path(scratch) and not list(folder.glob("*.safetensors")):
            raise FileNotFoundError(f"folder '{model}' holds no model; save one there with save_pretrained")
        if folder == Path(scratch):
            model.save_pretrained(scratch)
        if processing_class is not None:
            processing_class.save_pretrained(scratch)
        paths = {path.name: path for place in (folder, Path(scratch)) for path in place.iterdir() if path.is_file()}
        files = [
            CommitOperationAdd(name, path) for name, path in sorted(paths.items()) if _MODEL_FILES.fullmatch(name)
        ]
        figures = eval_results_yaml(card)
        api = HfApi(token=token)
        with clear_hub_errors(repo_id):
            sizes = [f"{one.path_in_repo} ({paths[one.path_in_repo].stat().st_size:,} bytes)" for one in files]
            if figures is not None:
                files.append(CommitOperationAdd(EVAL_RESULTS, figures))
                sizes.append(EVAL_RESULTS)
            repo_id = _open(api, repo_id, "model", private, revision, ", ".join([_CARD, *sizes]))
            return _commit(api, repo_id, "model", card, files, "Upload model", revision)


def _described(splits: DatasetDict) -> str:
    columns = dict.fromkeys(name for rows in splits.values() for name in rows.column_names)
    parts = ", ".join(f"{name} ({len(rows):,} rows)" for name, rows in splits.items())
    return f"{_CARD}, and all columns ({', '.join(columns)}) of {parts}"


def _open(api: HfApi, repo_id: str, kind: str, private: bool | None, revision: str | None, content: str) -> str:
    """The full name of the repository, created if it is missing; logs what will be uploaded, and who can read it."""
    full_name: str = api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True).repo_id
    is_private = api.repo_info(full_name, repo_type=kind).private
    if private and not is_private:
        raise ValueError(
            f"repository '{full_name}' is public, but private=True; make it private in its settings, or name another"
        )
    logger.warning(f"uploading to the {'private' if is_private else 'public'} repository '{full_name}': {content}")
    if revision is not None:
        api.create_branch(full_name, branch=revision, repo_type=kind, exist_ok=True)
    return full_name


def _existing_card(api: HfApi, repo_id: str, kind: str, revision: str | None) -> str:
    try:
        path = api.hf_hub_download(repo_id, _CARD, repo_type=kind, revision=revision)
    except EntryNotFoundError:
        return ""
    with open(path, encoding="utf-8-sig", newline="") as file:  # keeps line ends
        return file.read()


def _commit(
    api: HfApi,
    repo_id: str,
    kind: str,
    card: RepoCard,
    files: Sequence[CommitOperationAdd],
    message: str,
    revision: str | None,
) -> CommitInfo:
    card = placed(card, repo_id, revision)
    for attempt in range(_ATTEMPTS):
        head = api.repo_info(repo_id, repo_type=kind, revision=revision).sha
        content = merged(_existing_card(api, repo_id, kind, head), card)
        operations = [*files, CommitOperationAdd(_CARD, content.encode())]
        try:
            return api.create_commit(
                repo_id, operations, commit_message=message, repo_type=kind, revision=revision, parent_commit=head
            )
        except HfHubHTTPError as error:
            # Another commit came first: merge with its card.
            if error.response.status_code not in (409, 412) or attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")
