"""pytest plugin: transformers' own trainer tests, with `NoisyTrainer` for `Trainer` and toys that classify.

Their toys are regressions on one number. Here the same number has one of two classes, and the same two parameters are
those of a linear head, so that tests which do not compare values of the regression pass for `Trainer` too. Used by
`benchmarks.upstream_tests`.
"""

import importlib
import os
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, Trainer

from hf_noisy.training.trainer import NoisyTrainer

UTILS = "tests.trainer.trainer_test_utils"
TRAINER = "HF_NOISY_UPSTREAM_TRAINER"  # environment variable: "stock" or "noisy"


class _TwoClasses(nn.Module):
    """A linear head on one number; `a` and `b` are the slope and the offset of the second class."""

    head: nn.Linear
    config: Any

    def make_head(self, a: Any, b: Any) -> None:
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0], [float(a)]]))
            self.head.bias.copy_(torch.tensor([0.0, float(b)]))

    @property
    def a(self) -> Tensor:
        return self.head.weight[1, 0]

    @property
    def b(self) -> Tensor:
        return self.head.bias[1]

    def outputs(self, logits: Tensor, labels: Tensor | None, double: bool) -> tuple[Tensor, ...]:
        scores = (logits, logits) if double else (logits,)
        return scores if labels is None else (nn.functional.cross_entropy(logits, labels), *scores)


class RegressionModel(_TwoClasses):
    def __init__(self, a: Any = 0, b: Any = 0, double_output: bool = False) -> None:
        super().__init__()
        self.make_head(a, b)
        self.double_output, self.config = double_output, None

    def forward(self, input_x: Tensor, labels: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, ...]:
        return self.outputs(self.head(input_x[:, None]), labels, self.double_output)


class RegressionDictModel(_TwoClasses):
    def __init__(self, a: Any = 0, b: Any = 0) -> None:
        super().__init__()
        self.make_head(a, b)
        self.config = None

    def forward(self, input_x: Tensor, labels: Tensor | None = None, **kwargs: Any) -> dict[str, Tensor]:
        logits = self.head(input_x[:, None])
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return {"logits": logits, **loss}


class RegressionModelConfig(PreTrainedConfig):
    def __init__(
        self, a: Any = 0, b: Any = 0, double_output: bool = False, random_torch: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.a, self.b, self.double_output, self.random_torch, self.hidden_size = a, b, double_output, random_torch, 1


class RegressionPreTrainedModel(_TwoClasses, PreTrainedModel):  # type: ignore[misc]
    config_class = RegressionModelConfig
    base_model_prefix = "regression"
    main_input_name = "input_x"

    def __init__(self, config: Any) -> None:
        PreTrainedModel.__init__(self, config)
        self.make_head(config.a, config.b)
        self.double_output = config.double_output
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        return

    def forward(self, input_x: Tensor, labels: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, ...]:
        return self.outputs(self.head(input_x[:, None]), labels, self.double_output)


class RegressionRandomPreTrainedModel(RegressionPreTrainedModel):
    def forward(self, input_x: Tensor, labels: Tensor | None = None, **kwargs: Any) -> tuple[Tensor, ...]:
        logits = self.head(input_x[:, None])
        if self.config.random_torch:
            logits = logits + 0.05 * torch.randn(1)
        noise = torch.tensor([0.0, 0.05 * (np.random.rand() + random.random())])  # noqa: NPY002  (what is tested)
        return self.outputs(logits + noise.to(logits.dtype), labels, double=False)


class AlmostAccuracy:
    def __init__(self, thresh: float = 0.25) -> None:
        self.thresh = thresh

    def __call__(self, prediction: Any) -> dict[str, float]:
        predictions, labels = prediction
        scores = predictions[0] if isinstance(predictions, tuple) else predictions
        return {"accuracy": float((np.argmax(scores, -1) == np.asarray(labels)).mean())}


TOYS = (
    RegressionModel,
    RegressionDictModel,
    RegressionModelConfig,
    RegressionPreTrainedModel,
    RegressionRandomPreTrainedModel,
    AlmostAccuracy,
)


def with_classes(dataset: type) -> type:
    """The dataset of the sources, whose targets become the class above or below their middle."""

    class RegressionDataset(dataset):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.ys = [(y > np.median(y)).astype(np.int64) for y in self.ys]

    return RegressionDataset


def pytest_configure(config: Any) -> None:
    utils: Any = importlib.import_module(UTILS)
    for toy in TOYS:
        if hasattr(utils, toy.__name__):
            setattr(utils, toy.__name__, toy)
    utils.RegressionDataset = with_classes(utils.RegressionDataset)
    replace_trainer(utils)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for module in {item.module for item in items}:
        replace_trainer(module)


def replace_trainer(module: Any) -> None:
    """Let the name `Trainer` in a module, and the bases of its own trainers, be `NoisyTrainer`."""
    if os.environ.get(TRAINER) != "noisy":
        return
    for name, value in list(vars(module).items()):
        if value is Trainer:
            setattr(module, name, NoisyTrainer)
        elif isinstance(value, type) and Trainer in value.__bases__ and value is not NoisyTrainer:
            value.__bases__ = tuple(NoisyTrainer if base is Trainer else base for base in value.__bases__)
