"""Steps that know no trainer, run on every rank at once: what `test_offline` compares with one process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset

from hf_noisy.data import inject_noise, load_noisy_dataset, noise
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.store import Trajectories
from hf_noisy.models.embed import embed
from hf_noisy.purification.policies import purify
from tests.contract.runs import make_rows
from tests.unit.models.test_embed import encoder, texts, tokenizer

# Rows, and tokens of a batch: several batches for each rank, then one for the first rank alone.
SIZES = {"many": (23, 12), "one-batch": (23, 4000), "one-row": (1, 12)}


def embedded(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name, (count, tokens) in SIZES.items():
        rows = Dataset.from_dict({"text": texts(count)})
        rows = embed(rows, encoder(), tokenizer(), batch_tokens=tokens, cache_dir=folder / name)
        found[f"embed.{name}"] = torch.tensor(np.array(rows["features"], np.float32))
    return found


def refused() -> str:
    """What `embed` says to a model whose weights depend on the rank."""
    model = encoder()
    with torch.no_grad():
        next(model.parameters()).add_(PartialState().process_index)
    try:
        embed(Dataset.from_dict({"text": texts(3)}), model, tokenizer())
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def purified(folder: Path) -> dict[str, torch.Tensor]:
    """Every rank purifies the same stored rows at the same time."""
    state = PartialState()
    if state.is_main_process:
        draw = np.random.default_rng(0)
        truth = np.arange(61) % 3
        features = draw.normal(size=(61, 4)).astype(np.float32) + 3 * np.eye(3, 4, dtype=np.float32)[truth]
        Dataset.from_dict({"features": features, "label": truth}).save_to_disk(folder / "rows")
    state.wait_for_everyone()
    rows = Dataset.load_from_disk(folder / "rows")
    noisy = inject_noise(rows, noise.symmetric(0.2), seed=1)
    found = {"noise.label": torch.tensor(noisy["label"])}
    purifiers = {"knn": {"k": 5}, "evidence": {}, "confident_learning": {}, "dmlp_trusted": {"epochs": 3}}
    for name, options in purifiers.items():
        result = purify(noisy, name, policy="relabel", **options)
        for column in ("label", "label_given", "label_posterior", "label_confidence", "label_changed"):
            found[f"{name}.{column}"] = torch.tensor(np.array(result[column]))
    return found


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    """Every rank builds the same data set at the same time."""
    table = folder / "rows.csv"
    if PartialState().is_main_process:
        table.write_text("text,label\n" + "".join(f"row {row},{'abc'[row % 3]}\n" for row in range(11)))
    PartialState().wait_for_everyone()
    csv = load_noisy_dataset(str(table), noise_type="symmetric", noise_rate=0.3, cache_dir=str(folder / "cache"))
    return {"csv.label": torch.tensor(csv["train"]["label"])}


def corrected(trajectories: Trajectories, folder: Path) -> dict[str, torch.Tensor]:
    """DyGEN fitted on every rank, saved by all of them under one name, and loaded again."""
    labels = np.array(make_rows("branches", 21)["label"])
    dygen = DyGen.fit(trajectories, labels, vae_epochs=2, show_progress=False)
    found = {"dygen.train": dygen.posterior("train", labels), "dygen.odd": dygen.posterior("odd")}
    dygen.save_pretrained(folder / "dygen")
    PartialState().wait_for_everyone()
    again = DyGen.from_pretrained(folder / "dygen", trajectories)
    found["dygen.again"] = again.posterior("train", labels)
    return {name: torch.from_numpy(values) for name, values in found.items()}


def results(folder: Path, trajectories: Trajectories) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Everything as tensors, and what was said and left on the disk."""
    state = PartialState()
    folder.mkdir(parents=True, exist_ok=True)
    found = embedded(folder / "embed") | purified(folder) | loaded(folder) | corrected(trajectories, folder)
    state.wait_for_everyone()
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    said = {"files": [name for name in files if not name.endswith(".lock")], "refused": refused()}
    return found, said


def write(folder: Path, rank: int, trajectories: Trajectories) -> dict[str, torch.Tensor]:
    """[`results`], with the words as a file of the rank."""
    found, said = results(folder / "offline", trajectories)
    (folder / f"said-{rank}.json").write_text(json.dumps(said))
    return found
