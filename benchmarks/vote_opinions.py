"""Models that predict what people answer (md_agreement): by what they learned from, on frozen and on tuned layers."""

import tempfile
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from scipy.special import softmax
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, TrainingArguments

from benchmarks.pools import minilm
from hf_noisy import NoisyTrainer
from hf_noisy.data.weak.vote_table import Votes, votes_from_answers
from hf_noisy.detection import aggregate
from hf_noisy.detection.directions import directions, mean_direction
from hf_noisy.detection.linear_head import fit_linear_head
from hf_noisy.metrics import manhattan_distance, soft_cross_entropy

PENALTIES = (0.001, 0.003, 0.01, 0.03)  # of the linear layer
FOLDS = 5
FROZEN, EPOCHS, TOKENS, LEARNING_RATE = 5, 3, 48, 3e-4  # lower layers, and the training of the others
ROWS = {"train": 2000, "test": 1000}  # for tuned layers


class Opinions(NamedTuple):
    """Shares of the votes, and the votes themselves."""

    shares: Float64[np.ndarray, "rows classes"]
    votes: Votes


def opinions_of(rows: list[dict[str, Any]]) -> Opinions:
    """The opinions of people on tweets."""
    answers = [(n, who, label) for n, row in enumerate(rows) for who, label in row["annotations"].items()]
    index, who, labels = zip(*answers, strict=True)
    votes = votes_from_answers(np.array(index), list(who), np.array(labels))
    return Opinions(np.array([row["soft_label"] for row in rows]), votes)


def on_frozen_features(
    train: Opinions, test: Opinions, features: np.ndarray, others: np.ndarray
) -> dict[str, dict[str, float]]:
    """A linear layer whose penalty is the best for held-out targets of the kind that it learns."""
    targets = {
        "majority": np.eye(2)[train.shares.argmax(axis=1)],
        "dawid_skene": aggregate(train.votes, method="dawid_skene").posterior,
        "shares of the votes": train.shares,
        "aggregate": aggregate(train.votes, features).posterior,
    }
    centre = mean_direction(features)
    inputs, held = (4 * directions(one, centre) for one in (features, others))
    fold = np.random.default_rng(0).integers(0, FOLDS, len(inputs))
    found = {"entropy of the votes": {"cross_entropy": soft_cross_entropy(test.shares, test.shares)}}
    for name, target in targets.items():
        penalty = min(PENALTIES, key=lambda one, target=target: _held_out(inputs, target, one, fold))
        found[name] = _distances(test, fit_linear_head(inputs, target, penalty).logits(held))
    fold = np.random.default_rng(0).integers(0, FOLDS, len(held))
    both, wanted = np.concatenate([inputs, held]), np.concatenate([train.shares, test.shares])
    predicted = np.empty_like(test.shares)
    for number in range(FOLDS):
        kept = np.concatenate([np.full(len(inputs), True), fold != number])
        predicted[fold == number] = fit_linear_head(both[kept], wanted[kept], 0.003).logits(held[fold == number])
    return {**found, "shares, of other test rows too": _distances(test, predicted)}


def _held_out(inputs: np.ndarray, target: np.ndarray, penalty: float, fold: np.ndarray) -> float:
    """Cross-entropy with held-out targets."""
    predicted = np.empty(target.shape)
    for number in range(FOLDS):
        held = fold == number
        predicted[held] = fit_linear_head(inputs[~held], target[~held], penalty).logits(inputs[held])
    return soft_cross_entropy(target, softmax(predicted, axis=1))


def _distances(test: Opinions, logits: np.ndarray) -> dict[str, float]:
    predicted = softmax(logits, axis=1)
    return {
        "cross_entropy": soft_cross_entropy(test.shares, predicted),
        "manhattan": manhattan_distance(test.shares, predicted),
        "accuracy": float((predicted.argmax(1) == test.shares.argmax(1)).mean()),
    }


def on_tuned_layers(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The upper layers of the encoder, tuned by `NoisyTrainer` with the same settings for each kind of target."""
    rng = np.random.default_rng(0)
    train, test = (
        [rows[n] for n in rng.permutation(len(rows))[: ROWS[part]]]
        for part, rows in (("train", train), ("test", test))
    )
    learned, wanted = opinions_of(train), opinions_of(test)
    labels = learned.shares.argmax(axis=1)
    rows, held = (_States([row["text"] for row in part]) for part in (train, test))
    rows.labels = labels
    ways: dict[str, dict[str, Any]] = {
        "majority": {},
        "shares of the votes": {"votes": learned.votes},
        "dawid_skene": {"votes": aggregate(learned.votes, method="dawid_skene")},
        "annotator layers": {"votes": learned.votes, "method": "annotator_layers"},
    }
    found = {}
    for name, options in ways.items():
        found[name] = _tuned(rows, held, wanted, options)
        print(name, found[name], flush=True)
    return found


def _tuned(rows: "_States", held: "_States", wanted: Opinions, options: dict[str, Any]) -> dict[str, Any]:
    """Distances after each epoch."""
    torch.manual_seed(0)
    model, epochs = _Upper(), []
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=64,
            learning_rate=LEARNING_RATE,
            warmup_steps=20,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = NoisyTrainer(
            model,
            arguments,
            train_dataset=rows,
            eval_dataset=held,
            data_collator=_padded,
            compute_metrics=lambda found: epochs.append(_distances(wanted, found.predictions)) or {},
            **options,
        )
        trainer.train()
    return {"epochs": epochs, **epochs[-1]}


class _States(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Texts as the hidden states after the lower layers, which stay as they are."""

    def __init__(self, texts: list[str]) -> None:
        tokenizer, encoder = AutoTokenizer.from_pretrained(minilm()), AutoModel.from_pretrained(minilm()).eval()
        self.labels, self.states = np.zeros(len(texts), np.int64), []
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        states: dict[int, Tensor] = {}
        with torch.no_grad():
            for start in range(0, len(order), 32):
                rows = order[start : start + 32]
                batch = tokenizer(
                    [texts[n] for n in rows], return_tensors="pt", padding=True, truncation=True, max_length=TOKENS
                )
                hidden = encoder(**batch, output_hidden_states=True).hidden_states[FROZEN]
                lengths = batch["attention_mask"].sum(1).tolist()
                states |= {n: one[:length].clone() for n, one, length in zip(rows, hidden, lengths, strict=True)}
        self.states = [states[n] for n in range(len(texts))]

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"states": self.states[number], "labels": int(self.labels[number])}


def _padded(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    states = nn.utils.rnn.pad_sequence([row["states"] for row in rows], batch_first=True)
    lengths = torch.tensor([len(row["states"]) for row in rows])
    mask = torch.arange(states.shape[1])[None] < lengths[:, None]
    return {"states": states, "mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


class _Upper(nn.Module):
    """The upper layers of the encoder and a linear head on the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        encoder = AutoModel.from_pretrained(minilm())
        self.layers, self.head = encoder.encoder.layer[FROZEN:], nn.Linear(encoder.config.hidden_size, 2)

    def forward(self, states: Tensor, mask: Tensor) -> Any:
        added = torch.zeros(mask.shape, dtype=states.dtype).masked_fill(~mask, torch.finfo(states.dtype).min)
        for layer in self.layers:
            states = layer(states, added[:, None, None])
            states = states[0] if isinstance(states, tuple) else states
        weight = mask[..., None].to(states.dtype)
        return _Output(self.head((states * weight).sum(1) / weight.sum(1)))


class _Output(dict):  # type: ignore[type-arg]
    """The logits, by name and by attribute."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits)
        self.logits = logits
