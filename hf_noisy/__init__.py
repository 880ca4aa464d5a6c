"""Learning with noisy labels on transformers' `Trainer`: text and vision, from the loss to the purified dataset."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_noisy.data import inject_noise, load_noisy_dataset, noise
    from hf_noisy.dygen.pipeline import DyGen
    from hf_noisy.dynamics.label_wave import LabelWave
    from hf_noisy.dynamics.recorder import DynamicsRecorder
    from hf_noisy.dynamics.store import Trajectories
    from hf_noisy.methods import CoRegularization, Method
    from hf_noisy.models import BranchedModel
    from hf_noisy.training.trainer import NoisyTrainer

__version__ = "0.1.0.dev0"

__all__ = [
    "BranchedModel",
    "CoRegularization",
    "DyGen",
    "DynamicsRecorder",
    "LabelWave",
    "Method",
    "NoisyTrainer",
    "Trajectories",
    "inject_noise",
    "load_noisy_dataset",
    "noise",
]

_HOMES = {
    "BranchedModel": "models",
    "CoRegularization": "methods",
    "DyGen": "dygen.pipeline",
    "DynamicsRecorder": "dynamics.recorder",
    "LabelWave": "dynamics.label_wave",
    "Method": "methods",
    "NoisyTrainer": "training.trainer",
    "Trajectories": "dynamics.store",
    "inject_noise": "data",
    "load_noisy_dataset": "data",
    "noise": "data",
}


def __getattr__(name: str) -> Any:
    # `import transformers` is lazy; an eager import here would cost seconds that a user of one name need not pay.
    if name not in _HOMES:
        raise AttributeError(f"module 'hf_noisy' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hf_noisy.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
