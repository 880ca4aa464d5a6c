"""The loop of the published script of DMLP, written anew from its description, to hold speed and numbers against.

It differs from the paper: two branches over the same rows, no ridge penalty, no softmax on the labels, another clean
loss, Adam, softmax twice and thrice in the classifier's loss, and labels that are never replaced. Gradients go by
autograd through the inverse.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

BETAS, WEIGHT_DECAY, LABEL_RATE = (0.5, 0.999), 3e-4, 0.01
EARLY_RATE, LATE_RATE, LAST_EARLY_EPOCH = 6e-3, 6e-4, 3
ENTROPY_WEIGHT, PRIOR_WEIGHT = 0.4, 2200


def divergence_from_uniform(probabilities: Tensor) -> Tensor:
    uniform = torch.full_like(probabilities[0], 1 / probabilities.shape[1])
    return (uniform * (uniform / probabilities.mean(0)).log()).sum()


def clean_loss(labels: Tensor, features: Tensor, clean: Tensor, clean_labels: Tensor) -> Tensor:
    weights = torch.linalg.inv(features.T @ features) @ features.T @ labels
    scores = clean @ weights
    squared = ((scores - F.one_hot(clean_labels, scores.shape[1])) ** 2).sum()
    balance = divergence_from_uniform(torch.softmax(features @ weights, 1))
    return F.cross_entropy(scores, clean_labels) + squared + balance


def head_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    twice = torch.softmax(probabilities, 1)
    balance = divergence_from_uniform(torch.softmax(twice, 1))
    negative_entropy = (twice * twice.log()).sum(1).mean()
    return F.cross_entropy(probabilities, targets) + ENTROPY_WEIGHT * negative_entropy + PRIOR_WEIGHT * balance


@dataclass
class Branch:
    labels: Tensor
    head: torch.nn.Linear
    label_losses: list[float] = field(default_factory=list)
    head_losses: list[float] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.labels = self.labels.clone().requires_grad_()
        self.move_labels = torch.optim.Adam([self.labels], LABEL_RATE, BETAS, weight_decay=WEIGHT_DECAY)
        self.move_head = torch.optim.Adam(self.head.parameters(), EARLY_RATE, BETAS, weight_decay=WEIGHT_DECAY)

    def predict(self, features: Tensor) -> Tensor:
        return torch.softmax(self.head(features), 1)

    def epoch(self, features: Tensor, clean: Tensor, clean_labels: Tensor, rows: int, batch: int, number: int) -> None:
        for group in self.move_head.param_groups:
            group["lr"] = EARLY_RATE if number <= LAST_EARLY_EPOCH else LATE_RATE
        for start in range(0, len(features) - rows + 1, rows):
            chunk = slice(start, start + rows)
            loss = clean_loss(self.labels[chunk], features[chunk], clean, clean_labels)
            self.move_labels.zero_grad()
            loss.backward()
            self.gradients.append(self.labels.grad.clone())
            self.move_labels.step()
            self.label_losses.append(loss.item())
            targets = self.labels.detach()[chunk].argmax(1)
            for first in range(0, rows - batch + 1, batch):
                part = slice(start + first, start + first + batch)
                loss = head_loss(self.predict(features[part]), targets[first : first + batch])
                self.move_head.zero_grad()
                loss.backward()
                self.move_head.step()
                self.head_losses.append(loss.item())


def overwrite_crosswise(first: Branch, second: Branch, features: Tensor) -> None:
    """What the script would do every 20 epochs if its condition were ever true."""
    with torch.no_grad():
        from_first, from_second = first.predict(features), second.predict(features)
        first.labels.copy_(from_second)
        second.labels.copy_(from_first)
