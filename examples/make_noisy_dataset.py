"""Write a dataset with noisy labels as a folder, with a record of the noise. See docs/noise.md.

python examples/make_noisy_dataset.py --dataset 20news --noise symmetric --rate 0.4 --output_dir 20news_sym40
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from datasets import DatasetDict
from transformers import HfArgumentParser

from hf_noisy import inject_noise, load_noisy_dataset, noise
from hf_noisy.cli.outputs import OutputFolder, open_output
from hf_noisy.cli.reading_options import ReadingOptions
from hf_noisy.core.files import check_file_name, write_atomically
from hf_noisy.data import noise_record
from hf_noisy.data.noise.row_features import row_features

BY_ROW = ("instance_dependent", "part_dependent")
NOISES = ["symmetric", "pair", "cifar10_map", "cifar100_map", *BY_ROW, "transition", "replay"]


@dataclass(kw_only=True)
class Arguments(ReadingOptions):
    output_dir: str = field(metadata={"help": "folder to write; it must not exist yet"})
    dataset: str = field(default="digits", metadata={"help": "name of load_noisy_dataset, file, folder or Hub id"})
    noise: str = field(default="symmetric", metadata={"help": ", ".join(NOISES), "choices": NOISES})
    rate: float | None = field(default=None, metadata={"help": "rate of all but transition and replay"})
    include_self: bool = field(default=False, metadata={"help": "symmetric: draw the true class too"})
    exact: bool = field(default=True, metadata={"help": "exact counts; false draws each row independently"})
    matrix: str | None = field(default=None, metadata={"help": "transition: .json file, a list of rows that sum to 1"})
    labels: str | None = field(default=None, metadata={"help": "replay: label file of the one split"})
    key: str | None = field(default=None, metadata={"help": "replay: which labels of the file"})
    splits: list[str] = field(default_factory=lambda: ["train"], metadata={"help": "splits that get noise"})
    seed: int = field(default=0, metadata={"help": "seed of the noise"})
    format: str = field(default="arrow", metadata={"help": "save_to_disk or parquet", "choices": ["arrow", "parquet"]})


def build(arguments: Arguments) -> noise.Noise:
    needed = {"transition": "matrix", "replay": "labels"}.get(arguments.noise, "rate")
    if getattr(arguments, needed) is None:
        raise ValueError(f"--noise {arguments.noise} needs --{needed}")
    if arguments.noise == "replay":
        return noise.replay(arguments.labels, arguments.key)
    if arguments.noise == "transition":
        return noise.transition(json.loads(Path(arguments.matrix).read_text()), exact=arguments.exact)
    options = {"include_self": arguments.include_self} if arguments.noise == "symmetric" else {}
    return getattr(noise, arguments.noise)(arguments.rate, exact=arguments.exact, **options)


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    with open_output(arguments.output_dir, source=arguments.dataset, option="--output_dir") as output:
        run(arguments, output)


def run(arguments: Arguments, output: OutputFolder) -> None:
    kind, data = build(arguments), load_noisy_dataset(arguments.dataset, **arguments.given())
    if unknown := set(arguments.splits) - set(data):
        raise ValueError(f"--splits must be among {', '.join(data)}, got {', '.join(sorted(unknown))}")
    clean = {}
    for split in arguments.splits:
        if "clean_label" in data[split].column_names and data[split]["label"][:] != data[split]["clean_label"][:]:
            raise ValueError(f"--dataset {arguments.dataset}: the labels of {split} are noisy already")
        clean[split] = data[split].remove_columns({"clean_label", "votes"} & set(data[split].column_names))
    # One fit for all splits: the same row must have the same probability of a flip in each of them.
    features = row_features(*clean.values()) if arguments.noise in BY_ROW else [None] * len(clean)
    for (split, rows), vectors in zip(clean.items(), features, strict=True):
        data[split] = inject_noise(rows, kind, seed=arguments.seed, features=vectors, stream=split)
    records = {split: noise_record(data[split]) for split in clean}
    with output.new() as folder:
        if arguments.format == "arrow":
            DatasetDict(data).save_to_disk(folder)
        else:
            for split, rows in data.items():
                rows.to_parquet(folder / f"{check_file_name(split, 'name of a split')}.parquet")
        write_atomically(folder / "noise.json", json.dumps(records, indent=2))
    for split, record in records.items():
        print(f"{split}: {len(data[split])} rows, {json.dumps(record)}")
    print(f"{arguments.output_dir} written")


if __name__ == "__main__":
    main()
