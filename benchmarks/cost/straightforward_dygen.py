"""A straightforward implementation of the DyGEN paper in plain PyTorch: the baseline of dygen_speed.py.

As in the published code, and unlike the package: every text is padded to one fixed length; branches are separate
networks with separate passes; after every epoch training, validation and test rows are embedded in their given order;
stage II loops over branches and noisy labels, and computes the posterior of the test rows after every iteration.
Three weaknesses of the published code are not copied: rows are shuffled, the learning rate decays correctly, and
centroids and neighbours use training rows only, never true labels of validation or test rows.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from transformers import get_linear_schedule_with_warmup

from hf_noisy.dygen.vae import prior_alpha
from tests.reference.dygen_loop import BranchVAE, scores
from tests.reference.dygen_loop import loss as vae_loss

Phase = Callable[[str], AbstractContextManager[None]]


@dataclass
class Settings:
    """The settings of both sides of the comparison."""

    num_classes: int
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-4
    max_length: int = 64
    agreement: float = 5.0  # the paper's lambda_1
    warmup_ratio: float = 0.1
    iterations: int = 10  # of stage II
    neighbours: int = 10
    seed: int = 0


@dataclass
class Recorded:
    """By split: for each branch the embeddings of every epoch, and the logits of the last one."""

    embeddings: dict[str, list[list[Tensor]]] = field(default_factory=dict)  # split -> branch -> epoch -> [rows, dim]
    logits: dict[str, list[Tensor]] = field(default_factory=dict)  # split -> branch -> [rows, classes]


def encode(tokenizer, texts: list[str], labels: list[int], max_length: int) -> TensorDataset:
    """All texts as one tensor, each padded to `max_length` tokens."""
    padded = tokenizer(texts, padding="max_length", truncation=True, max_length=max_length, return_tensors="pt")
    return TensorDataset(padded["input_ids"], padded["attention_mask"], torch.tensor(labels))


def network(branch: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Embedding of the first token and logits of a BERT classifier."""
    outputs = branch.bert(input_ids=ids, attention_mask=mask)
    return outputs.last_hidden_state[:, 0], branch.classifier(branch.dropout(outputs.pooler_output))


def agreement(logits: list[Tensor]) -> Tensor:
    """Mean divergence of the branches from their average, Eq. 16 and 17."""
    probabilities = [branch.softmax(-1) for branch in logits]
    consensus = sum(probabilities) / len(probabilities)
    total = 0.0
    for probability in probabilities:
        divergence = consensus * ((consensus + 1e-5).log() - (probability + 1e-5).log())
        total = total + divergence.sum(1).mean()
    return total / len(probabilities)


def train_epoch(
    branches: list[nn.Module], rows: TensorDataset, settings: Settings, optimizer, schedule, epoch
) -> None:
    for branch in branches:
        branch.train()
    for ids, mask, labels in DataLoader(rows, settings.batch_size, shuffle=True):
        logits = [network(branch, ids, mask)[1] for branch in branches]
        loss = sum(F.cross_entropy(output, labels) for output in logits) / len(branches)
        if epoch >= int(settings.warmup_ratio * settings.epochs):
            loss = loss + settings.agreement * agreement(logits)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([weight for branch in branches for weight in branch.parameters()], 1.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def embed(branch: nn.Module, rows: TensorDataset, settings: Settings) -> tuple[Tensor, Tensor]:
    """Embeddings and logits of one branch, in the order of the rows."""
    branch.eval()
    parts = [network(branch, ids, mask) for ids, mask, _ in DataLoader(rows, settings.batch_size)]
    embeddings, logits = zip(*parts, strict=True)
    return torch.cat(embeddings), torch.cat(logits)


def stage_1(branches: list[nn.Module], splits: dict[str, TensorDataset], settings: Settings, phase: Phase) -> Recorded:
    """Algorithm 2, step 1: co-regularised training, and the embeddings of all splits after every epoch."""
    torch.manual_seed(settings.seed)
    recorded = Recorded({name: [[] for _ in branches] for name in splits})
    steps = settings.epochs * -(-len(splits["train"]) // settings.batch_size)
    weights = [weight for branch in branches for weight in branch.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    for epoch in range(settings.epochs):
        with phase("training"):
            train_epoch(branches, splits["train"], settings, optimizer, schedule, epoch)
        for name, rows in splits.items():
            recorded.logits[name] = []
            with phase(f"embedding, {name}"):
                for m, branch in enumerate(branches):
                    embeddings, logits = embed(branch, rows, settings)
                    recorded.embeddings[name][m].append(embeddings)
                    recorded.logits[name].append(logits)
    return recorded


def prior_labels(recorded: Recorded, labels: np.ndarray, noise_rate: float, settings: Settings) -> Tensor:
    """Algorithm 1: the most suspicious rows take the label of their neighbours, `[branch, rows]`."""
    embeddings = [[epoch.numpy() for epoch in branch] for branch in recorded.embeddings["train"]]
    corrected = []
    for m, suspicion in enumerate(scores(embeddings, labels, settings.num_classes)):
        suspected = np.zeros(len(labels), dtype=bool)
        suspected[np.argsort(-suspicion)[: int(len(labels) * noise_rate)]] = True
        neighbours = KNeighborsClassifier(settings.neighbours, weights="distance")
        neighbours.fit(embeddings[m][0][~suspected], labels[~suspected])
        corrected.append(np.where(suspected, neighbours.predict(embeddings[m][0]), labels))
    return torch.from_numpy(np.stack(corrected))


@torch.no_grad()
def posterior(vaes: list[BranchVAE], w: Tensor, logits: Tensor, settings: Settings) -> Tensor:
    """Posterior of the true label, `[rows, classes]`, with a pass for every branch and noisy label, Eq. 15 and 21."""
    parts = []
    for w_batch, logits_batch in DataLoader(TensorDataset(w, logits), settings.batch_size):
        merged = torch.zeros(len(w_batch), settings.num_classes)
        for m, vae in enumerate(vaes):
            probability = logits_batch[:, m].softmax(-1)
            for k in range(settings.num_classes):
                one_hot = torch.zeros(len(w_batch), settings.num_classes)
                one_hot[:, k] = 1
                _, alpha = vae(w_batch[:, m], one_hot, torch.rand(len(w_batch), settings.num_classes))
                merged += (alpha - 1) / (alpha - 1).sum(1, keepdim=True) * probability[:, k : k + 1]
        parts.append(merged / len(vaes))
    return torch.cat(parts)


def stage_2(recorded: Recorded, labels: Tensor, prior: Tensor, settings: Settings, phase: Phase) -> Tensor:
    """Algorithm 2, step 3: one Dirichlet VAE per branch, and the posterior of the test rows after every iteration."""
    torch.manual_seed(settings.seed)
    # [rows, branch, epochs * dim]
    w = {
        name: torch.stack([torch.cat(epochs, 1) for epochs in recorded.embeddings[name]], 1)
        for name in ("train", "test")
    }
    logits = torch.stack(recorded.logits["test"], 1)
    alpha = prior_alpha(F.one_hot(prior, settings.num_classes).float()).transpose(0, 1)
    vaes = [BranchVAE(w["train"].shape[2], settings.num_classes) for _ in range(prior.shape[0])]
    optimizer = torch.optim.Adam([weight for vae in vaes for weight in vae.parameters()], lr=settings.learning_rate)
    rows = TensorDataset(w["train"], labels, alpha)
    for iteration in range(settings.iterations):
        with phase("VAE"):
            for w_batch, labels_batch, alpha_batch in DataLoader(rows, settings.batch_size, shuffle=True):
                noise = torch.rand(len(vaes), len(labels_batch), settings.num_classes).clamp(min=1e-6)
                shape = (w_batch.transpose(0, 1), labels_batch, alpha_batch.transpose(0, 1), noise)
                bound, disagreement = vae_loss(vaes, *shape)
                loss = bound + (iteration >= settings.warmup_ratio * settings.iterations) * disagreement
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with phase("posterior"):
            result = posterior(vaes, w["test"], logits, settings)
    return result


def dygen(
    branches: list[nn.Module],
    splits: dict[str, TensorDataset],
    noise_rate: float,
    settings: Settings,
    phase: Phase,
) -> dict[str, np.ndarray]:
    """Both stages; class probabilities of the test rows by `"stage I"` and `"DyGEN"`."""
    recorded = stage_1(branches, splits, settings, phase)
    labels = splits["train"].tensors[2]
    with phase("prior"):
        prior = prior_labels(recorded, labels.numpy(), noise_rate, settings)
    mean = torch.stack(recorded.logits["test"]).softmax(-1).mean(0)
    final = stage_2(recorded, labels, prior, settings, phase)
    return {"stage I": mean.numpy(), "DyGEN": final.numpy()}
