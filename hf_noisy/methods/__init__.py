"""The methods by name, and how to make one."""

import reprlib
from collections.abc import Callable
from difflib import get_close_matches
from inspect import signature
from typing import Any

from hf_noisy.losses import LOSSES, Loss
from hf_noisy.methods.annotator_layers import AnnotatorLayers
from hf_noisy.methods.cdr import CDR
from hf_noisy.methods.co_teaching import CoTeaching
from hf_noisy.methods.co_teaching_plus import CoTeachingPlus
from hf_noisy.methods.coregularization import CoRegularization
from hf_noisy.methods.divide_mix import DivideMix
from hf_noisy.methods.dygen_method import DyGenMethod
from hf_noisy.methods.elr import ELR
from hf_noisy.methods.elr_plus import ELRPlus
from hf_noisy.methods.gjs import GJS
from hf_noisy.methods.jocor import JoCoR
from hf_noisy.methods.loss_correction import BackwardCorrection, ForwardCorrection
from hf_noisy.methods.method import Batch, LossMethod, Method, Step
from hf_noisy.methods.mixup import Mixup
from hf_noisy.methods.model_loss import ModelLoss
from hf_noisy.methods.nct import NCT
from hf_noisy.methods.nlnl import NLNL
from hf_noisy.methods.nrd import NRD
from hf_noisy.methods.pencil import PENCIL
from hf_noisy.methods.sidyp import SiDyP
from hf_noisy.methods.soft_correction import SoftCorrection
from hf_noisy.methods.t_revision import TRevision
from hf_noisy.methods.volume_minimization import VolumeMinimization

_OWN: dict[str, type[Method]] = {
    "backward_correction": BackwardCorrection,
    "cdr": CDR,
    "co_teaching": CoTeaching,
    "co_teaching_plus": CoTeachingPlus,
    "coregularization": CoRegularization,
    "divide_mix": DivideMix,
    "dygen": DyGenMethod,
    "elr": ELR,
    "elr_plus": ELRPlus,
    "forward_correction": ForwardCorrection,
    "gjs": GJS,
    "jocor": JoCoR,
    "mixup": Mixup,
    "nct": NCT,
    "nlnl": NLNL,
    "nrd": NRD,
    "pencil": PENCIL,
    "sidyp": SiDyP,
    "soft_correction": SoftCorrection,
    "t_revision": TRevision,
    "volume_minimization": VolumeMinimization,
}
_ALL: dict[str, Callable[..., Method | Loss]] = {**LOSSES, **_OWN}  # a loss is a method too
METHODS = {name: _ALL[name] for name in sorted(_ALL)}
# The further ones take no part in comparisons of methods for noisy labels.
_KNOWN = {**METHODS, "annotator_layers": AnnotatorLayers, "model_loss": ModelLoss}


def list_methods() -> dict[str, str]:
    """Every method by name, with its paper.

    Returns:
        `{name: citation}`, sorted by name.

    Example:
        >>> list_methods()["dal"].startswith("Li, ")
        True
    """
    return {name: method.citation for name, method in METHODS.items()}  # type: ignore[attr-defined]


def _similar(name: str) -> str:
    """A question about what was probably meant."""
    close = get_close_matches(name, [*_KNOWN, "auto"], 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def make_method(name: str, **arguments: Any) -> Method:
    """A method by its name, with the defaults of its paper where no argument is given.

    Args:
        name: One of [`list_methods`], `"annotator_layers"` for [`AnnotatorLayers`], or `"model_loss"` for
            [`ModelLoss`].
        **arguments: Those of the method's class.

    Returns:
        The method; a loss is wrapped in a [`LossMethod`].

    Raises:
        ValueError: If the name or an argument is unknown, or an argument is out of range.

    Example:
        >>> make_method("gce", q=0.5).loss.q
        0.5
    """
    if name not in _KNOWN:
        raise ValueError(
            f"method {name!r} is not known{_similar(name)}; choose one of {', '.join(sorted(_KNOWN))}; "
            "NoisyTrainer and the command line also take auto"
        )
    accepted = signature(_KNOWN[name]).parameters
    if unknown := sorted(arguments.keys() - accepted.keys()):
        raise ValueError(
            f"method {name!r} has no argument {', '.join(unknown)}; it takes {', '.join(accepted) or 'none'}"
        )
    try:
        made = _KNOWN[name](**arguments)
    except TypeError as error:
        given = ", ".join(f"{key}={reprlib.repr(value)}" for key, value in arguments.items()) or "its defaults"
        raise ValueError(
            f"method {name!r} cannot be made with {given} ({error}); pass values of the right type"
        ) from error
    return as_method(made)


def as_method(method: str | Method | Loss) -> Method:
    """The method for a name, a method or a loss.

    Args:
        method: A name of `METHODS` or `"model_loss"`, a [`Method`], or a [`Loss`].

    Returns:
        The method itself, or a [`LossMethod`].

    Raises:
        ValueError: If the name is unknown.
        TypeError: If it is anything else.

    Example:
        >>> type(as_method("cross_entropy")).__name__
        'LossMethod'
    """
    if isinstance(method, str):
        return make_method(method)
    if isinstance(method, Loss):
        return LossMethod(method)
    if isinstance(method, type):
        raise TypeError(f"method must be an object, got the class {method.__name__}; write {method.__name__}()")
    if not isinstance(method, Method):
        raise TypeError(f"method must be a name, a Method or a Loss, got {type(method).__name__}")
    return method


__all__ = [
    "CDR",
    "ELR",
    "GJS",
    "METHODS",
    "NCT",
    "NLNL",
    "NRD",
    "PENCIL",
    "AnnotatorLayers",
    "BackwardCorrection",
    "Batch",
    "CoRegularization",
    "CoTeaching",
    "CoTeachingPlus",
    "DivideMix",
    "DyGenMethod",
    "ELRPlus",
    "ForwardCorrection",
    "JoCoR",
    "LossMethod",
    "Method",
    "Mixup",
    "ModelLoss",
    "SiDyP",
    "SoftCorrection",
    "Step",
    "TRevision",
    "VolumeMinimization",
    "as_method",
    "list_methods",
    "make_method",
]
