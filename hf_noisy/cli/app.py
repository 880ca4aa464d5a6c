"""The commands and their options. What they do stands in `commands.py`."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="hf-noisy",
    help="Noisy labels: inject them, find them, correct them, train in spite of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Source = Annotated[str, typer.Argument(help="CSV, JSON lines or parquet file, a saved data set, a name, or a Hub id")]
TextColumn = Annotated[str | None, typer.Option(help="column of the texts", show_default="text")]
ImageColumn = Annotated[str | None, typer.Option(help="column of the images", show_default="image")]
LabelColumn = Annotated[str | None, typer.Option(help="column of the given labels", show_default="label")]
Split = Annotated[str, typer.Option(help="split that the command is about; the others are passed on")]
Output = Annotated[Path, typer.Option(help="folder to write; it must not exist")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an earlier output in that folder")]
PushToHub = Annotated[str | None, typer.Option(help="also push the result to this repository of the Hub")]
Model = Annotated[str | None, typer.Option(help="encoder of the features: Hub id or folder", show_default="small one")]
TrainingOptions = Annotated[list[str] | None, typer.Argument(help="options of training, as --learning_rate 1e-4")]
Seed = Annotated[int, typer.Option(help="of every draw")]


def in_one_sentence(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what the user can mend into one sentence on stderr and exit code 2; anything else is a fault of ours."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        from datasets.exceptions import DatasetGenerationError

        try:
            command(*args, **kwargs)
        except (ValueError, TypeError, OSError, ImportError, DatasetGenerationError) as error:
            # A file that cannot be parsed: the reader says why, `datasets` only that it was so.
            reason = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
            sentence = " ".join(str(reason).split()) or type(reason).__name__
            print(f"hf-noisy: {sentence}", file=sys.stderr)
            raise typer.Exit(2) from None

    return wrapped


@app.command()
@in_one_sentence
def inject(
    source: Source,
    output: Output,
    noise_rate: Annotated[float, typer.Option(help="share of the labels that become wrong, in [0, 1)")],
    noise_type: Annotated[str, typer.Option(help="symmetric, asymmetric, pair or instance")] = "symmetric",
    noise_seed: Seed = 0,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split: Split = "train",
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
) -> None:
    """Put noise into true labels, which stay in the column `clean_label`."""
    import hf_noisy.cli.commands as commands

    commands.inject(
        source, output, noise_type, noise_rate, noise_seed, columns=(text_column, image_column, label_column),
        split=split, overwrite=overwrite, push_to_hub=push_to_hub,
    )  # fmt: skip


@app.command()
@in_one_sentence
def audit(
    source: Source,
    output: Output,
    model: Model = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split: Split = "train",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
) -> None:
    """How noisy is my data, and which rows? No true label and no noise rate is needed."""
    import hf_noisy.cli.commands as commands

    commands.audit(
        source, output, model, columns=(text_column, image_column, label_column), split=split, seed=seed,
        overwrite=overwrite, push_to_hub=push_to_hub,
    )  # fmt: skip


@app.command()
@in_one_sentence
def purify(
    source: Source,
    output: Output,
    purifier: Annotated[str, typer.Option(help="name of the purifier, see docs/purify.md")] = "confident_learning",
    policy: Annotated[str, typer.Option(help="relabel, drop, soft, weight or flag")] = "relabel",
    min_confidence: Annotated[float, typer.Option(help="rows less sure than this stay as they are")] = 0.0,
    clean_column: Annotated[str | None, typer.Option(help="column that is true where a label was checked")] = None,
    model: Model = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split: Split = "train",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
) -> None:
    """Correct the labels; what was changed stays with every row and can be undone."""
    import hf_noisy.cli.commands as commands

    commands.purify(
        source, output, purifier, policy, min_confidence, clean_column, model,
        columns=(text_column, image_column, label_column), split=split, seed=seed, overwrite=overwrite,
        push_to_hub=push_to_hub,
    )  # fmt: skip


@app.command()
@in_one_sentence
def apply(
    decisions: Annotated[Path, typer.Argument(help="decisions.csv of a report")],
    source: Source,
    output: Output,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    split: Split = "train",
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
) -> None:
    """Apply what was decided in a report to the data that the report was made of."""
    import hf_noisy.cli.commands as commands

    commands.apply(
        decisions, source, output, columns=(text_column, image_column, label_column), split=split,
        overwrite=overwrite, push_to_hub=push_to_hub,
    )  # fmt: skip


@app.command(context_settings={"ignore_unknown_options": True})
@in_one_sentence
def train(
    source: Source,
    output: Output,
    words: Annotated[
        list[str] | None, typer.Argument(help="options of training, such as --learning_rate 1e-4")
    ] = None,
    method: Annotated[str, typer.Option(help="of hf_noisy.methods, such as nct")] = "cross_entropy",
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the model to train")] = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
) -> None:
    """Train by a robust method; any argument of the example scripts and of TrainingArguments can follow."""
    import hf_noisy.cli.commands as commands

    commands.train(
        source, output, method, model, words or [], columns=(text_column, image_column, label_column),
        overwrite=overwrite, push_to_hub=push_to_hub,
    )  # fmt: skip


def main() -> None:
    """Entry point of the console script."""
    app()
