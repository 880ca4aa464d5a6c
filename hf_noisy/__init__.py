"""Learning with noisy labels on transformers' `Trainer`: text and vision, from the loss to the corrected dataset."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_noisy.data import inject_noise, load_noisy_dataset, noise
    from hf_noisy.detection import estimate_noise_rate, find_wrong_labels
    from hf_noisy.detection.rows_to_check import rows_to_check
    from hf_noisy.dygen.pipeline import DyGen
    from hf_noisy.dynamics.label_wave import LabelWave
    from hf_noisy.dynamics.recorder import DynamicsRecorder
    from hf_noisy.dynamics.store import Trajectories
    from hf_noisy.losses import DAL, Loss, for_trainer
    from hf_noisy.methods import ELR, NCT, NRD, CoRegularization, Method
    from hf_noisy.models import BranchedModel
    from hf_noisy.models.embed import embed
    from hf_noisy.purification import DMLP, purify, restore_labels
    from hf_noisy.training.distill import distill
    from hf_noisy.training.trainer import NoisyTrainer

__version__ = "0.1.0.dev0"

__all__ = [
    "DAL",
    "DMLP",
    "ELR",
    "NCT",
    "NRD",
    "BranchedModel",
    "CoRegularization",
    "DyGen",
    "DynamicsRecorder",
    "LabelWave",
    "Loss",
    "Method",
    "NoisyTrainer",
    "Trajectories",
    "distill",
    "embed",
    "estimate_noise_rate",
    "find_wrong_labels",
    "for_trainer",
    "inject_noise",
    "load_noisy_dataset",
    "noise",
    "purify",
    "restore_labels",
    "rows_to_check",
]

_ROOMS = {
    "data": ["inject_noise", "load_noisy_dataset", "noise"],
    "detection": ["estimate_noise_rate", "find_wrong_labels"],
    "detection.rows_to_check": ["rows_to_check"],
    "dygen.pipeline": ["DyGen"],
    "dynamics.label_wave": ["LabelWave"],
    "dynamics.recorder": ["DynamicsRecorder"],
    "dynamics.store": ["Trajectories"],
    "losses": ["DAL", "Loss", "for_trainer"],
    "methods": ["CoRegularization", "ELR", "Method", "NCT", "NRD"],
    "models": ["BranchedModel"],
    "models.embed": ["embed"],
    "purification": ["DMLP", "purify", "restore_labels"],
    "training.distill": ["distill"],
    "training.trainer": ["NoisyTrainer"],
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    # `import transformers` is lazy; an eager import here would cost seconds that a user of one name need not pay.
    if name not in _HOMES:
        raise AttributeError(f"module 'hf_noisy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hf_noisy.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
