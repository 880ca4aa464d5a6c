"""Correct the labels of a dataset: embed, purify, check, save, publish. See docs/purify.md.

python examples/purify_dataset.py --dataset docs --output_dir output/purified
python examples/purify_dataset.py --dataset trec --purifier dmlp --clean_share 0.05 --policy soft
"""

import json
from dataclasses import dataclass, field

from datasets import DatasetDict
from transformers import AutoModel, AutoTokenizer, HfArgumentParser

from hf_noisy import embed, purify, restore_labels
from hf_noisy.cli.arguments import DataArguments, TextOptions
from hf_noisy.cli.inputs import load_source, random_rows
from hf_noisy.cli.outputs import check_output, new_folder
from hf_noisy.cli.source import default_encoder
from hf_noisy.core.files import write_atomically
from hf_noisy.hub.dataset_card import purified_card
from hf_noisy.hub.publish import push_dataset_to_hub
from hf_noisy.purification import PURIFIERS, summarise


@dataclass
class Arguments(TextOptions, DataArguments):
    purifier: str = field(
        default="evidence",
        metadata={"help": "by name", "choices": [name for name, one in PURIFIERS.items() if one.needs_features]},
    )
    policy: str = field(default="relabel", metadata={"help": "relabel, drop, soft, weight or flag"})
    min_confidence: float | None = field(default=None, metadata={"help": "rows less sure than this stay as they are"})
    clean_share: float = field(default=0.0, metadata={"help": "share of rows whose true label dmlp may see"})
    seed: int = field(default=0, metadata={"help": "of rows and folds"})
    output_dir: str = field(default="output/purified", metadata={"help": "folder to write; it must not exist"})
    push_to_hub: str | None = field(default=None, metadata={"help": "repository of the Hub"})


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    check_output(arguments.output_dir, overwrite=False)
    data = load_source(arguments)
    train = random_rows(data["train"], arguments.max_train_samples, arguments.seed)

    # Vectors of a frozen encoder; the cache of `datasets` keeps them.
    backbone = arguments.model_name_or_path or default_encoder()
    encoder, tokenizer = AutoModel.from_pretrained(backbone), AutoTokenizer.from_pretrained(backbone)
    train = embed(train, encoder, tokenizer, max_length=arguments.max_length)

    purifier = arguments.purifier
    options = {"seed": arguments.seed} if purifier in ("evidence", "confident_learning") else {}
    if purifier == "dmlp" and not arguments.clean_share:
        purifier = "dmlp_trusted"
    elif purifier == "dmlp":
        # Rows that somebody has checked: they leave the dataset, and only their true labels are read.
        split = train.train_test_split(arguments.clean_share, seed=arguments.seed)
        train, clean = split["train"], split["test"].with_format("numpy")[:]
        options = {"clean_features": clean["features"], "clean_labels": clean["clean_label"]}
    purified = purify(train, purifier, arguments.policy, min_confidence=arguments.min_confidence, **options)
    summary = summarise(purified)
    print(summary)
    assert list(restore_labels(purified)["label"]) == list(train["label"])  # nothing was lost

    splits = purified if isinstance(purified, DatasetDict) else DatasetDict(train=purified)
    splits = DatasetDict({**data, **splits.remove_columns("features")})
    card = purified_card(splits, "train", summary, name=arguments.dataset)
    with new_folder(arguments.output_dir) as folder:
        splits.save_to_disk(folder)
        card.save(folder / "README.md")
        write_atomically(folder / "summary.json", json.dumps(summary.to_dict(), indent=2))
    if arguments.push_to_hub:
        push_dataset_to_hub(splits, arguments.push_to_hub, card)


if __name__ == "__main__":
    main()
