"""Methods by name, object or loss."""

from collections.abc import Callable

from hf_noisy.losses.base import Loss
from hf_noisy.losses.cross_entropy import CrossEntropy
from hf_noisy.methods.base import Batch, LossMethod, Method, Step
from hf_noisy.methods.coregularization import CoRegularization

METHODS: dict[str, Callable[[], Method | Loss]] = {
    "coregularization": CoRegularization,
    "cross_entropy": CrossEntropy,
}


def as_method(method: str | Method | Loss) -> Method:
    """The method named, given, or made of a loss.

    Args:
        method: A name of `METHODS`, a [`Method`], or a [`Loss`].

    Raises:
        ValueError: If the name is not known.
        TypeError: If it is none of these.

    Example:
        >>> type(as_method("cross_entropy")).__name__
        'LossMethod'
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method {method!r} is not known; choose one of {', '.join(sorted(METHODS))}")
        method = METHODS[method]()
    if isinstance(method, Loss):
        return LossMethod(method)
    if not isinstance(method, Method):
        raise TypeError(f"method must be a name, a Method or a Loss, got {type(method).__name__}")
    return method


__all__ = ["METHODS", "Batch", "CoRegularization", "LossMethod", "Method", "Step", "as_method"]
