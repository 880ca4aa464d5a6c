"""Command lines and recipes: YAML files of arguments, which the command line can override."""

import ast
import dataclasses
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from transformers import HfArgumentParser, TrainingArguments

from hf_noisy.cli.fast_defaults import fast_defaults


def parse(kind: Any, words: Sequence[str] | None = None, **options: Any) -> tuple[Any, TrainingArguments]:
    """Read arguments from a command line whose first word may be a recipe.

    The command line overrides the recipe. A mapping in a recipe becomes `key=value` pairs. If the command line sets
    another method, the `method_args` of the recipe are ignored.

    Without a recipe, training is in bfloat16 where the machine computes it faster, and batches hold texts of similar
    length, unless the command line (or the configuration of `accelerate launch`) says otherwise. A recipe is followed
    as it is: float32 and rows in random order, if it does not name them. LoRA adapters have a learning rate of 1e-3
    by default.

    Args:
        kind: `TextArguments`, `ImageArguments`, `DyGenArguments` or another dataclass; `kind.defaults` are its
            defaults of `TrainingArguments`.
        words: The command-line arguments; by default those of the process.
        **options: Of `argparse.ArgumentParser`, such as `prog`.

    Returns:
        An object of `kind`, and the `TrainingArguments`.

    Raises:
        FileNotFoundError: If the first word is neither an option nor a file.
        ValueError: If the recipe is not a mapping, or an argument is unknown.

    Example:
        ```python
        # python train.py recipes/nct_cifar10.yaml --seed 1
        arguments, training = parse(ImageArguments)
        ```
    """
    kinds: Any = (kind, TrainingArguments)
    usage = "%(prog)s [--option value ...]; --help lists all options"  # hundreds, before every error
    parser = HfArgumentParser(kinds, usage=usage, **options)
    words = list(sys.argv[1:] if words is None else words)
    if words and not words[0].startswith("-"):
        recipe = _read(Path(words.pop(0)), kinds)
        if _method_of(words) not in (None, recipe.get("method")):
            recipe.pop("method_args", None)
        words = [word for name, value in recipe.items() for word in as_words(name, value)] + words
        fast = fast_defaults(parser, None, words)  # only the device
    else:
        fast = fast_defaults(parser, kind, words)
    own = {"save_strategy": "no", "logging_strategy": "epoch", **getattr(kind, "defaults", {})}
    parser.set_defaults(**own | fast)
    arguments, training, unknown = parser.parse_args_into_dataclasses(args=words, return_remaining_strings=True)
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no training option; {_similar(unknown[0], kinds)}")
    return arguments, training


def keyword_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`["q=0.7", "view=auto", "scale=true"]` as keyword arguments: Python literals, or else strings."""
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"method_args must be key=value pairs, got {pair!r}; write, for example, temperature=4")
        try:
            found[key] = ast.literal_eval(text.title() if text.lower() in ("true", "false", "none") else text)
        except (SyntaxError, ValueError):
            found[key] = text
    return found


def _method_of(words: Sequence[str]) -> str | None:
    """The method set by a command line."""
    flat = [part for word in words for part in word.split("=", 1)]
    return flat[flat.index("--method") + 1] if "--method" in flat[:-1] else None


def _read(path: Path, kinds: Sequence[Any]) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"recipe {path} is not there; the first word is a YAML file or begins with --")
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(recipe, dict):
        raise ValueError(f"recipe {path} must hold lines of the form `argument: value`, got {type(recipe).__name__}")
    for name in recipe:
        if name not in _known(kinds):
            close = difflib.get_close_matches(str(name), _known(kinds), 1) or ["--help"]
            raise ValueError(
                f"recipe {path} has the argument {name!r}, which the script does not know; see {close[0]}"
            )
    return recipe


def _known(kinds: Sequence[Any]) -> list[str]:
    return [field.name for kind in kinds for field in dataclasses.fields(kind)]


def _similar(word: str, kinds: Sequence[Any]) -> str:
    """What to write instead of an unknown word."""
    close = difflib.get_close_matches(word.lstrip("-").split("=")[0].replace("-", "_"), _known(kinds), 3, 0.5)
    return f"similar ones are {', '.join(f'--{name}' for name in close)}" if close else "see --help"


def as_words(name: str, value: Any) -> list[str]:
    """A line of a recipe as command-line arguments."""
    if value is None:
        return []
    if isinstance(value, dict):
        value = [f"{key}={item}" for key, item in value.items()]
    return [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
