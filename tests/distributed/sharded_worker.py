"""Runs on two ranks under FSDP2 or DeepSpeed ZeRO-2, on the CPU, and their results as files.

Accelerate offers both on accelerators only: here it is told that the two gloo processes are some.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from hf_noisy.models import BranchedModel
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract import runs
from tests.distributed import worker

ZERO = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
# Without the method that ranks the gradients of all weights, which is refused.
_CASES = [f"{method}/{model}" for method, model in runs.SHORT_CASES if method != "cdr"]
CASES = [*_CASES, "co_teaching/branches-accumulated", "cross_entropy/peft"]
# What FSDP2 cannot do; all of it works under ZeRO-2.
WHOLE_WEIGHTS = (
    *("nrd/plain", "elr_plus/branches", "coregularization/lora"),
    *(case for case in _CASES if case.startswith("dygen/")),
)


def pretend() -> None:
    """Have accelerate take this process for one with an accelerator, which is the CPU."""
    prepare = PartialState._prepare_backend

    def prepare_backend(self: PartialState, *given: Any, **settings: Any) -> tuple[str, DistributedType]:
        prepare(self, *given, **settings)
        return "gloo", DistributedType.MULTI_GPU

    def set_device(self: PartialState) -> None:
        self.device = torch.device("cpu")

    PartialState._prepare_backend = prepare_backend
    PartialState.set_device = set_device
    make_args = runs.make_args
    runs.make_args = lambda folder, **changes: make_args(folder, **{"use_cpu": False, **changes})


def whole(trainer: NoisyTrainer) -> dict[str, Tensor]:
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = trainer.model.state_dict() if ZERO else get_model_state_dict(trainer.model, options=options)
    return {name: value.detach().clone() for name, value in state.items()}


def settings_of(**changes: Any) -> dict[str, Any]:
    # torch cannot load the state of an optimizer that has none, such as plain SGD.
    common = {"rows": runs.make_rows("plain", worker.ROWS), "per_device_train_batch_size": 4, "optim": "adamw_torch"}
    return {**common, "save_strategy": "steps", "save_steps": 2, **changes}


def refusal(act: Any) -> str:
    try:
        act()
    except ValueError as error:
        return str(error)
    return "nothing was refused"


def refusals(folder: Path) -> list[str]:
    """What each of the things that cannot work under FSDP2 is told."""
    rows = runs.make_rows("plain", 8)
    plain = runs.make_trainer(folder / "plain", rows=rows)
    told = []
    told.append(refusal(lambda: plain.evaluate(rows)))
    told.append(refusal(lambda: runs.run(folder / "nrd", "nrd", "plain", rows=rows)))
    told.append(refusal(lambda: runs.make_trainer(folder / "lora", "coregularization", "lora", rows=rows)))
    kept = os.environ.get("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
    os.environ["FSDP_STATE_DICT_TYPE"] = "SHARDED_STATE_DICT"  # a new trainer reads it anew
    told.append(refusal(lambda: runs.make_trainer(folder / "parts", rows=rows)))
    os.environ["FSDP_STATE_DICT_TYPE"] = kept
    return told


def resumed(folder: Path, method: str) -> dict[str, Tensor]:
    first = runs.run(folder, method, "branches", **settings_of())
    state = whole(first)
    again = runs.run(folder / "again", method, "branches", resume=str(folder / "checkpoint-4"), **settings_of())
    return {name: (value - state[name]).abs().max() for name, value in whole(again).items()}


def saved(folder: Path) -> dict[str, Tensor]:
    """Difference between what was trained and what `from_pretrained` loads of it, and the best checkpoint."""
    rows = runs.make_rows("plain", 20, seed=5)
    best = {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
    }
    trainer = runs.run(folder, "jocor", "branches", trainer={"eval_dataset": rows}, **settings_of(**best))
    trainer.save_model(str(folder / "saved"))
    state = whole(trainer)
    trainer.accelerator.wait_for_everyone()
    # Under FSDP only the first process may fill the weights that it loads.
    os.environ["ACCELERATE_USE_FSDP"] = "false"
    loaded = BranchedModel.from_pretrained(folder / "saved").state_dict()
    os.environ["ACCELERATE_USE_FSDP"] = str(not ZERO).lower()
    # Only the first process gets whole weights of FSDP.
    gaps = {name: (loaded[name] - value).abs().max() for name, value in state.items()}
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return gaps | {"eval_loss": torch.tensor(max(losses) - trainer.evaluate()["eval_loss"])}


def main(folder: Path) -> None:
    pretend()
    rank = int(os.environ["RANK"])

    def keep(name: str, tensors: dict[str, Tensor]) -> None:
        tensors = {key: value.contiguous() for key, value in tensors.items()}
        save_file(tensors, folder / f"{name.replace('/', '-')}-{rank}.safetensors")

    for name in CASES:
        if ZERO or name not in WHOLE_WEIGHTS:
            trainer = worker.train(name, folder / "run", 2)
            assert trainer.accelerator.distributed_type.value == ("DEEPSPEED" if ZERO else "FSDP")
            keep(name, {f"model.{key}": value for key, value in whole(trainer).items()} | worker.logged(trainer))
    worker.record(folder / "recorded", 2)
    for method in ("coregularization", "jocor"):
        keep(f"resumed-{method}", resumed(folder / method, method))
    keep("saved", saved(folder / "saved"))
    if not ZERO:
        (folder / f"refused-{rank}.txt").write_text("\n".join(refusals(folder / "refused")))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
