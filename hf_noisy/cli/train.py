"""`hf-noisy train`: the example scripts, found wherever the package is installed."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import hf_noisy.core.columns as columns

_SCRIPTS = {columns.TEXT: "train_robust_text.py", columns.IMAGE: "train_robust_image.py"}


def script_for(modality: str) -> Path:
    """The example script that trains on `text` or `image`.

    They lie inside an installed package, and beside it in a checkout.

    Raises:
        FileNotFoundError: If neither holds it.

    Example:
        >>> script_for("text").name
        'train_robust_text.py'
    """
    package = Path(__file__).parents[1]
    for folder in (package / "examples", package.parent / "examples"):
        if (folder / _SCRIPTS[modality]).is_file():
            return folder / _SCRIPTS[modality]
    raise FileNotFoundError(f"script '{_SCRIPTS[modality]}' is not installed; install hf-noisy anew")


def run_script(modality: str, words: Sequence[str]) -> None:
    """Run the script in this process, as if called with these words.

    Args:
        modality: `"text"` or `"image"`.
        words: Its command line.
    """
    script, before = script_for(modality), sys.argv
    sys.argv = [str(script), *words]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before
