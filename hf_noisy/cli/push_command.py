"""`hf-noisy push`: a finished output folder goes to the Hub, as `--push-to-hub` does right after a run."""

from pathlib import Path

from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard, ModelCard

from hf_noisy.cli.manifest import read_manifest
from hf_noisy.cli.outputs import CARD, DATA, PART
from hf_noisy.core.phases import phase
from hf_noisy.hub.publish import push_dataset_to_hub, push_model_to_hub


def push(folder: Path, repo_id: str, private: bool) -> None:
    """Push the rows or the model of an output folder, with its card as it stands there."""
    if not (read_manifest(folder) or {}).get("complete"):
        raise FileNotFoundError(f"'{folder}' is no output folder of hf-noisy; name one that a command has finished")
    parts = sorted((folder / DATA).glob(f"*{PART}"))
    if not parts and not list(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"'{folder}' holds neither rows nor a model; name an output of inject, audit, purify, aggregate, apply or "
            "train"
        )
    card = (folder / CARD).read_text(encoding="utf-8")
    with phase("pushing"):
        if parts:
            splits = {part.name.removesuffix(PART): Dataset.from_parquet(str(part)) for part in parts}
            rows = DatasetDict(splits)
            url = push_dataset_to_hub(rows, repo_id, DatasetCard(card), private=private or None)
        else:
            url = push_model_to_hub(folder, repo_id, ModelCard(card), private=private or None)
    print(f"pushed to {url}")
