"""The options that say how a source of rows is read: one field each, for every command and for training."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar

import typer

_Command = TypeVar("_Command", bound=Callable[..., None])


@dataclass
class ReadingOptions:
    """How a file, folder or Hub data set is read; the names are those of arguments of `load_noisy_dataset`."""

    text_column: list[str] | None = field(
        default=None, metadata={"help": "text column; twice for pairs of texts; default: text"}
    )
    image_column: str | None = field(default=None, metadata={"help": "image column; default: image"})
    label_column: str | None = field(default=None, metadata={"help": "column of the given labels; default: label"})
    feature_columns: list[str] | None = field(default=None, metadata={"help": "columns of numbers, such as a,b,c"})
    clean_column: str | None = field(default=None, metadata={"help": "column of the true labels, where known"})
    delimiter: str | None = field(default=None, metadata={"help": "between columns of a file; default: found"})
    encoding: str | None = field(default=None, metadata={"help": "of a text file; default: UTF-8, else guessed"})
    merge_labels: bool = field(default=False, metadata={"help": "merge classes that differ by case or spaces only"})
    skip_unreadable: bool = field(default=False, metadata={"help": "leave out rows whose image cannot be read"})
    allow_outside: bool = field(default=False, metadata={"help": "read images outside of the folder of their list"})
    test_file: str | None = field(default=None, metadata={"help": "file of test rows, if the data has no test split"})
    test_labels: str | None = field(default=None, metadata={"help": "true: test labels are right; default: given"})

    task: str | None = field(default=None, metadata={"help": "one-label, tokens or multi-label; default: by columns"})
    label_separator: str | None = field(default=None, metadata={"help": "between several labels of a row, such as ;"})
    label_columns: list[str] | None = field(default=None, metadata={"help": "columns of 0 and 1, one for each class"})

    def given(self) -> dict[str, Any]:
        """The options that differ from their default."""
        options = {one.name: getattr(self, one.name) for one in fields(ReadingOptions)}
        # Comma-separated, or the option several times.
        for several in ("feature_columns", "label_columns"):
            options[several] = [name for part in getattr(self, several) or [] for name in part.split(",")]
        return {name: value for name, value in options.items() if value}


def with_reading_options(command: _Command) -> _Command:
    """Let a command that takes `**reading` offer each of [`ReadingOptions`] on the command line."""
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    shared = [_parameter(one) for one in fields(ReadingOptions)]
    command.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    return command


def _parameter(one: Any) -> inspect.Parameter:
    # A single name: a switch has no `--no-...`.
    name = f"--{one.name.replace('_', '-')}"
    option = typer.Option(name, help=one.metadata["help"], show_default=False)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(one.name, kind, default=one.default, annotation=Annotated[one.type, option])
