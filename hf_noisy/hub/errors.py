"""What goes wrong with a push to the Hub, said in one sentence; nothing here is slow to import."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import get_token, is_offline_mode
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented


def refuse_push(repo_id: str) -> None:
    """Refuse a push that cannot work: to a name that is none, offline, or without a token."""
    with clear_hub_errors(repo_id):
        validate_repo_id(repo_id)
        if is_offline_mode():
            raise OfflineModeIsEnabled
        if get_token() is None:
            raise LocalTokenNotFoundError


@contextmanager
def clear_hub_errors(repo_id: str) -> Iterator[None]:
    """Raise errors of the Hub's clients as one sentence each."""
    try:
        yield
    except Exception as error:
        found: BaseException | None = error
        while found is not None:
            if (clear := _clear(found, repo_id)) is not None:
                raise clear from error
            found = found.__cause__ or found.__context__
        raise


def _clear(error: BaseException, repo_id: str) -> Exception | None:
    """A clear error for an error of the client, or None for other errors."""
    if isinstance(error, HFValidationError):
        return ValueError(
            f"repo_id must be 'name' or 'owner/name', of letters, digits, '-', '_' or '.', got {repo_id!r}"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return ConnectionError(
            f"HF_HUB_OFFLINE is set, so nothing was pushed to '{repo_id}'; unset it and run it again"
        )
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401 or isinstance(error, LocalTokenNotFoundError):
        return PermissionError(f"the Hub knows no token for '{repo_id}'; log in with `hf auth login`, or pass token")
    if status == 403:
        return PermissionError(
            f"the token may not write to '{repo_id}'; use one that may, or name a repository of your own"
        )
    if status == 404:
        return FileNotFoundError(
            f"'{repo_id}' or its branch is not on the Hub, or not visible to the token; check both"
        )
    if isinstance(error, BadRequestError):
        return ValueError(f"the Hub refuses what is pushed to '{repo_id}': {' '.join(str(error).split())}")
    again = "nothing local was changed: run it again to complete the push"
    if status is not None:
        return ConnectionError(f"the Hub answered {status} to the push to '{repo_id}'; {again}")
    # The name of the HTTP client package varies between releases.
    if isinstance(error, ConnectionError) or type(error).__module__.startswith("httpx"):
        return ConnectionError(f"the connection broke during the push to '{repo_id}'; {again}")
    return None
