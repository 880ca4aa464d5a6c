"""What the trainer does for methods that ask for more than a model and a batch."""

import copy

import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification

from hf_noisy.data.views import TokenDropout, check_view
from hf_noisy.losses import DAL
from hf_noisy.methods import NRD, Method, Step
from hf_noisy.models import BranchedModel
from hf_noisy.training.trainer import NoisyTrainer
from tests.contract.runs import distance, logged_losses, make_args, make_model, make_rows, make_trainer, run
from tests.unit.training.test_trainer import Bag, Spy


def test_branches_are_made_of_a_model_from_scratch(tmp_path):
    trainer = make_trainer(tmp_path, "nct", "plain", seed=5)
    first, second = trainer.model.branches
    assert all((a != b).any() for a, b in zip(first.parameters(), second.parameters(), strict=True) if a.std() > 0)
    expected = BranchedModel.from_model(make_model("plain"), seed=5, initialize="all")
    assert distance(trainer, expected) == 0.0


def test_branches_of_a_loaded_model_keep_its_weights(tmp_path):
    make_model("plain").save_pretrained(tmp_path / "saved")
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "saved")
    trainer = make_trainer(tmp_path, "nct", loaded)
    assert distance(trainer, BranchedModel.from_model(loaded, seed=trainer.args.seed)) == 0.0


def test_branches_are_made_of_what_model_init_makes(tmp_path):
    args = make_args(tmp_path, max_steps=1)
    rows = make_rows()
    trainer = NoisyTrainer(None, args, train_dataset=rows, model_init=lambda: make_model("plain"), method="nct")
    trainer.train()
    assert trainer.model.num_branches == 2


def test_branches_cannot_be_made_of_every_model(tmp_path):
    with pytest.raises(ValueError, match=r"method NCT needs a model with 2 branches, got Bag with 1; make one with"):
        make_trainer(tmp_path, "nct", Bag())
    model = make_model("plain")
    optimizers = (torch.optim.SGD(model.parameters(), lr=0.1), None)
    with pytest.raises(ValueError, match="optimizers has the weights of BertForSequenceClassification"):
        make_trainer(tmp_path, "nct", model, trainer={"optimizers": optimizers})


def test_method_that_knows_rows_refuses_a_stream(tmp_path):
    trainer = make_trainer(tmp_path, "elr", rows=make_rows().to_iterable_dataset(), max_steps=2)
    with pytest.raises(ValueError, match="train_dataset must have a length and access by position for method ELR"):
        trainer.train()


class SoftTargets(Method):
    """Trains on distributions that the initial model gives, and afterwards predicts with another network."""

    needs_rows = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("targets", None)
        self.calls: list[str] = []
        self.later: list[nn.Module] = []

    def prepare(self, trainer, *, resumes=False):
        self.calls.append(f"prepare, resumes={resumes}")
        rows = trainer.train_dataset
        self.targets = torch.zeros(len(rows), 3)
        if not resumes:
            ids = torch.tensor(rows["input_ids"][:])
            with torch.no_grad():
                self.targets = trainer.model.eval()(input_ids=ids).logits.mul(3).softmax(-1)

    def forward(self, model, batch):
        self.calls.append("forward")
        outputs = model(**batch.inputs)
        targets = self.targets[batch.index]
        return Step(nn.functional.cross_entropy(outputs.logits, targets, reduction="none"), outputs)

    def finish(self, trainer):
        self.calls.append("finish")
        self.later.append(make_model("plain").to(trainer.args.device).eval())

    def evaluated(self, model):
        return {"": self.later[-1]} if self.later else {}


def test_method_prepares_targets_and_predicts_with_what_it_fitted(tmp_path):
    method = SoftTargets()
    rows = make_rows("plain", 6, seed=8)
    settings = {"save_strategy": "epoch", "eval_strategy": "epoch", "trainer": {"eval_dataset": rows}}
    trainer = make_trainer(tmp_path, method, num_train_epochs=2, **settings)
    trainer.train()
    assert [call for call in method.calls if call != "forward"] == ["prepare, resumes=False", "finish"]
    assert method.calls[0].startswith("prepare")
    own = make_model("plain")(input_ids=torch.tensor(rows["input_ids"][:])).logits.detach()
    assert torch.allclose(torch.from_numpy(trainer.predict(rows).predictions), own, atol=1e-6)
    assert trainer.state.log_history[-2]["eval_loss"] != trainer.evaluate()["eval_loss"]

    resumed = SoftTargets()
    again = make_trainer(tmp_path, resumed, num_train_epochs=2)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert [call for call in resumed.calls if call != "forward"] == ["prepare, resumes=True", "finish"]
    assert torch.equal(resumed.targets, method.targets)
    assert distance(trainer, again) == 0.0


def soft_rows(count: int = 24):
    draw = torch.Generator().manual_seed(3)
    labels = torch.rand(count, 3, generator=draw).softmax(-1).double()
    return make_rows("plain", count).remove_columns("label").add_column("label", labels.tolist())


def test_soft_labels_are_trained_exactly(tmp_path):
    rows = soft_rows()
    whole = run(tmp_path, rows=rows)
    parts = run(tmp_path, rows=rows, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert distance(whole, parts) < 1e-6
    logits = make_model("plain")(
        **{name: torch.tensor(rows[name][:]) for name in ("input_ids", "attention_mask")}
    ).logits
    first = run(tmp_path, rows=rows, per_device_train_batch_size=24, max_steps=1)
    expected = nn.functional.cross_entropy(logits, torch.tensor(rows["label"][:]).float())
    assert logged_losses(first)[0] == pytest.approx(expected.item(), abs=1e-4)


def test_soft_labels_are_refused_where_hard_ones_are_needed(tmp_path):
    with pytest.raises(
        ValueError, match=r"labels must be one class per row for this method, got soft labels of shape"
    ):
        make_trainer(tmp_path, "elr", rows=soft_rows()).train()
    wrong = soft_rows().map(lambda row: {"label": [2 * value for value in row["label"]]})
    with pytest.raises(ValueError, match="soft labels must sum to 1 in each row"):
        make_trainer(tmp_path, rows=wrong).train()
    narrow = soft_rows().map(lambda row: {"label": [0.5, 0.5]})
    with pytest.raises(ValueError, match="soft labels must have a column for each of the 3 classes, got 2"):
        make_trainer(tmp_path, rows=narrow).train()


def test_further_networks_of_a_method_are_evaluated_beside_the_model(tmp_path):
    rows = make_rows("plain", 10, seed=4)
    trainer = run(tmp_path, NRD(decay=0.9, evaluate="student"))
    metrics = trainer.evaluate(rows)
    teacher = make_trainer(tmp_path, "cross_entropy", copy.deepcopy(trainer.method.teacher))
    assert metrics["eval_teacher_loss"] == pytest.approx(teacher.evaluate(rows)["eval_loss"], abs=1e-6)
    assert metrics["eval_teacher_loss"] != metrics["eval_loss"]
    trainer.method.evaluate = "teacher"
    swapped = trainer.evaluate(rows)
    assert (swapped["eval_loss"], swapped["eval_student_loss"]) == (metrics["eval_teacher_loss"], metrics["eval_loss"])
    assert trainer.predict(rows).metrics["test_loss"] == swapped["eval_loss"]


def test_second_view_is_made_for_training_rows_alone(tmp_path):
    spy = Spy()
    spy.second_view = TokenDropout(rate=0.5)
    rows = make_rows()
    trainer = run(tmp_path, spy, rows=rows, per_device_train_batch_size=4)
    for batch in spy.batches:
        assert batch.second_view.keys() == batch.inputs.keys()
        assert (batch.second_view["input_ids"] == batch.inputs["input_ids"]).all()
    views = [torch.cat([b.second_view["attention_mask"] for b in spy.batches if b.epoch == e]) for e in range(2)]
    index = [torch.cat([b.index for b in spy.batches if b.epoch == e]).argsort() for e in range(2)]
    assert (views[0][index[0]] != views[1][index[1]]).any()
    assert "eval_loss" in trainer.evaluate(rows)
    with pytest.raises(ValueError, match="no second view is known for rows with"):
        run(tmp_path, NRD(), rows=[{"inputs_embeds": torch.zeros(6, 8), "label": i % 3} for i in range(9)])


def test_schedule_of_a_loss_moves_on_a_stream_too(tmp_path):
    seen = []

    class Watched(DAL):
        def forward(self, logits, labels, progress=0.0):
            seen.append(progress)
            return super().forward(logits, labels, progress)

    run(tmp_path, Watched(), rows=make_rows("plain", 24).to_iterable_dataset(), max_steps=6)
    assert seen == pytest.approx([step / 6 for step in range(6)])
    seen.clear()
    run(tmp_path, Watched(), rows=make_rows("plain", 24))
    assert seen == [0.0] * 3 + [0.5] * 3


def test_best_model_comes_with_its_teacher(tmp_path):
    rows = make_rows("plain", 10, seed=4)
    settings = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    settings |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "learning_rate": 2.0}
    trainer = run(tmp_path, NRD(decay=0.5, evaluate="teacher"), trainer={"eval_dataset": rows}, **settings)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert min(losses) < losses[-1] - 1e-3
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(min(losses), abs=1e-6)


def test_views_get_the_columns_that_they_need(tmp_path):
    rows = make_rows("plain", 8)
    rows = rows.add_column("special_tokens_mask", [[1, 1, 1, 1, 1, 0]] * 8)
    spy = Spy()
    spy.second_view = TokenDropout(rate=0.5)
    run(tmp_path, spy, rows=rows)
    assert all((batch.second_view["attention_mask"] == 1).all() for batch in spy.batches)
    assert all("special_tokens_mask" not in batch.inputs for batch in spy.batches)


def test_what_is_no_view_is_refused():
    with pytest.raises(TypeError, match="teacher_view must be 'auto', None or a View such as"):
        check_view("teacher_view", "augmix")
