"""A dataset with noisy labels as a folder that other programs read; says what was done. See docs/noise.md.

python examples/make_noisy_dataset.py --dataset 20news --noise symmetric --rate 0.4 --output_dir 20news_sym40
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from datasets import DatasetDict
from transformers import HfArgumentParser

from hf_noisy import inject_noise, load_noisy_dataset, noise
from hf_noisy.core.files import check_file_name, sync, write_atomically
from hf_noisy.data import noise_record
from hf_noisy.data.noise.row_features import row_features

BY_ROW = ("instance_dependent", "part_dependent")
NOISES = ["symmetric", "pair", "cifar10_map", "cifar100_map", *BY_ROW, "transition", "replay"]


@dataclass
class Arguments:
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
    text_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    label_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    seed: int = field(default=0, metadata={"help": "seed of the noise"})
    format: str = field(default="arrow", metadata={"help": "save_to_disk or parquet", "choices": ["arrow", "parquet"]})


def build(arguments: Arguments) -> noise.Noise:
    needed = {"transition": "matrix", "replay": "labels"}.get(arguments.noise, "rate")
    if getattr(arguments, needed) is None:
        raise SystemExit(f"--noise {arguments.noise} needs --{needed}")
    if arguments.noise == "replay":
        return noise.replay(arguments.labels, arguments.key)
    if arguments.noise == "transition":
        return noise.transition(json.loads(Path(arguments.matrix).read_text()), exact=arguments.exact)
    options = {"include_self": arguments.include_self} if arguments.noise == "symmetric" else {}
    return getattr(noise, arguments.noise)(arguments.rate, exact=arguments.exact, **options)


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    output = Path(arguments.output_dir)
    if output.exists():
        raise SystemExit(f"--output_dir {output} exists already; name a new folder")
    kind = build(arguments)
    data = load_noisy_dataset(
        arguments.dataset, text_column=arguments.text_column, label_column=arguments.label_column
    )
    if unknown := set(arguments.splits) - set(data):
        raise SystemExit(f"--splits must be among {', '.join(data)}, got {', '.join(sorted(unknown))}")
    clean = {split: rows.remove_columns([c for c in ("clean_label", "votes") if c in rows.column_names])
             for split, rows in data.items()}  # fmt: skip
    for split in arguments.splits:
        if "clean_label" in data[split].column_names and data[split]["label"][:] != data[split]["clean_label"][:]:
            raise SystemExit(f"--dataset {arguments.dataset}: the labels of {split} are noisy already")
    # One fit for all splits: the same row must run the same risk in each of them.
    parts = row_features(*(clean[split] for split in arguments.splits)) if arguments.noise in BY_ROW else []
    parts = parts or [None] * len(arguments.splits)
    noisy = {split: inject_noise(clean[split], kind, seed=arguments.seed, features=features, stream=split)
             for split, features in zip(arguments.splits, parts, strict=True)}  # fmt: skip
    records = {split: noise_record(rows) for split, rows in noisy.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when whole, so that a folder of this name is never a part of one.
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        written = Path(folder) / "dataset"
        DatasetDict(data | noisy).save_to_disk(written) if arguments.format == "arrow" else written.mkdir()
        for split, rows in (data | noisy).items() if arguments.format == "parquet" else ():
            check_file_name(split, "name of a split")
            rows.to_parquet(written / f"{split}.parquet")
        write_atomically(written / "noise.json", json.dumps(records, indent=2))
        for file in [*written.rglob("*"), written]:
            sync(file)
        written.rename(output)
    for split, record in records.items():
        print(f"{split}: {len(noisy[split])} rows, {json.dumps(record)}")
    print(f"{output} written")


if __name__ == "__main__":
    main()
