"""Models and their cards, pushed and loaded again. Run by `child.py`."""

import hashlib
import json
import logging
import os
from pathlib import Path

import pytest
import torch
import yaml
from datasets import Dataset, DatasetDict
from huggingface_hub import DatasetCard, HfApi, ModelCard
from server import LocalHub
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    TrainingArguments,
    pipeline,
)
from typer.testing import CliRunner

from hf_noisy.cli.app import app
from hf_noisy.cli.outputs import open_output
from hf_noisy.dygen.exact import DyGenForClassification, DyGenModelConfig
from hf_noisy.dygen.snapshots import changing
from hf_noisy.hub.model_card import model_card
from hf_noisy.hub.publish import push_dataset_to_hub, push_model_to_hub
from hf_noisy.hub.text import BEGIN
from hf_noisy.models.branches import BranchedModel
from hf_noisy.training.best_network import best_network
from hf_noisy.training.trainer import NoisyTrainer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]


def model(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    names = {0: "a|b", 1: "<b>"}
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=names,
        label2id={name: key for key, name in names.items()},
    )
    return BertForSequenceClassification(config).eval()


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    fast = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=fast, **special)


def results(path: str = "/home/anna/encoder", **more) -> dict:
    return {
        "dataset": "/home/anna/rows.csv",
        "num_train": 90,
        "num_classes": 2,
        "method": "nct",
        "method_args": {"temperature": 4},
        "citation": "Somebody (2020). A | B. <Journal>.",
        "test_accuracy_last": 0.75,
        "test_ece_last": 0.05,
        "test_labels": "true",
        "noise_type": "symmetric",
        "noise_rate_asked": 0.4,
        "noise_rate": 0.4125,
        "epochs": 2.0,
        "learning_rate": 1e-4,
        "seed": 0,
        "versions": {"torch": "2.8"},
        "arguments": {"model_name_or_path": path},
        **more,
    }


def card(**more) -> ModelCard:
    return model_card(results(**more), model().config.to_dict(), name="my model")


def logits(any_model, text="good film") -> torch.Tensor:
    with torch.no_grad():
        return any_model.eval()(**tokenizer()(text, return_tensors="pt")).logits


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


class Messages(logging.Handler):
    """What was logged, and how many commits the repository had then."""

    def __init__(self, hub: LocalHub, kind: str, name: str) -> None:
        super().__init__()
        self.hub, self.key, self.seen = hub, (kind, name), []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), len(self.hub.repos[self.key].titles)))


def what_will_be_uploaded_is_logged_before(hub: LocalHub, tmp: Path) -> None:
    logger, seen = logging.getLogger("hf_noisy.hub.publish"), []
    rows = DatasetDict(train=Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}))
    described = DatasetCard("---\nlicense: mit\n---\nx")
    pushes = [
        ("models", lambda name, **options: push_model_to_hub(model(), name, card(), **options)),
        (
            "datasets",
            lambda name, **options: push_dataset_to_hub(rows, name, described, **options),
        ),
    ]
    for kind, push in pushes:
        for name, options in (("seen", {}), ("hidden", {"private": True}), ("hidden", {})):
            messages = Messages(hub, kind, f"tester/{name}")
            logger.addHandler(messages)
            push(name, **options)
            logger.removeHandler(messages)
            seen += messages.seen
    texts, commits = zip(*seen, strict=True)
    assert commits == (1, 1, 2, 1, 1, 3), commits
    shown = ["public", "private", "private"] * 2
    assert [text.split(" ")[3] for text in texts] == shown, texts
    assert texts[1].startswith("uploading to the private repository 'tester/hidden': README.md, config.json (")
    assert "model.safetensors (" in texts[1]
    assert texts[3].endswith("'tester/seen': README.md, and all columns (text, label) of train (2 rows)")


def a_model_is_loaded_as_it_was(hub: LocalHub, tmp: Path) -> None:
    url = push_model_to_hub(model(), "whole", card(), tokenizer(), private=True)
    assert str(url).startswith(f"{hub.url}/tester/whole/commit/")
    assert hub.repos["models", "tester/whole"].private
    assert len(hub.repos["models", "tester/whole"].titles) == 2, "model and card come with one commit"
    loaded = AutoModelForSequenceClassification.from_pretrained("tester/whole")
    assert torch.allclose(logits(loaded), logits(model()))
    predicted = pipeline("text-classification", model="tester/whole")("good film")[0]
    assert predicted["label"] == model().config.id2label[int(logits(model()).argmax())]


def the_code_in_the_card_runs(hub: LocalHub, tmp: Path) -> None:
    push_model_to_hub(model(), "code", card(), tokenizer())
    known: dict = {}
    exec(hub.files("models", "tester/code")["README.md"].decode().split("```python\n")[1].split("```")[0], known)
    assert known["classify"]("bad")[0]["score"] >= 0.5


def the_card_tells_what_was_done(hub: LocalHub, tmp: Path) -> None:
    push_model_to_hub(model(), "told", card())
    pushed = ModelCard(hub.files("models", "tester/told")["README.md"].decode())
    (figure,) = pushed.data.eval_results
    assert (figure.metric_value, figure.metric_name) == (0.75, "Accuracy against true labels")
    assert (pushed.data.model_name, figure.dataset_name) == ("my model", "rows.csv")
    assert pushed.data.base_model is None
    for line in (
        "| wrong training labels | 41.25 % |",
        "Method `nct` with `temperature` = 4.",
        "Somebody (2020). A &#124; B. &#60;Journal&#62;.",
        "| `test_ece_last` | 0.0500 |",
        "| `start` | encoder |",
        "Made with torch 2.8.",
    ):
        assert line in pushed.text, line


def figures_on_a_data_set_of_the_hub_are_beside_its_benchmark(hub: LocalHub, tmp: Path) -> None:
    push_model_to_hub(model(), "figures", card(dataset="owner/rows"))
    (entry,) = yaml.safe_load(hub.files("models", "tester/figures")[".eval_results/hf_noisy.yaml"])
    assert entry["dataset"] == {"id": "owner/rows", "task_id": "text-classification"}
    assert (entry["value"], entry["notes"]) == (75.0, "Accuracy against true labels")


def no_folder_of_this_machine_is_told(hub: LocalHub, tmp: Path) -> None:
    model().save_pretrained(tmp / "start")
    started = AutoModelForSequenceClassification.from_pretrained(tmp / "start")
    push_model_to_hub(started, "quiet", card(path=str(tmp / "start")), tokenizer())
    for name, content in hub.files("models", "tester/quiet").items():
        for path in (str(tmp), "/home/anna", os.path.expanduser("~"), "/tmp/"):
            assert path.encode() not in content, name


def of_a_folder_only_the_model_is_taken(hub: LocalHub, tmp: Path) -> None:
    model().save_pretrained(tmp)
    tokenizer().save_pretrained(tmp)
    (tmp / "checkpoint-1").mkdir()
    for name in ("results.json", "training_args.bin", "trainer_state.json", "README.md", "checkpoint-1/config.json"):
        (tmp / name).write_text("secret")
    push_model_to_hub(tmp, "folder", card())
    files = hub.files("models", "tester/folder")
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert b"secret" not in b"".join(files.values())
    assert torch.allclose(logits(AutoModelForSequenceClassification.from_pretrained("tester/folder")), logits(model()))


def branches_are_published(hub: LocalHub, tmp: Path) -> None:
    branched = BranchedModel.from_model(model(), num_branches=2).eval()
    push_model_to_hub(branched, "branched", model_card(results(), branched.config.to_dict(), name="two"), tokenizer())
    text = hub.files("models", "tester/branched")["README.md"].decode()
    assert "import hf_noisy.models.branches" in text
    loaded = AutoModelForSequenceClassification.from_pretrained("tester/branched")
    assert torch.allclose(logits(loaded), logits(branched))


def the_exact_posterior_is_published(hub: LocalHub, tmp: Path) -> None:
    changed = list(changing(model()))
    config = DyGenModelConfig(model().config, epochs=[1, 2], changed=changed, num_branches=1, dim=16)
    exact = DyGenForClassification(config).eval()
    exact.push_to_hub("tester/exact")
    loaded = AutoModelForSequenceClassification.from_pretrained("tester/exact")
    assert torch.allclose(logits(loaded), logits(exact))
    push_model_to_hub(exact, "tester/exact", model_card(results(), exact.config.to_dict(), name="exact"), tokenizer())
    assert "import hf_noisy.dygen.exact" in hub.files("models", "tester/exact")["README.md"].decode()


def the_best_branch_is_pushed(hub: LocalHub, tmp: Path) -> None:
    words = tokenizer()
    rows = Dataset.from_list([{**words("good film"), "label": 0}, {**words("bad film"), "label": 1}] * 4)
    args = TrainingArguments(str(tmp / "out"), num_train_epochs=1, report_to=[], save_strategy="no")
    trainer = NoisyTrainer(model(), args, train_dataset=rows, processing_class=words, method="coregularization")
    trainer.train()
    best_network(trainer).save_pretrained(tmp / "best", words)
    push_model_to_hub(tmp / "best", "tester/best", card())
    files = hub.files("models", "tester/best")
    record = json.loads(files["chosen_network.json"])
    assert not record["needs_hf_noisy"]
    chosen = trainer.model.unbranch(int(record["chosen"][-1]))
    assert torch.allclose(logits(AutoModelForSequenceClassification.from_pretrained("tester/best")), logits(chosen))
    assert "hf_noisy.models.branches" not in files["README.md"].decode()


def a_broken_upload_can_be_run_again(hub: LocalHub, tmp: Path) -> None:
    model(seed=1).save_pretrained(tmp)
    before = digests(tmp)
    hub.break_upload(after=100, times=20)
    with pytest.raises(ConnectionError, match="run it again"):
        push_model_to_hub(tmp, "cut", card())
    assert list(hub.files("models", "tester/cut")) == [".gitattributes"]
    assert digests(tmp) == before
    hub.faults.clear()
    push_model_to_hub(tmp, "cut", card())
    loaded = AutoModelForSequenceClassification.from_pretrained("tester/cut")
    assert torch.allclose(logits(loaded), logits(model(seed=1)))


def a_broken_commit_can_be_run_again(hub: LocalHub, tmp: Path) -> None:
    push_model_to_hub(model(), "twice", card())
    hub.break_commit()
    with pytest.raises(ConnectionError, match="run it again"):
        push_model_to_hub(model(seed=2), "twice", card(test_accuracy_last=0.5))
    assert torch.allclose(logits(AutoModelForSequenceClassification.from_pretrained("tester/twice")), logits(model()))
    push_model_to_hub(model(seed=2), "twice", card(test_accuracy_last=0.5))
    loaded = AutoModelForSequenceClassification.from_pretrained("tester/twice")
    assert torch.allclose(logits(loaded), logits(model(seed=2)))


def a_card_that_is_there_is_merged_into(hub: LocalHub, tmp: Path) -> None:
    HfApi().create_repo("tester/merged")
    theirs = model_card(results(dataset="other", method="gce"), name="their model")
    hub.edit("models", "tester/merged", "README.md", f"---\n{theirs.data.to_yaml()}\nlicense: mit\n---\nMine.\n")
    for accuracy in (0.6, 0.7):
        push_model_to_hub(model(), "merged", card(test_accuracy_last=accuracy))
    pushed = hub.files("models", "tester/merged")["README.md"].decode()
    assert "Mine.\n" in pushed
    assert pushed.count(BEGIN) == 1
    index = ModelCard(pushed, ignore_metadata_errors=True).data
    assert index.license == "mit"
    assert "gce" in index.tags
    assert "nct" in index.tags
    text = json.dumps(hub.files("models", "tester/merged")["README.md"].decode())
    assert text.count("value: 0.75") == text.count("value: 0.7\\n") == 1
    assert "value: 0.6" not in text


def a_command_pushes_the_folder_of_a_training(hub: LocalHub, tmp: Path) -> None:
    with open_output(tmp / "out") as output, output.new() as folder:
        model().save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        card().save(folder / "README.md")
    done = CliRunner().invoke(app, ["push", str(tmp / "out"), "trained", "--private"])
    assert done.exit_code == 0, done.stderr
    assert hub.repos["models", "tester/trained"].private
    assert ModelCard.load("tester/trained").data.eval_results == card().data.eval_results
    assert torch.allclose(
        logits(AutoModelForSequenceClassification.from_pretrained("tester/trained")), logits(model())
    )


def a_folder_without_a_model_is_refused(hub: LocalHub, tmp: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no model; save one there with save_pretrained"):
        push_model_to_hub(tmp, "empty", card())
    assert ("models", "tester/empty") not in hub.repos


def a_trainer_pushes_the_card_of_its_method(hub: LocalHub, tmp: Path) -> None:
    words = tokenizer()
    rows = Dataset.from_list([{**words("good film"), "label": 0}, {**words("bad film"), "label": 1}] * 4)
    options = {"num_train_epochs": 1, "report_to": [], "save_strategy": "no", "push_to_hub": True}
    args = TrainingArguments(str(tmp / "out"), hub_model_id="tester/trained", **options)
    trainer = NoisyTrainer(model(), args, train_dataset=rows, processing_class=words, method="gce")
    trainer.train()
    for _ in range(2):
        trainer.push_to_hub()
    pushed = hub.files("models", "tester/trained")["README.md"].decode()
    assert pushed.count(BEGIN) == 1
    assert 'model="tester/trained"' in pushed
    assert "Zhang, Z., Sabuncu" in pushed


def a_trainer_of_several_networks_pushes_one_that_a_pipeline_loads(hub: LocalHub, tmp: Path) -> None:
    words = tokenizer()
    rows = Dataset.from_list([{**words("good film"), "label": 0}, {**words("bad film"), "label": 1}] * 8)
    options = {"num_train_epochs": 1, "report_to": [], "save_strategy": "epoch", "push_to_hub": True}
    args = TrainingArguments(str(tmp / "out"), hub_model_id="tester/one", **options)
    trainer = NoisyTrainer(model(), args, train_dataset=rows, processing_class=words, method="dygen")
    trainer.train()
    trainer.save_model()  # which pushes too
    files = hub.files("models", "tester/one")
    assert {"model.safetensors", "branches/model.safetensors", "dygen/dygen.safetensors"} <= files.keys()
    assert not [name for name in files if name.startswith("_dygen")]
    assert json.loads(files["config.json"])["model_type"] == "bert"
    assert "import hf_noisy" not in files["README.md"].decode()
    assert pipeline("text-classification", "tester/one", device="cpu")("good film")[0]["label"] in ("a|b", "<b>")


def checkpoints_are_pushed_by_every_strategy(hub: LocalHub, tmp: Path) -> None:
    words = tokenizer()
    rows = Dataset.from_list([{**words("good film"), "label": 0}, {**words("bad film"), "label": 1}] * 8)

    def trainer(name: str, **options) -> NoisyTrainer:
        settings = {"num_train_epochs": 2, "report_to": [], "save_strategy": "epoch", "use_cpu": True, **options}
        args = TrainingArguments(str(tmp / name), hub_model_id=f"tester/{name}", **settings)
        return NoisyTrainer(model(), args, train_dataset=rows, processing_class=words, method="elr")

    wanted = {
        "end": set(),
        "every_save": {""},
        "checkpoint": {"", "last-checkpoint/"},
        "all_checkpoints": {"", "checkpoint-2/", "checkpoint-4/"},
    }
    trained = {}
    for strategy, folders in wanted.items():
        trained[strategy] = trainer(strategy, push_to_hub=True, hub_strategy=strategy, hub_always_push=True)
        trained[strategy].train()
        files = hub.files("models", f"tester/{strategy}")
        found = {path.removesuffix("model.safetensors") for path in files if path.endswith("model.safetensors")}
        assert found == folders, (strategy, found)
        for folder in folders - {""}:
            assert {f"{folder}method.safetensors", f"{folder}hf_noisy_state.json"} <= files.keys(), strategy

    # What was pushed after the first epoch continues to the same weights.
    downloaded = tmp / "downloaded" / "checkpoint-2"
    for path, content in hub.files("models", "tester/all_checkpoints").items():
        if path.startswith("checkpoint-2/"):
            target = downloaded / path.removeprefix("checkpoint-2/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    resumed = trainer("downloaded")
    resumed.train(resume_from_checkpoint=str(downloaded))
    expected = trained["end"].model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
