"""The options of the commands; `commands.py` holds what they do."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="hf-noisy",
    help="Noisy labels: inject them, find them, correct them, train with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Source = Annotated[str, typer.Argument(help="CSV, JSON lines or parquet file, a saved data set, a name, or a Hub id")]
TextColumn = Annotated[str | None, typer.Option(help="column of the texts", show_default="text")]
ImageColumn = Annotated[str | None, typer.Option(help="column of the images", show_default="image")]
LabelColumn = Annotated[str | None, typer.Option(help="column of the given labels", show_default="label")]
Split = Annotated[str, typer.Option(help="split to work on; the others are passed on")]
Output = Annotated[Path, typer.Option(help="folder to write; it must not exist")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace an earlier output in that folder")]
PushToHub = Annotated[str | None, typer.Option(help="also push the result to this repository of the Hub")]
Model = Annotated[str | None, typer.Option(help="encoder of the features: Hub id or folder", show_default="small one")]
TrainingOptions = Annotated[list[str] | None, typer.Argument(help="options of training, as --learning_rate 1e-4")]
Seed = Annotated[int, typer.Option(help="of every random draw")]


def _run(command: str, options: dict[str, Any]) -> None:
    """Call the function of that name in `commands`, with the common options as a `Job`.

    What the user can fix is one sentence on stderr with exit code 2; anything else is a bug.
    """
    from datasets.exceptions import DatasetGenerationError

    import hf_noisy.cli.commands as commands  # imports much that `--help` need not wait for

    try:
        common = {field: options.pop(field) for field in commands.Job.__dataclass_fields__ if field in options}
        getattr(commands, command)(commands.Job(**common), **options)
    except (ValueError, TypeError, OSError, ImportError, DatasetGenerationError) as error:
        # `datasets` hides why a file cannot be parsed in the cause.
        reason = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        sentence = " ".join(str(reason).split()) or type(reason).__name__
        print(f"hf-noisy: {sentence}", file=sys.stderr)
        raise typer.Exit(2) from None


@app.command()
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
    _run("inject", locals())


@app.command()
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
    _run("audit", locals())


@app.command()
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
    _run("purify", locals())


@app.command()
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
    _run("apply", locals())


@app.command(context_settings={"ignore_unknown_options": True})
def train(
    source: Source,
    output: Output,
    words: TrainingOptions = None,
    method: Annotated[str, typer.Option(help="of hf_noisy.methods, such as nct")] = "cross_entropy",
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the model to train")] = None,
    text_column: TextColumn = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    overwrite: Overwrite = False,
    push_to_hub: PushToHub = None,
) -> None:
    """Train by a robust method; any option of training, also those of TrainingArguments, can follow."""
    _run("train", locals())


def main() -> None:
    """Entry point of the console script."""
    app()
