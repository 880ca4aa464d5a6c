"""The decision table of `method="auto"`: the first rule that fits is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_noisy.methods import make_method
from hf_noisy.training.auto_measure import Measured

_ANY = (0.0, 1.0)
_FEW = 0.02  # noise rate below which the kind of noise is not reported


@dataclass(frozen=True)
class Rule:
    """A method, and when it is chosen."""

    method: str
    because: str  # continues a sentence that begins with the measurements
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unmeasured: bool = False  # whether the rule is only for noise that could not be measured
    rate: tuple[float, float] = _ANY  # estimated noise rate, from (inclusive) and to (exclusive)
    by_row: tuple[float, float] = _ANY  # the same for the share of rows whose noise depends on the row
    modality: tuple[str, ...] = ()  # all if empty

    def fits(self, measured: Measured) -> bool:
        """Whether the rule matches the noise, and its method can work with the model and the rows."""
        if self.modality and measured.modality not in self.modality:
            return False
        if (noise := measured.noise) is None:
            if (self.rate, self.by_row) != (_ANY, _ANY):
                return False
        elif self.unmeasured or not (_within(noise.rate.rate, self.rate) and _within(noise.by_row, self.by_row)):
            return False
        method = make_method(self.method, **self.arguments)
        return (
            (measured.branches or method.num_branches == 1)
            and (measured.views or method.second_view is None)
            and (measured.rows is not None or not method.needs_rows)
        )


def _within(share: float, limits: tuple[float, float]) -> bool:
    low, high = limits
    return low <= share < high or share == high == 1  # a share may be 1 itself


@dataclass(frozen=True)
class Choice:
    """The method that `method="auto"` chose."""

    method: str
    arguments: dict[str, Any]
    why: str  # one sentence


# From benchmarks/results. Images from scratch: cells_robust-digits.jsonl and cells_robust-cifar10.jsonl, where NCT
# gains under every noise and loses almost nothing without. All else: cells_text-small.jsonl and
# cells_vision-small.jsonl, where JoCoR gains most within these limits and loses outside, and GJS loses least to early
# stopping at low noise.
RULES: tuple[Rule, ...] = (
    Rule("nct", "so two networks that learn from each other", unmeasured=True, modality=("image",)),
    Rule("jocor", "so two networks that select rows with a small joint loss", rate=(0.15, 1.0), by_row=(0.0, 0.5)),
    Rule("gjs", "so a consistency loss on two views of each row"),
    Rule("elr", "so a loss that regularises towards early predictions"),
    Rule("dal", "so a loss that keeps no state per row"),
)


def choose(measured: Measured) -> Choice:
    """The method of the first rule that fits.

    Args:
        measured: From [`hf_noisy.training.auto_measure.measure`].

    Returns:
        A [`Choice`].

    Example:
        >>> choose(Measured(rows=None, classes=2, modality="text", branches=True, views=False)).method
        'dal'
    """
    rule = next(rule for rule in RULES if rule.fits(measured))
    return Choice(rule.method, dict(rule.arguments), f"{_described(measured)}, {rule.because}")


def _described(measured: Measured) -> str:
    if measured.noise is None:
        return f"the noise was not measured ({measured.reason})"
    rate, concentration, by_row, agreement, sample = measured.noise
    kind = "mostly into one other class" if concentration > 0.5 else "spread over the other classes"
    if by_row > 0.5:
        kind = "mostly where rows look ambiguous"
    if rate.rate < _FEW:
        kind = "too few to tell the kind"
    return (
        f"by frozen features about {rate.rate:.0%} of the labels look wrong ({rate.low:.0%} to {rate.high:.0%}; "
        f"{kind}); they predict {agreement:.0%} of the labels of {sample:,} of {measured.rows:,} rows "
        f"({measured.modality})"
    )
