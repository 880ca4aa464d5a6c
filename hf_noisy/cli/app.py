"""The options of the commands; `commands.py` and `checked_commands.py` hold what they do."""

import importlib
import logging
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from hf_noisy.cli.early_checks import check_early
from hf_noisy.cli.outputs import open_output, several_processes
from hf_noisy.cli.reading_options import ReadingOptions, with_reading_options
from hf_noisy.core.cells import printable
from hf_noisy.core.phases import phase, recorded_phases

_OF_LIBRARIES = (
    ("datasets.exceptions", "DatasetGenerationError"),
    ("pyarrow", "ArrowException"),
    ("safetensors", "SafetensorError"),
    ("PIL.Image", "DecompressionBombError"),
)

app = typer.Typer(
    name="hf-noisy",
    help="Noisy labels: inject, find and correct them, and train with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Source = Annotated[str, typer.Argument(help="CSV, TSV, JSON, Parquet or Excel file, folder, -, named set, or Hub id")]
Split = Annotated[str, typer.Option(help="split to work on; the others are copied unchanged")]
Checked = Annotated[Path | None, typer.Option(help="checked rows: checked.csv, or an annotation tool's JSON")]
Output = Annotated[Path, typer.Option(help="output folder; must not exist")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an earlier output in the folder")]
PushToHub = Annotated[str | None, typer.Option(help="also push the result to this Hub repository")]
Private = Annotated[bool, typer.Option("--private", help="make a new Hub repository private")]
Model = Annotated[
    str | None,
    typer.Option(help="feature encoder: Hub id or folder", show_default="small; pixels for images"),
]
Dtype = Annotated[str, typer.Option(help="of the encoder: float32, bfloat16, or auto: bfloat16 where it is faster")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="run Python code that comes with the model")
]
TrainingOptions = Annotated[list[str] | None, typer.Argument(help="training options, such as --learning_rate 1e-4")]
Seed = Annotated[int, typer.Option(help="random seed")]
CheckFormat = Annotated[str, typer.Option("--format", help="page, label-studio or argilla")]


def _run(command: str, options: dict[str, Any], module: str = "commands") -> None:
    """Call the function of that name in a module of commands, with the common options as a `Job`."""
    with _one_sentence_each([*options, *options["reading"]]):
        if command != "train" and several_processes():
            typed = command.removesuffix("_rows")
            raise ValueError(f"{typed} runs in one process; start it without torchrun and accelerate launch")
        check_early(options | options["reading"])
        options["reading"] = ReadingOptions(**options["reading"])
        with (
            recorded_phases(show=True),
            open_output(options.pop("output"), options.pop("overwrite"), options["source"]) as output,
        ):
            with phase("importing"):
                commands = importlib.import_module(f"hf_noisy.cli.{module}")
            common = {field: options.pop(field) for field in commands.Job.__dataclass_fields__ if field in options}
            getattr(commands, command)(commands.Job(output=output, **common), **options)


@contextmanager
def _one_sentence_each(names: list[str]) -> Iterator[None]:
    """Reports, warnings and errors that the user can fix on stderr, with exit code 2; any other error is a bug."""
    reports = _Reports(names)
    logging.getLogger("hf_noisy.data").addHandler(reports)
    shown, warnings.showwarning = warnings.showwarning, reports.warn
    try:
        yield
    except Exception as error:
        if not isinstance(error, _fixable()):
            raise
        # `datasets` gives the reason why a file cannot be parsed only as the cause.
        reason = error.__cause__ if type(error).__name__.startswith("DatasetGeneration") and error.__cause__ else error
        # Sentences of ours have the number of the error, which says nothing to people, but no file.
        text = reason.strerror if isinstance(reason, OSError) and reason.filename is None else None
        sentence = _as_typed(" ".join((text or str(reason)).split()) or type(reason).__name__, names)
        print(f"hf-noisy: {printable(sentence)}", file=sys.stderr)
        raise typer.Exit(2) from None
    finally:
        logging.getLogger("hf_noisy.data").removeHandler(reports)
        warnings.showwarning = shown


class _Reports(logging.Handler):
    """What the reader of the data reports, and warnings of ours, on stderr, with options as they are typed."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.names, self.others = names, warnings.showwarning
        self.printed: set[str] = set()  # training reads the data twice

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())

    def warn(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """A warning as a sentence, without the line of code that it comes from."""
        if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
            self._say(str(message))
        else:
            self.others(message, category, filename, lineno, file, line)

    def _say(self, message: str) -> None:
        sentence = printable(_as_typed(message, self.names))
        if sentence not in self.printed:
            self.printed.add(sentence)
            print(f"hf-noisy: {sentence}", file=sys.stderr)


def _fixable() -> tuple[type[BaseException], ...]:
    """What is raised for a mistake, or for files that are damaged, hold code, or are too large or too deep to read."""
    # A library that was not imported has raised nothing, and is slow to import.
    of_libraries = [getattr(sys.modules[module], name) for module, name in _OF_LIBRARIES if module in sys.modules]
    mistakes = (ValueError, TypeError, OSError, ImportError)
    return (*mistakes, pickle.UnpicklingError, zipfile.BadZipFile, RecursionError, EOFError, *of_libraries)


def _as_typed(sentence: str, names: list[str]) -> str:
    """The sentence with the arguments of Python functions as the options of the command line."""
    before = r"(?<![\w'\"./\\-])"  # not within a file name or a quoted name
    for name in names:
        option = f"--{name.replace('_', '-')}"
        sentence = re.sub(rf"{before}{name}=True\b", option, sentence)
        sentence = re.sub(rf"{before}{name}=(?=[\w'\"-])", f"{option} ", sentence)
        sentence = re.sub(rf"{before}{name}=", option, sentence)  # without a value
        if "_" in name:  # others are words of English too
            sentence = re.sub(rf"{before}{name}(?![\w.'\"])", option, sentence)
    return sentence


@app.command()
@with_reading_options
def inject(
    source: Source,
    output: Output,
    noise_rate: Annotated[float, typer.Option(help="share of labels to make wrong, in [0, 1)")],
    noise_type: Annotated[str, typer.Option(help="symmetric, asymmetric, pair, instance; entity, missing")] = (
        "symmetric"
    ),
    noise_seed: Seed = 0,
    split: Split = "train",
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    private: Private = False,
    **reading: Any,
) -> None:
    """Add label noise; the true labels stay in the column `clean_label`."""
    _run("inject", locals())


@app.command()
@with_reading_options
def audit(
    source: Source,
    output: Output,
    checked: Checked = None,
    votes: Annotated[Path | None, typer.Option(help="answers of several annotators, as for aggregate")] = None,
    model: Model = None,
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    split: Split = "train",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    private: Private = False,
    **reading: Any,
) -> None:
    """Estimate the noise rate and find wrong labels, without true labels."""
    _run("audit", locals())


@app.command()
@with_reading_options
def purify(
    source: Source,
    output: Output,
    purifier: Annotated[
        str | None,
        typer.Option(
            help="checked, evidence, confident_learning, knn, dmlp, dmlp_trusted",
            show_default="checked with checked rows, else evidence",
        ),
    ] = None,
    policy: Annotated[str, typer.Option(help="relabel, drop, soft, weight or flag")] = "relabel",
    min_confidence: Annotated[
        float | None,
        typer.Option(
            help="rows below this confidence are not changed",
            show_default="0.65 for evidence, 0.5 for tags and sets, else 0",
        ),
    ] = None,
    max_wrong: Annotated[
        float | None, typer.Option(help="largest share of wrong changes, such as 0.1; needs checked rows")
    ] = None,
    label_missing: Annotated[
        bool, typer.Option("--label-missing", help="label rows without a label by prediction")
    ] = False,
    checked: Checked = None,
    model: Model = None,
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    split: Split = "train",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    private: Private = False,
    **reading: Any,
) -> None:
    """Correct the labels; every change is recorded and can be undone."""
    _run("purify", locals())


@app.command()
def aggregate(
    source: Annotated[
        str, typer.Argument(help="votes: CSV, JSON, Parquet or Excel file, or an annotation tool's JSON")
    ],
    output: Output,
    vote_columns: Annotated[
        str | None, typer.Option(help="columns of the annotators, such as ann,ben", show_default="found")
    ] = None,
    annotator_column: Annotated[
        str | None, typer.Option(help="column of the annotators' names, one answer a line")
    ] = None,
    row_column: Annotated[str | None, typer.Option(help="column of the row that an answer is for")] = None,
    label_column: Annotated[str | None, typer.Option(help="column of the answers", show_default="label")] = None,
    text_column: Annotated[str | None, typer.Option(help="column of the texts", show_default="text")] = None,
    classes: Annotated[str | None, typer.Option(help="all classes, such as no,yes", show_default="found")] = None,
    vote_method: Annotated[str, typer.Option("--method", help="model, dawid_skene, weighted or majority")] = "model",
    votes_only: Annotated[bool, typer.Option("--votes-only", help="do not use the texts")] = False,
    checked: Checked = None,
    model: Model = None,
    dtype: Dtype = "auto",
    delimiter: Annotated[str | None, typer.Option(help="between columns of a file", show_default="found")] = None,
    encoding: Annotated[str | None, typer.Option(help="of a text file", show_default="UTF-8")] = None,
    trust_remote_code: TrustRemoteCode = False,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    private: Private = False,
) -> None:
    """One label a row from the votes of people, rules or language models."""
    options = dict(locals())
    reading = {name: options.pop(name) for name in ("label_column", "delimiter", "encoding")}
    text = options.pop("text_column")
    options["reading"] = {**reading, "text_column": None if text is None else [text]}
    options["vote_columns"] = vote_columns.split(",") if vote_columns else ()
    options["classes"] = classes.split(",") if classes else None
    options["use_texts"] = not options.pop("votes_only")
    _run("aggregate_votes", options, "vote_commands")


@app.command()
@with_reading_options
def apply(
    decisions: Annotated[Path, typer.Argument(help="decisions.csv from a report")],
    source: Source,
    output: Output,
    split: Split = "train",
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    private: Private = False,
    **reading: Any,
) -> None:
    """Apply the decisions made in a report to the data of the report."""
    _run("apply", locals())


@app.command(context_settings={"ignore_unknown_options": True})
@with_reading_options
def train(
    source: Source,
    output: Output,
    words: TrainingOptions = None,
    method: Annotated[str, typer.Option(help="training method, such as nct or auto")] = "cross_entropy",
    checked: Checked = None,
    model: Annotated[str | None, typer.Option(help="model to train: Hub id or folder")] = None,
    trust_remote_code: TrustRemoteCode = False,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
    private: Private = False,
    **reading: Any,
) -> None:
    """Train with a robust method; all training options, including TrainingArguments, can follow."""
    _run("train", locals(), "train_command")


@app.command()
@with_reading_options
def check(
    source: Source,
    output: Output,
    rows: Annotated[int | None, typer.Option(help="number of rows to draw", show_default="100")] = None,
    checked: Checked = None,
    file_format: CheckFormat = "page",
    split: Split = "train",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    **reading: Any,
) -> None:
    """Draw random rows for a person to check, on a page or with an annotation tool."""
    _run("check", locals(), "checked_commands")


@app.command("next")
@with_reading_options
def next_rows(
    source: Source,
    output: Output,
    budget: Annotated[int, typer.Option(help="number of rows to check next")] = 50,
    checked: Checked = None,
    strategy: Annotated[
        str, typer.Option(help="informative (for better labels and models) or random (for estimates)")
    ] = "informative",
    model: Model = None,
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    file_format: CheckFormat = "page",
    split: Split = "train",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    **reading: Any,
) -> None:
    """Draw the rows to check next, given those that are checked already."""
    _run("next_rows", locals(), "checked_commands")


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="output folder of inject, audit, purify, aggregate, apply or train")],
    repo_id: Annotated[str, typer.Argument(help="Hub repository: owner/name, or a name for your own")],
    private: Private = False,
) -> None:
    """Push a finished output folder to the Hub, with its card."""
    with _one_sentence_each(["private"]), recorded_phases(show=True):
        importlib.import_module("hf_noisy.hub.errors").refuse_push(repo_id)
        with phase("importing"):
            command = importlib.import_module("hf_noisy.cli.push_command")
        command.push(folder, repo_id, private)


def main() -> None:
    """Entry point of the console script."""
    app()
