"""Runs on every rank: the runs that `test_two_processes` compares with one process, and their results as files."""

import builtins
import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors.torch import save_file

from hf_noisy.cli.arguments import ImageArguments, TextArguments
from hf_noisy.cli.train import run_training
from hf_noisy.dynamics.recorder import DynamicsRecorder
from hf_noisy.dynamics.run_files import MANIFEST
from hf_noisy.dynamics.store import FOLDER
from hf_noisy.models import inference
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract import faults
from tests.contract.runs import (
    CLASSES,
    LONG_CASES,
    SHORT_CASES,
    SLOW,
    TASK_CASES,
    file_contents,
    make_args,
    make_model,
    make_rows,
    run,
)
from tests.distributed import offline
from tests.unit.cli.test_trust import hostile_model

OF_TASKS = ["elr/tokens", "nct/tokens-branches", "elr/cells", "co_teaching/cells-branches"]
OF_VOTES = ["cross_entropy/votes", "annotator_layers/votes"]
ROWS = 24  # three batches of 8 rows an epoch: no row has to be repeated to fill the ranks


class NoRankFactor(NoisyTrainer):
    """Forgets that DDP averages gradients over ranks while the rows of all ranks are counted."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        return loss / self.accelerator.num_processes if self.model.training else loss


def train(name: str, folder: Path, ranks: int) -> NoisyTrainer:
    """One of the named runs, with 8 rows a step however many ranks there are."""
    settings: dict[str, Any] = {"rows": make_rows(kind_of(name), ROWS), "per_device_train_batch_size": 8 // ranks}
    if name.endswith("-accumulated"):
        settings |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4 // ranks}
    if name.startswith("no-rank-factor"):
        return run(folder, "cross_entropy", "plain", trainer_class=NoRankFactor, **settings)
    if name == "own-network":
        return run(folder, faults.OwnNetwork(CLASSES), "plain", **settings)
    method, model = name.removesuffix("-accumulated").split("/")
    if model == "votes":
        votes = np.random.default_rng(0).integers(-1, CLASSES, (ROWS, 4))
        return run(folder, method, "plain", trainer={"votes": votes}, **settings)
    return run(folder, method, model, **settings)


def cases(is_slow: bool) -> list[str]:
    """A run of every method; slow are `SLOW`, most losses, votes, and most tasks of many labels."""
    apart = [
        case for case in SHORT_CASES if case[0] in SLOW or (case not in LONG_CASES and case[0] != "cross_entropy")
    ]
    of_methods = ["/".join(case) for case in SHORT_CASES if (case in apart) == is_slow]
    of_tasks = ["/".join(case) for case in TASK_CASES]
    return [*of_methods, *OF_VOTES, *(one for one in of_tasks if one not in OF_TASKS)] if is_slow else of_methods


def kind_of(name: str) -> str:
    """The kind of rows of a named run: tokens, cells, or one label each."""
    model = name.partition("/")[2]
    return model if model.startswith(("tokens", "cells")) else "plain"


def names() -> list[str]:
    accumulated = ["co_teaching/branches-accumulated", "elr/tokens-accumulated"]
    return [*cases(is_slow=False), *OF_TASKS, *accumulated, "no-rank-factor", "own-network"]


def record(folder: Path, ranks: int) -> DynamicsRecorder:
    """Without learning, what is recorded is the same to the last bit, whoever records it."""
    datasets = {
        "train": make_rows("branches", 21),
        "odd": make_rows("branches", 7, seed=3),
        "one": make_rows("branches", 1),
    }
    recorder = DynamicsRecorder(datasets, batch_size=3)
    inference._GATHER_EVERY = 2  # several gathers per epoch, the last of fewer rounds
    settings = {"learning_rate": 0.0, "per_device_train_batch_size": 8 // ranks, "num_train_epochs": 2}
    run(folder, "coregularization", "branches", trainer={"callbacks": [recorder]}, **settings)
    return recorder


def check_recorded(folder: Path, expected: Path) -> None:
    """Refuse trajectories that are not, byte for byte, the expected ones; each manifest has a number of its own."""
    found, alone = (file_contents(path / FOLDER) for path in (folder, expected))
    # The manifest, and for each of three splits the features of the encoder and each epoch and branch.
    assert len(found) == 1 + 3 * (1 + 2 * 2)
    assert found.keys() == alone.keys()
    assert all(found[name] == alone[name] for name in found.keys() - {MANIFEST})
    first, second = (json.loads(contents[MANIFEST]) for contents in (found, alone))
    assert first["splits"] == second["splits"]


def resume(folder: Path) -> dict[str, torch.Tensor]:
    """Largest difference between an uninterrupted and a resumed run on the same ranks."""
    settings = {
        "rows": make_rows("plain", ROWS),
        "per_device_train_batch_size": 4,
        "save_strategy": "steps",
        "save_steps": 2,
    }
    whole = run(folder, "coregularization", "branches", **settings)
    state = {name: value.clone() for name, value in whole.model.state_dict().items()}
    again = run(folder / "again", "coregularization", "branches", resume=str(folder / "checkpoint-4"), **settings)
    return {name: (value - state[name]).abs().max() for name, value in again.model.state_dict().items()}


def automatic(folder: Path, ranks: int) -> dict[str, torch.Tensor]:
    """The model that `method="auto"` trains, and in letters what it says of its choice."""
    rows, draw = make_rows("plain", 96), np.random.default_rng(0)
    labels = np.array(rows["label"])
    wrong = np.where(draw.random(96) < 0.3, (labels + 1) % CLASSES, labels)
    features = np.eye(8, dtype=np.float32)[labels] + 0.3 * draw.normal(size=(96, 8)).astype(np.float32)
    rows = rows.remove_columns("label").add_column("label", wrong).add_column("features", features.tolist())
    settings = make_args(folder, max_steps=4, per_device_train_batch_size=8 // ranks)
    trainer = NoisyTrainer(make_model("plain"), settings, train_dataset=rows, method="auto")
    trainer.train()
    model = {f"model.{key}": value.clone() for key, value in trainer.model.state_dict().items()}
    return model | {"why": torch.tensor(list(trainer.choice.why.encode()))}


def one_line(folder: Path, ranks: int) -> dict[str, torch.Tensor]:
    """What DyGEN leaves of an ordinary model: the posterior of later rows, and the network that is saved."""
    model = make_model("plain")
    settings = {"rows": make_rows("plain", ROWS), "per_device_train_batch_size": 8 // ranks}
    trainer = run(folder, "dygen", model, **settings)
    trainer.save_model()
    network = {f"model.{key}": value.clone() for key, value in model.state_dict().items()}
    return network | {"posterior": torch.from_numpy(trainer.predict(make_rows("plain", 7, seed=6)).predictions).exp()}


def logged(trainer: NoisyTrainer, kind: str = "plain") -> dict[str, torch.Tensor]:
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    keys = [key for key in ("loss", "cross_entropy", "disagreement") if key in entries[0]]
    found = {f"log.{key}": torch.tensor([entry[key] for entry in entries]) for key in keys}
    metrics = trainer.evaluate(make_rows(kind, 20, seed=5))
    return found | {"log.eval_loss": torch.tensor(metrics["eval_loss"])}


def results(name: str, folder: Path, ranks: int) -> dict[str, torch.Tensor]:
    trainer = train(name, folder, ranks)
    model = {f"model.{key}": value.clone() for key, value in trainer.model.state_dict().items()}
    method = {f"method.{key}": value.clone() for key, value in trainer.method.state_dict().items()}
    return model | method | logged(trainer, kind_of(name))


def other_rows(folder: Path, rank: int) -> dict[str, torch.Tensor]:
    """Whether training and recording are refused if the second process has the same rows in another order."""
    rows = make_rows("plain", ROWS)
    rows = rows.select(range(ROWS)[:: -1 if rank else 1])
    refused = []
    for name, given in (("trained", rows), ("recorded", make_rows("plain", ROWS))):
        callbacks = [DynamicsRecorder({"train": rows})] if name == "recorded" else []
        try:
            run(folder / name, rows=given, trainer={"callbacks": callbacks})
        except ValueError as error:
            refused.append("differ between the processes, in " in str(error) and "labels" in str(error))
    return {"refused": torch.tensor(refused), "files": torch.tensor(len(list(folder.rglob("*.safetensors"))))}


def code_of_models(folder: Path, rank: int) -> dict[str, torch.Tensor]:
    """Whether each process refuses a model with code of its own: as the tokenizer, and after the data is loaded."""
    if rank == 0:
        hostile_model(folder / "model", folder / "ran")
    PartialState().wait_for_everyone()
    builtins.input = lambda *_: "y"
    kinds: dict[Any, dict[str, Any]] = {
        TextArguments: {"dataset": "docs", "model_name_or_path": str(folder / "model")},
        ImageArguments: {"dataset": "digits", "architecture": str(folder / "model"), "max_train_samples": 32},
    }
    refused = []
    for kind, options in kinds.items():
        try:
            run_training(kind(**options), make_args(folder / "out"))
        except ValueError as error:
            refused.append("comes with Python code of its own, which was not run" in str(error))
    return {"refused": torch.tensor(refused), "ran": torch.tensor((folder / "ran").exists())}


def main(folder: Path) -> None:
    state = PartialState(cpu=True)
    rank, ranks = state.process_index, state.num_processes
    recorder = record(folder / "recorded", ranks)
    if "offline" in sys.argv[2:]:
        save_file(offline.write(folder, rank, recorder.trajectories), folder / f"offline-{rank}.safetensors")
        torch.distributed.destroy_process_group()
        return
    for name in cases(is_slow=True) if "slow" in sys.argv[2:] else names():
        save_file(results(name, folder / "run", ranks), folder / f"{name.replace('/', '-')}-{rank}.safetensors")
    if "slow" in sys.argv[2:]:
        torch.distributed.destroy_process_group()
        return
    save_file({"epochs": torch.tensor(recorder.trajectories.epochs)}, folder / f"epochs-{rank}.safetensors")
    save_file(automatic(folder / "automatic", ranks), folder / f"automatic-{rank}.safetensors")
    save_file(one_line(folder / "one-line", ranks), folder / f"one-line-{rank}.safetensors")
    save_file(other_rows(folder / "other", rank), folder / f"other-{rank}.safetensors")
    save_file(code_of_models(folder / "code", rank), folder / f"code-{rank}.safetensors")
    save_file(resume(folder / "resumed"), folder / f"resumed-{rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    gc.freeze()  # as in conftest.py
    main(Path(sys.argv[1]))
