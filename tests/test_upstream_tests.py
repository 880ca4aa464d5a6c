"""The runner of transformers' own trainer tests, on a small folder in the place of its sources."""

from pathlib import Path

import pytest

from benchmarks.upstream_tests import FAILED, PASSED, REFUSED, compared, run

UTILS = """
import numpy as np
from transformers import Trainer, TrainingArguments

class RegressionDataset:
    def __init__(self, a=2, b=3, length=16, seed=42, label_names=None):
        self.x = np.random.default_rng(seed).normal(size=length).astype(np.float32)
        self.ys = [(a * self.x + b).astype(np.float32) for _ in label_names or ["labels"]]
    def __len__(self):
        return len(self.x)
    def __getitem__(self, i):
        return {"labels": self.ys[0][i], "input_x": self.x[i]}

class RegressionModelConfig: pass
class RegressionPreTrainedModel: pass

def trainer(folder, **given):
    model = RegressionPreTrainedModel(RegressionModelConfig(a=1.5, b=0.5, double_output=True))
    args = TrainingArguments(folder, max_steps=2, report_to="none", use_cpu=True, disable_tqdm=True)
    return Trainer(model, args, train_dataset=RegressionDataset(), eval_dataset=RegressionDataset(), **given)
"""
TESTS = """
from tests.trainer.trainer_test_utils import trainer

def test_trains_and_evaluates(tmp_path):
    made = trainer(str(tmp_path))
    before = made.model.a.item()
    made.train()
    assert made.model.a.item() != before
    assert "eval_loss" in made.evaluate()
    assert len(made.predict(made.eval_dataset).predictions) == 2

def test_is_stock(tmp_path):
    assert type(trainer(str(tmp_path))).__name__ == "Trainer"

def test_own_loss(tmp_path):
    trainer(str(tmp_path), compute_loss_func=lambda outputs, labels, **more: outputs[1].sum()).train()

def test_values_of_the_regression(tmp_path):
    made = trainer(str(tmp_path))
    assert made.predict(made.eval_dataset).predictions[0].shape == (16,)
"""


@pytest.mark.slow
def test_both_trainers_are_compared(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "trainer"
    folder.mkdir(parents=True)
    for parent in (tmp_path / "tests", folder):
        (parent / "__init__.py").write_text("")
    (folder / "trainer_test_utils.py").write_text(UTILS)
    (folder / "test_trainer_toy.py").write_text(TESTS)
    stock, noisy = (run(tmp_path, [folder / "test_trainer_toy.py"], name) for name in ("stock", "noisy"))
    outcomes = {name.split("::")[1]: (stock[name].outcome, noisy[name].outcome) for name in stock}
    assert outcomes == {
        "test_trains_and_evaluates": (PASSED, PASSED),
        "test_is_stock": (PASSED, FAILED),
        "test_own_loss": (PASSED, REFUSED),
        "test_values_of_the_regression": (FAILED, FAILED),
    }
    report = compared(stock, noisy)
    assert report.startswith(
        "4 tests; with toys that classify, Trainer passes 3\nof these, NoisyTrainer: passed 1, refused 1"
    )
    assert "compute_loss_func and method both define the loss" in report
