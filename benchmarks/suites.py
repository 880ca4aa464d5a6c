"""The suites as data: data sets, noise, budgets. Nothing in the leaderboard was tuned on a robust method.

The budgets of the small suites come from the training curve of cross-entropy alone (given labels, no test row): long
enough to memorize wrong labels. They are the same for every method.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Setting:
    """A data set with one kind of given labels."""

    dataset: str  # of `load_noisy_dataset`
    noise: str  # its name in tables
    config: str = "clean"  # whose labels are given; `clean` for the true ones
    noise_type: str | None = None  # injected noise, as of `load_noisy_dataset`
    noise_rate: float | None = None
    methods: tuple[str, ...] = ()  # methods to run; empty for all of the suite

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.noise}".strip()

    @property
    def gated(self) -> bool:
        """Whether it counts for the gate: clean labels, or 10 % noise."""
        return self.noise == "clean" or self.noise_rate == 0.1

    @property
    def real(self) -> bool:
        """Whether the noise comes from annotators or rules."""
        return self.config != "clean"


@dataclass(frozen=True)
class Budget:
    """Training budget, the same for every method of a suite."""

    regime: str  # `features`: a head on frozen ones; `text`, `image`: everything is trained; `command`: by hf-noisy
    epochs: int
    learning_rate: float | None = None  # of AdamW, falling linearly to 0
    batch_size: int | None = None
    weight_decay: float = 0.0
    train_rows: dict[str, int | None] | int | None = None  # drawn by seed, None for all; by data set if they differ
    test_rows: int | None = None  # None for all
    held_out: float = 0.1  # share of the training rows that early stopping holds out
    checked: float = 0.05  # share of the training rows whose true labels go to methods that use clean rows
    max_length: int | None = None  # tokens of a text
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # others, by data set; `all` for every one
    encoder: str | None = None  # of frozen features of images, instead of whitened patches
    test_each_epoch: bool = True  # False: only where a model is chosen, which saves time

    def rows_of(self, dataset: str) -> int | None:
        if isinstance(self.train_rows, dict):
            return self.train_rows.get(dataset, self.train_rows["default"])
        return self.train_rows

    def options_of(self, dataset: str) -> dict[str, Any]:
        return self.options.get("all", {}) | self.options.get(dataset, {})

    def as_dict(self) -> dict[str, Any]:
        """Everything that comparable cells share, without unused fields."""
        hidden = {"max_length": None, "options": {}, "encoder": None, "test_each_epoch": True}
        return {name: value for name, value in asdict(self).items() if name not in hidden or value != hidden[name]}


@dataclass(frozen=True)
class Suite:
    """Cells with one budget and one runner."""

    name: str
    budget: Budget
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...] = (0, 1, 2)  # of rows, noise and network
    module: str = "competitors"  # of this package: its `run(cell, context)` trains a cell by one of its `METHODS`


@dataclass(frozen=True)
class Cell:
    setting: Setting
    seed: int
    method: str

    @property
    def key(self) -> str:
        return f"{self.setting.name}/{self.seed}/{self.method}"

    @property
    def file(self) -> str:
        return "".join(letter if letter.isalnum() or letter in "_/" else "-" for letter in self.key) + ".json"


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

# The small suites have no, light and the heaviest noise of each kind.
NEWS_SMALL = _injected("20news", symmetric=(0.1, 0.4), asymmetric=(0.4,), instance=(0.4,))
DIGITS_SMALL = _injected("digits", symmetric=(0.1, 0.4), asymmetric=(0.4,))

REAL_TEXTS = (
    Setting("trec", "rules", "rules"),
    Setting("semeval", "rules", "rules"),
    Setting("docs", "rules", "rules"),
    Setting("noisyag_news", "human", "mid"),
    Setting("sms", "rules", "rules"),
    Setting("yelp_rules", "rules", "rules"),
    Setting("chemprot", "rules", "rules"),
    Setting("yoruba_newsclass", "distant", "distant"),
    Setting("semeval_llm", "language model", "llm"),
    Setting("mr_chatgpt", "language model", "llm"),
)
SAME_TEXTS = {"semeval_llm": "semeval"}  # data sets with the texts of another one, which are held out together
MORE_TEXTS = [
    setting
    for real in REAL_TEXTS
    if real.dataset not in {known.dataset for known in (*RULES, *AGNEWS)}
    for setting in (real, *(_injected(real.dataset, symmetric=(0.1,)) if real.dataset not in SAME_TEXTS else ()))
]  # of the small suite

LEADERBOARDS = (
    Suite(
        "text-small",
        Budget("features", 20, 1e-3, 32, train_rows=1000, test_rows=1000),
        (*RULES, *AGNEWS, *NEWS_SMALL, *MORE_TEXTS),
    ),
    Suite(
        "vision-small", Budget("features", 20, 1e-3, 64, train_rows=1500, test_rows=2000), (*DIGITS_SMALL, *CIFAR[:-1])
    ),
    Suite(
        "vision-pretrained-small",
        Budget("features", 20, 1e-3, 64, train_rows=1500, test_rows=2000, encoder="efficientnet-lite0"),
        tuple(CIFAR),
    ),
    Suite("text-full", Budget("text", 6, 5e-5, 32, weight_decay=0.01), (*RULES, *AGNEWS, *NEWS)),
    Suite("vision-full", Budget("image", 100, 1e-3, 128, weight_decay=5e-4), (*DIGITS, *CIFAR)),
)

# Constants and rules are chosen on these sets, for each without itself (`benchmarks.leave_one_out`): every set with
# its real noise, clean, and with 10 % symmetric noise, and some with heavier injected noise.
DEVELOPMENT_TEXTS = (
    *(
        setting
        for real in REAL_TEXTS
        for rates in [(0.1, 0.6, 0.7) if real.dataset == "trec" else (0.1,)]
        for setting in (real, *(_injected(real.dataset, symmetric=rates) if real.dataset not in SAME_TEXTS else ()))
    ),
    *_injected("20news", symmetric=(0.1, 0.4, 0.6, 0.7), asymmetric=(0.4,), instance=(0.4,)),
)
DEVELOPED = (
    *("cross_entropy", "early_stopping", "confident_learning", "jocor", "elr", "two_networks"),
    *("class_mean", "linear_head", "mean_and_head", "checked_only", "dygen", "auto"),
    *("auto_checked_50", "auto_checked_100"),
)
DEVELOPMENT = (
    Suite("development", LEADERBOARDS[0].budget, tuple(replace(s, methods=DEVELOPED) for s in DEVELOPMENT_TEXTS)),
    Suite(
        "development-images",
        LEADERBOARDS[1].budget,
        tuple(replace(s, methods=DEVELOPED) for s in (*DIGITS_SMALL, *CIFAR)),
    ),
)

# What users do: the whole encoder is fine-tuned. The methods that they would choose from, and four that train nothing.
TUNED = (
    *("cross_entropy", "early_stopping", "gjs", "elr", "co_teaching", "jocor", "dygen", "auto", "confident_learning"),
    *("two_networks", "class_mean", "linear_head", "mean_and_head", "checked_only", "auto_checked_100", "divide_mix"),
    "jocor_half",  # as its page says for a few epochs
)
TUNED_SETS = ("trec", "semeval", "sms", "chemprot", "noisyag_news", "yelp_rules")  # the shortest texts first
_TUNED_OPTIONS = {"all": {"bf16": True, "train_sampling_strategy": "group_by_length"}}
TUNED_SUITE = Suite(
    "text-tuned-small",
    Budget(
        *("text", 4, 2e-4, 32),
        train_rows=1000,
        test_rows=500,
        max_length=64,
        options=_TUNED_OPTIONS,
        test_each_epoch=False,
    ),
    tuple(
        replace(setting, methods=TUNED)
        for setting in (
            *(setting for name in TUNED_SETS for setting in REAL_TEXTS if setting.dataset == name),
            *_injected("20news", asymmetric=(0.4,))[1:],
            *(Setting(dataset, "clean") for dataset in (*TUNED_SETS, "20news")),
        )
    ),
    module="systems",
)

# The same of images: the methods of the five papers, DivideMix and "auto", and the baselines. The second line trains
# nothing, on features of images of 160 pixels; all others train on 96 pixels.
TUNED_IMAGES = (
    *("cross_entropy", "early_stopping", "auto", "dal", "nrd", "nct", "divide_mix", "dygen"),
    *("class_mean", "linear_head", "mean_and_head", "checked_only"),
    *("confident_learning", "two_networks", "auto_checked_100"),
)
TUNED_IMAGE_SUITE = Suite(
    "vision-tuned-small",
    Budget(
        *("image", 6, 1e-3, 32), train_rows=1000, test_rows=1000, encoder="efficientnet-lite0", test_each_epoch=False
    ),
    tuple(replace(setting, methods=TUNED_IMAGES) for setting in reversed(CIFAR) if setting.noise_rate != 0.1),
    module="systems",
)

# What each part of DyGEN adds, also under large noise; SWEPT also varies branches and learning rate.
ABLATED = ("1 network", "2 branches", "2 branches, published prior")
ABLATIONS = (
    *_injected("20news", symmetric=(0.4,), asymmetric=(0.4,), instance=(0.4,))[1:],
    *(Setting(dataset, "rules", "rules") for dataset in ("trec", "semeval", "docs")),
    Setting("noisyag_news", "human", "mid"),
    *_injected("20news", symmetric=(0.5, 0.6, 0.7))[1:],
)
SWEPT = ("20news symmetric 40 %", "trec rules")

# Every method as `hf-noisy train` runs it on real images, all with the same rows, epochs, learning rate and network.
IMAGES = {
    "lr_scheduler_type": "cosine",
    "momentum": 0.9,
    "nesterov": True,
    "augmentation": "none",
    "second_view": "auto",
    "per_device_eval_batch_size": 500,
    "max_watched_samples": 0,
    "bf16": True,
}
DIGITS_COMMAND = _injected("digits", symmetric=(0.2, 0.4, 0.6))
CIFAR_COMMAND = [
    *_injected("cifar10", symmetric=(0.4,), asymmetric=(0.4,)),
    Setting("cifar10", "human (worse)", "worse", "worse"),
]
# DyGEN as `hf-noisy dygen` runs it. On TREC, whose labels come from rules, the branches need more epochs than
# elsewhere, and cross-entropy gets them too.
DYGEN = [
    *(Setting(dataset, "") for dataset in ("trec", "semeval", "noisyag_news")),
    *_injected("20news", asymmetric=(0.4,), symmetric=(0.4,))[1:],
]
DYGEN_OPTIONS = {"all": {"bf16": True}, "trec": {"num_train_epochs": 8, "learning_rate": 1e-4}}

# DMLP, with the true labels of a few rows.
PURIFIED = [
    setting
    for dataset in ("20news", "trec", "digits")
    for setting in _injected(dataset, symmetric=(0.2, 0.5, 0.8), asymmetric=(0.4,))[1:]
]
PURIFIED += [Setting("trec", "rules", "rules"), Setting("noisyag_news", "human", "mid")]

# The same on features of a pretrained encoder, and an audit of them; the pool of the leaderboard has 3,000 images.
ENCODED_PURIFIED = [*_injected("cifar10", symmetric=(0.2, 0.5, 0.8), asymmetric=(0.4,))[1:], *CIFAR[-2:]]
ENCODER = LEADERBOARDS[2].budget.encoder

# The systems of the papers that are not on the leaderboards, with its budget.
SYSTEMS = (
    *("cross_entropy", "co_teaching", "elr", "bi_tempered", "sr", "nlnl", "nlnl_one"),
    *("forward_correction", "forward_dual_t", "forward_anchor_free"),
    *("backward_correction", "backward_as_estimated", "backward_true_matrix", "t_revision", "volume_minimization"),
    *("pencil", "cdr", "co_teaching_plus", "mixup", "elr_plus", "sidyp", "divide_mix"),
)
SYSTEM_SETTINGS = [
    replace(setting, methods=SYSTEMS if setting.noise_rate else (*SYSTEMS, "early_stopping"))
    for place in (1, 0)  # the noise first, then what they lose on clean labels
    for dataset in ("20news", "digits")
    for setting in [_injected(dataset, symmetric=(0.4,))[place]]
]

STUDIES = (
    Suite("systems", LEADERBOARDS[0].budget, tuple(SYSTEM_SETTINGS), module="systems"),
    Suite(
        "ablations",
        LEADERBOARDS[0].budget,
        tuple(
            replace(s, methods=() if s.name in SWEPT else ABLATED[:2] if (s.noise_rate or 0) >= 0.5 else ABLATED)
            for s in ABLATIONS
        ),
        module="ablations",
    ),
    Suite(
        "robust-digits",
        Budget("command", 20, 0.1, 64, 5e-4, options={"all": IMAGES | {"image_size": 16}}),
        tuple(DIGITS_COMMAND),
        module="robust",
    ),
    Suite(
        "robust-cifar10",
        Budget("command", 25, 0.2, 256, 5e-4, train_rows=10000, test_rows=4000, options={"all": IMAGES}),
        tuple(CIFAR_COMMAND),
        module="robust",
    ),
    Suite(
        "dygen",
        Budget("command", 5, 2e-4, train_rows=1000, test_rows=400, max_length=40, options=DYGEN_OPTIONS),
        tuple(DYGEN),
        module="dygen",
    ),
    Suite(
        "text-views",
        Budget("text", 5, 2e-4, 32, train_rows=500, test_rows=300, max_length=40, options={"all": {"bf16": True}}),
        (Setting("20news", "symmetric 40 %", "clean", "symmetric", 0.4),),
        module="text_views",
    ),
    Suite(
        "purify",
        Budget("features", 100, train_rows={"trec": 4965, "default": 4000}, test_rows=1500, max_length=64),
        tuple(PURIFIED),
        module="purify",
    ),
    Suite(
        "purify-images",
        Budget("features", 100, train_rows=3000, test_rows=2000, encoder=ENCODER),
        tuple(ENCODED_PURIFIED),
        module="purify",
    ),
    Suite(
        "audit-images",
        Budget("features", 0, train_rows=2000, encoder=ENCODER),
        tuple(setting for setting in CIFAR if setting.noise != "clean"),
        module="image_audit",
    ),
)

SUITES = {suite.name: suite for suite in (*LEADERBOARDS, *DEVELOPMENT, TUNED_SUITE, TUNED_IMAGE_SUITE, *STUDIES)}
