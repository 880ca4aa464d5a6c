"""What the suites hold, as data: data sets, noises, budgets. Nothing here was tuned on a robust method.

The budgets of the small suites come from the training curve of cross-entropy alone (given labels, no test row): long
enough that it learns wrong labels by heart. They are the same for every method.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A data set with one kind of given labels.

    Attributes:
        dataset: Name of `load_noisy_dataset`.
        noise: What it is called in tables.
        config: Whose labels are given; `clean` for the true ones.
        noise_type: Noise put into them, as of `load_noisy_dataset`.
        noise_rate: Of that noise.
    """

    dataset: str
    noise: str
    config: str = "clean"
    noise_type: str | None = None
    noise_rate: float | None = None

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.noise}"

    @property
    def gated(self) -> bool:
        """Whether the gate looks at it: clean labels, or a tenth of them wrong."""
        return self.noise == "clean" or self.noise_rate == 0.1

    @property
    def real(self) -> bool:
        """Whether people or rules made the noise."""
        return self.config != "clean"


@dataclass(frozen=True)
class Budget:
    """What every method gets, on every data set of a suite.

    Attributes:
        regime: `features` (a head on frozen features), `text` or `image` (everything is trained).
        epochs: Passes over the training rows.
        learning_rate: Of AdamW, falling linearly to 0.
        batch_size: Rows a step.
        weight_decay: Of AdamW.
        train_rows: Rows drawn by seed from the training split, None for all; by data set where one differs.
        test_rows: Rows drawn once from the test split, None for all.
        held_out: Share of the training rows that early stopping looks at instead of training on them.
        checked: Share of the training rows whose true label methods with clean rows are told.
    """

    regime: str
    epochs: int
    learning_rate: float
    batch_size: int
    weight_decay: float = 0.0
    train_rows: dict[str, int | None] | int | None = None
    test_rows: int | None = None
    held_out: float = 0.1
    checked: float = 0.05

    def rows_of(self, dataset: str) -> int | None:
        if isinstance(self.train_rows, dict):
            return self.train_rows.get(dataset, self.train_rows["default"])
        return self.train_rows

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Suite:
    name: str
    budget: Budget
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...] = (0, 1, 2)


def _injected(dataset: str, **rates: tuple[float, ...]) -> list[Setting]:
    made = [Setting(dataset, "clean")]
    for kind, values in rates.items():
        made += [Setting(dataset, f"{kind} {100 * rate:.0f} %", "clean", kind, rate) for rate in values]
    return made


# The six noises of Table 1 of DyGEN, a light one, and none.
NEWS = _injected("20news", symmetric=(0.1, 0.2, 0.4), asymmetric=(0.2, 0.4), instance=(0.2, 0.4))
RULES = [
    setting
    for dataset in ("trec", "semeval", "docs")
    for setting in (Setting(dataset, "rules", "rules"), *_injected(dataset, symmetric=(0.1,)))
]
AGNEWS = [Setting("noisyag_news", "human", "mid"), *_injected("noisyag_news", symmetric=(0.1,))]
DIGITS = _injected("digits", symmetric=(0.1, 0.2, 0.4), asymmetric=(0.4,))
CIFAR = [
    *_injected("cifar10", symmetric=(0.1, 0.4), asymmetric=(0.4,)),
    Setting("cifar10", "human worse", "worse"),
    Setting("cifar10", "human aggregate", "aggre"),
]

# The small suites leave out what lies between: of each noise the heaviest, and none, and a light one.
NEWS_SMALL = _injected("20news", symmetric=(0.1, 0.4), asymmetric=(0.4,), instance=(0.4,))
DIGITS_SMALL = _injected("digits", symmetric=(0.1, 0.4), asymmetric=(0.4,))

SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "text-small",
            Budget("features", 20, 1e-3, 32, train_rows=1000, test_rows=1000),
            (*RULES, *AGNEWS, *NEWS_SMALL),
        ),
        Suite(
            "vision-small",
            Budget("features", 20, 1e-3, 64, train_rows=1500, test_rows=2000),
            (*DIGITS_SMALL, *CIFAR[:-1]),
        ),
        Suite("text-full", Budget("text", 6, 5e-5, 32, weight_decay=0.01), (*RULES, *AGNEWS, *NEWS)),
        Suite("vision-full", Budget("image", 100, 1e-3, 128, weight_decay=5e-4), (*DIGITS, *CIFAR)),
    )
}
