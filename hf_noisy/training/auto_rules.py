"""The decision table of `method="auto"`: the first rule that fits is used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_noisy.detection.agreement import INFORMED
from hf_noisy.detection.checked_choice import CORRECTED, GIVEN, UNCHECKED, LabelChoice
from hf_noisy.methods import make_method
from hf_noisy.training.auto_measure import Measured

_ANY = (-1.0, 1.0)
_PRIORS = {"uniform": "equal", "given": "those of the given labels", "between": "between equal and those given"}


@dataclass(frozen=True)
class Rule:
    """A method, and when it is chosen."""

    method: str
    idea: str  # what it trains with
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unmeasured: bool = False  # whether the rule is only for noise that could not be measured
    beyond_chance: tuple[float, float] = _ANY  # how much the features say about the labels, from and to (exclusive)
    modality: tuple[str, ...] = ()  # all if empty

    def fits(self, measured: Measured) -> bool:
        """Whether the rule matches the noise, and its method can work with the model and the rows."""
        if self.modality and measured.modality not in self.modality:
            return False
        if (noise := measured.noise) is None:
            if self.beyond_chance != _ANY:
                return False
        elif self.unmeasured or not _within(noise.beyond_chance, self.beyond_chance):
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


# From benchmarks/results. With features of a pretrained encoder: cells_development.jsonl.
# Images from scratch: cells_robust-digits.jsonl and cells_robust-cifar10.jsonl, where NCT gains under every noise and
# loses almost nothing without.
RULES: tuple[Rule, ...] = (
    Rule("soft_correction", "soft labels that the features support", beyond_chance=(INFORMED, 1.0)),
    Rule("nct", "two networks that learn from each other", unmeasured=True, modality=("image",)),
    Rule("gjs", "a consistency loss on two views of each row"),
    Rule("elr", "a loss that regularises towards early predictions"),
    Rule("dal", "a loss that keeps no state per row"),
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
    noise = measured.noise
    # Where features say nothing, neither does the comparison of labels: the checked rows are only trained on.
    if noise is not None and noise.labels is not None and noise.beyond_chance >= INFORMED:
        return _by_checked_rows(noise.labels)
    rule = next(rule for rule in RULES if rule.fits(measured))
    return Choice(rule.method, dict(rule.arguments), f"{_described(measured)}, so it trains with {rule.idea}")


def _by_checked_rows(labels: LabelChoice) -> Choice:
    """Training on the labels that are right most often on the checked rows."""
    method, arguments = "soft_correction", {}
    if labels.best == GIVEN:
        method = "cross_entropy"
    elif labels.best != CORRECTED:
        prior = next(prior for prior, name in UNCHECKED.items() if name == labels.best)
        arguments = {"class_prior": prior, "use_checked": False}
    ranked = sorted(labels.accuracy.items(), key=lambda item: -item[1])
    compared = ", ".join(f"{name} on {share:.0%}" for name, share in ranked)
    why = (
        f"of {labels.checked:,} checked rows, each without its own checked label, these are right: {compared}; "
        f"{labels.best} is chosen, and at least as good as the next with a probability of {labels.sure:.0%}"
    )
    return Choice(method, arguments, why)


def _described(measured: Measured) -> str:
    if measured.noise is None:
        return f"the noise was not measured ({measured.reason})"
    noise = measured.noise
    prior, weight = max(noise.class_prior.items(), key=lambda item: item[1])
    return (
        f"frozen features predict {noise.agreement:.0%} of the given labels of {noise.sample:,} of {measured.rows:,} "
        f"rows ({measured.modality}) without having seen them; about {noise.rate.rate:.0%} of the labels are wrong at "
        f"random, and up to {noise.rate.high:.0%} may be wrong in all; the class frequencies are most likely "
        f"{_PRIORS[prior]} ({weight:.0%})"
    )
