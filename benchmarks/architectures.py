"""Every text and image classifier of transformers, made tiny, under `NoisyTrainer`.

    python -m benchmarks.architectures
    python -m benchmarks.architectures --only bert vit

Takes about 4 minutes of one core. Writes benchmarks/results/architectures.json, the source of the table in
docs/architectures.md (`python -m benchmarks.reporting.documents`).
"""

import argparse
import copy
import gc
import json
import re
import tempfile
from collections.abc import Callable
from logging import getLogger
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments, default_data_collator
from transformers.utils import logging

from benchmarks.reporting import RESULTS
from benchmarks.tiny_architectures import UNFIT, Architecture, architectures
from hf_noisy.dygen.pipeline import DyGen
from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.models.branches import BranchedModel
from hf_noisy.training.trainer import NoisyTrainer

FILE = RESULTS / "architectures.json"
ROWS = 18
TOLERANCE = 1e-6  # of weights after training
ROUNDING = 1e-4  # of logits after adapters were merged, as a share of the largest
YES = "yes"


def train(kind: type[Trainer], model: nn.Module, rows: Any, folder: str, **given: Any) -> Any:
    """A trainer after two epochs of three steps."""
    args = TrainingArguments(
        folder,
        num_train_epochs=2,
        per_device_train_batch_size=6,
        optim="sgd",
        learning_rate=0.05,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_strategy="no",
    )
    trainer = kind(model, args, train_dataset=rows, **given)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


def same_as_trainer(model: PreTrainedModel, rows: Any, folder: str) -> None:
    """Cross-entropy gives the weights of a stock `Trainer`."""
    stock = train(Trainer, copy.deepcopy(model), rows, folder).model
    noisy = train(NoisyTrainer, copy.deepcopy(model), rows, folder).model
    if distance(stock, model) < TOLERANCE:
        raise AssertionError("Trainer changes no weight")
    if (difference := distance(stock, noisy)) > TOLERANCE:
        again = train(Trainer, copy.deepcopy(model), rows, folder).model
        if distance(stock, again) > TOLERANCE:
            raise AssertionError("two runs of Trainer with the same seed differ")
        raise AssertionError(f"weights differ from Trainer's by {difference:.1e}")


def two_networks(model: PreTrainedModel, rows: Any, folder: str) -> None:
    """A method of two networks trains; what it saves is loaded with the same predictions."""
    trainer = train_branches(copy.deepcopy(model), rows, folder)
    trainer.save_model(folder)
    compare("the saved branches", BranchedModel.from_pretrained(f"{folder}/branches"), trainer.model, rows)
    compare("the saved network", type(model).from_pretrained(folder), trainer._given, rows)


def recorded(model: PreTrainedModel, rows: Any, folder: str) -> None:
    """Trajectories are recorded, and DyGEN is fitted to them."""
    recorder = DynamicsRecorder({"train": rows}, dtype="float32")
    train(NoisyTrainer, copy.deepcopy(model), rows, folder, callbacks=[recorder])
    labels = np.array([row["labels"] for row in rows])
    dygen = DyGen.fit(recorder.trajectories, labels, vae_epochs=1, show_progress=False)
    if not np.isfinite(dygen.posterior("train")).all():
        raise AssertionError("the posterior is not finite")
    if recorder.trajectories.features("train") is None:
        raise AssertionError("the recorder stores no features of the encoder")


def adapters(model: PreTrainedModel, rows: Any, folder: str) -> None:
    """Branches that are LoRA adapters train, are loaded again, and merge into ordinary models."""
    trainer = train_branches(BranchedModel.from_model(model, 2, lora={}), rows, folder)
    trainer.model.save_pretrained(folder)
    compare("the saved adapters", BranchedModel.from_pretrained(folder), trainer.model, rows)
    compare("the merged adapter", trainer.model.unbranch(0), trainer.model.branches[0], rows, ROUNDING)


def train_branches(model: PreTrainedModel, rows: Any, folder: str) -> NoisyTrainer:
    before = copy.deepcopy(model)
    trainer = train(NoisyTrainer, model, rows, folder, method="nct")
    if isinstance(model, BranchedModel) and distance(before, trainer.model) < TOLERANCE:
        raise AssertionError("no weight changed")
    return trainer


CHECKS: dict[str, Callable[[PreTrainedModel, Any, str], None]] = {
    "cross_entropy": same_as_trainer,
    "nct": two_networks,
    "dygen": recorded,
    "lora": adapters,
}


def distance(one: nn.Module, other: nn.Module) -> float:
    """Largest absolute difference of any weight."""
    weights, others = one.state_dict(), other.state_dict()
    return max(float((weights[name].double() - others[name].double()).abs().max()) for name in weights)


@torch.no_grad()
def compare(what: str, one: nn.Module, other: nn.Module, rows: Any, tolerance: float = 1e-6) -> None:
    """`AssertionError` unless two models have the same logits."""
    expected = logits(other, rows)
    difference = (logits(one, rows) - expected).abs().max() / expected.abs().max()
    if not difference <= tolerance:
        raise AssertionError(f"logits of {what} differ by {difference:.1e} of the largest")


def logits(model: nn.Module, rows: Any) -> Tensor:
    batch = default_data_collator(rows)
    return model.eval()(**{name: value for name, value in batch.items() if name != "labels"}).logits


def outcome(check: Callable[[], Any]) -> str:
    """`YES`, or why not."""
    try:
        check()
    except Exception as error:
        return reason(error)
    return YES


def reason(error: Exception) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, ImportError) and (package := re.search(r"requires the (\w+) library", message)):
        return f"needs the package {package[1]}"
    if "model did not return a loss" in message:
        return "Trainer cannot train it, as it returns no loss for labels"
    return message


def checked(architecture: Architecture) -> dict[str, str]:
    """The outcome of every check of an architecture."""
    found = {"modality": architecture.modality, "model_type": architecture.model_type, "class": architecture.name}
    try:
        model = architecture.model()
    except Exception as error:
        return {**found, **dict.fromkeys(CHECKS, reason(error))}
    rows = architecture.rows(ROWS)
    gc.freeze()  # Trainer collects garbage when it begins, and would walk through all that was imported
    for name, check in CHECKS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = outcome(lambda check=check, folder=folder: check(model, rows, folder))
        if found[name] != YES:
            found[name] = UNFIT.get(architecture.name, found[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="model types to check again; the others keep their rows")
    chosen, found = parser.parse_args().only, {}
    if chosen is not None:
        found = {row["class"]: row for row in json.loads(FILE.read_text())["architectures"]}
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    getLogger("hf_noisy").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)  # more make tiny networks slower
    for architecture in architectures():
        if chosen is None or architecture.model_type in chosen:
            found[architecture.name] = checked(architecture)
            print(json.dumps(found[architecture.name]), flush=True)
    rows = [found[architecture.name] for architecture in architectures() if architecture.name in found]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    FILE.write_text(json.dumps({"versions": versions, "architectures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
