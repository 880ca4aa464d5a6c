"""Correct the labels of a dataset: embed, purify, check, save, publish. See docs/purify.md.

python examples/purify_dataset.py --dataset docs --output_dir output/purified
python examples/purify_dataset.py --dataset trec --checked_share 0.05 --policy soft
"""

import json
from dataclasses import dataclass, field

import numpy as np
from datasets import DatasetDict
from transformers import AutoModel, AutoTokenizer, HfArgumentParser

from hf_noisy import embed, purify, restore_labels, rows_to_check
from hf_noisy.cli.arguments import DataArguments, TextOptions
from hf_noisy.cli.inputs import load_source, random_rows
from hf_noisy.cli.outputs import OutputFolder, open_output
from hf_noisy.core.files import write_atomically
from hf_noisy.data import checked_rows
from hf_noisy.hub.dataset_card import purified_card
from hf_noisy.hub.publish import push_dataset_to_hub
from hf_noisy.models.default_encoder import default_encoder
from hf_noisy.purification import PURIFIERS, summarise


@dataclass
class Arguments(TextOptions, DataArguments):
    purifier: str | None = field(
        default=None,
        metadata={
            "help": "by name; default: checked with checked rows, else evidence",
            "choices": [name for name, one in PURIFIERS.items() if one.needs_features],
        },
    )
    policy: str = field(default="relabel", metadata={"help": "relabel, drop, soft, weight or flag"})
    min_confidence: float | None = field(default=None, metadata={"help": "rows less sure than this stay as they are"})
    checked_share: float = field(
        default=0.0, metadata={"help": "share of random rows that count as checked: their true label is read"}
    )
    seed: int = field(default=0, metadata={"help": "of rows and folds"})
    output_dir: str = field(default="output/purified", metadata={"help": "folder to write; it must not exist"})
    push_to_hub: str | None = field(default=None, metadata={"help": "repository of the Hub"})


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    with open_output(arguments.output_dir, source=arguments.dataset, option="--output_dir") as output:
        run(arguments, output)


def run(arguments: Arguments, output: OutputFolder) -> None:
    data = load_source(arguments)
    train = random_rows(data["train"], arguments.max_train_samples, arguments.seed)

    # Vectors of a frozen encoder; the cache of `datasets` keeps them.
    backbone = arguments.model_name_or_path or default_encoder()
    encoder = AutoModel.from_pretrained(backbone, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False)
    train = embed(train, encoder, tokenizer, max_length=arguments.max_length)

    checked = checked_rows(train)
    if arguments.checked_share:
        sample = rows_to_check(train, round(arguments.checked_share * len(train)), seed=arguments.seed)
        column = np.full(len(train), -1)
        column[sample.index] = np.array(train["clean_label"])[sample.index]
        checked = checked_rows(train, column, strategy="random")
    purifier = arguments.purifier or ("evidence" if checked is None else "checked")
    if purifier == "dmlp" and checked is None:
        purifier = "dmlp_trusted"
    options = {"seed": arguments.seed} if purifier in ("checked", "evidence", "confident_learning") else {}
    options |= {"min_confidence": arguments.min_confidence, "checked": checked}
    purified = purify(train, purifier, arguments.policy, **options)
    summary = summarise(purified)
    print(summary)
    assert list(restore_labels(purified)["label"]) == list(train["label"])  # nothing was lost

    splits = purified if isinstance(purified, DatasetDict) else DatasetDict(train=purified)
    splits = DatasetDict({**data, **splits.remove_columns("features")})
    card = purified_card(splits, "train", summary, name=arguments.dataset)
    with output.new() as folder:
        splits.save_to_disk(folder)
        card.save(folder / "README.md")
        write_atomically(folder / "summary.json", json.dumps(summary.to_dict(), indent=2))
    if arguments.push_to_hub:
        push_dataset_to_hub(splits, arguments.push_to_hub, card)


if __name__ == "__main__":
    main()
