"""The methods by name, and how to make one."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from hf_noisy.losses import LOSSES, Loss
from hf_noisy.methods.co_teaching import CoTeaching
from hf_noisy.methods.coregularization import CoRegularization
from hf_noisy.methods.dygen_method import DyGenMethod
from hf_noisy.methods.elr import ELR
from hf_noisy.methods.gjs import GJS
from hf_noisy.methods.jocor import JoCoR
from hf_noisy.methods.method import Batch, LossMethod, Method, Step
from hf_noisy.methods.model_loss import ModelLoss
from hf_noisy.methods.nct import NCT
from hf_noisy.methods.nlnl import NLNL
from hf_noisy.methods.nrd import NRD
from hf_noisy.methods.soft_correction import SoftCorrection

_OWN: dict[str, type[Method]] = {
    "co_teaching": CoTeaching,
    "coregularization": CoRegularization,
    "dygen": DyGenMethod,
    "elr": ELR,
    "gjs": GJS,
    "jocor": JoCoR,
    "nct": NCT,
    "nlnl": NLNL,
    "nrd": NRD,
    "soft_correction": SoftCorrection,
}
_ALL: dict[str, Callable[..., Method | Loss]] = {**LOSSES, **_OWN}  # a loss is a method too
METHODS = {name: _ALL[name] for name in sorted(_ALL)}
_KNOWN = {**METHODS, "model_loss": ModelLoss}  # the latter takes no part in comparisons of methods for noisy labels


def list_methods() -> dict[str, str]:
    """Every method by name, with its paper.

    Returns:
        `{name: citation}`, sorted by name.

    Example:
        >>> list_methods()["dal"].startswith("Li, ")
        True
    """
    return {name: method.citation for name, method in METHODS.items()}  # type: ignore[attr-defined]


def make_method(name: str, **arguments: Any) -> Method:
    """A method by its name, with the defaults of its paper where no argument is given.

    Args:
        name: One of [`list_methods`], or `"model_loss"` for [`ModelLoss`].
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
        raise ValueError(f"method {name!r} is not known; choose one of {', '.join(sorted(_KNOWN))}")
    accepted = signature(_KNOWN[name]).parameters
    if unknown := sorted(arguments.keys() - accepted.keys()):
        raise ValueError(
            f"method {name!r} has no argument {', '.join(unknown)}; it takes {', '.join(accepted) or 'none'}"
        )
    return as_method(_KNOWN[name](**arguments))


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
    "ELR",
    "GJS",
    "METHODS",
    "NCT",
    "NLNL",
    "NRD",
    "Batch",
    "CoRegularization",
    "CoTeaching",
    "DyGenMethod",
    "JoCoR",
    "LossMethod",
    "Method",
    "ModelLoss",
    "SoftCorrection",
    "Step",
    "as_method",
    "list_methods",
    "make_method",
]
