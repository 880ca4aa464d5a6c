"""What `Trainer` does around training: searches, callbacks, limits of checkpoints, loggers."""

from typing import Any

import pytest
from transformers import Trainer, TrainerCallback

from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import bert, distance, make_args, make_model, make_rows, make_trainer, run

optuna = pytest.importorskip("optuna")


@pytest.mark.parametrize("method", ["elr", "nct"])
def test_search_of_hyperparameters(method, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kept: dict[float, Any] = {}

    class Keep(TrainerCallback):
        def on_train_end(self, args, state, control, model=None, **kwargs):
            kept[args.learning_rate] = {name: value.clone() for name, value in model.state_dict().items()}

    rates = [0.05, 0.2, 0.1]
    settings: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    trainer = NoisyTrainer(
        args=make_args(tmp_path / "search", **settings),
        model_init=lambda: make_model("plain"),
        train_dataset=make_rows(),
        eval_dataset=make_rows("plain", 9, seed=3),
        method=method,
        callbacks=[Keep()],
    )
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", rates)},
        n_trials=3,
        direction="minimize",
        backend="optuna",
        sampler=optuna.samplers.GridSampler({"learning_rate": rates}),
    )
    assert best.hyperparameters["learning_rate"] in rates
    assert set(kept) == set(rates)
    for rate in rates[:2]:
        alone = NoisyTrainer(
            args=make_args(tmp_path / "alone", learning_rate=rate),
            model_init=lambda: make_model("plain"),
            train_dataset=make_rows(),
            method=method,
        )
        alone.train()
        assert distance(alone, kept[rate]) == 0.0
    assert (tmp_path / "search" / "run-2" / "checkpoint-6").is_dir()


def test_search_may_prune_a_trial(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    class Never(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            return trial.number == 0

    trainer = NoisyTrainer(
        args=make_args(tmp_path, eval_strategy="epoch"),
        model_init=lambda: make_model("plain"),
        train_dataset=make_rows(),
        eval_dataset=make_rows("plain", 9, seed=3),
        method="nct",
    )
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1)},
        n_trials=2,
        backend="optuna",
        pruner=Never(),
    )
    assert best.run_id == "1"


def test_callbacks_of_the_user_are_the_only_ones_to_be_seen(tmp_path):
    ours, theirs = make_trainer(tmp_path), Trainer(bert(), make_args(tmp_path), train_dataset=make_rows())
    assert [type(one) for one in ours.callback_handler.callbacks] == [
        type(one) for one in theirs.callback_handler.callbacks
    ]
    ours.pop_callback(ours.callback_handler.callbacks[0])
    ours.train()


class Logger(TrainerCallback):
    """What a tracker sees."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen.append(dict(logs))


@pytest.mark.parametrize("method", ["cross_entropy", "nct"])
def test_limit_of_checkpoints_and_loggers(method, tmp_path):
    settings: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "report_to": "none",
    }
    logger = Logger()
    more = {"eval_dataset": make_rows("plain", 9, seed=3), "callbacks": [logger]}
    trainer = run(tmp_path, method, "branches" if method == "nct" else "plain", trainer=more, **settings)
    left = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert len(left) <= 2
    assert trainer.state.best_model_checkpoint.rsplit("/", 1)[-1] in left
    if method == "nct":
        assert any("mimicry" in logs and "loss" in logs for logs in logger.seen)
