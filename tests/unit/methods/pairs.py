"""Two small networks in one model, and the steps that a trainer takes with them."""

from types import SimpleNamespace

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hf_noisy.methods import Batch, Method

ROWS, CLASSES, DIM = 14, 4, 6


class FixedPair(nn.Module):
    """Gives the logits `[rows, network, class]` that it was told, of the rows that it is asked for."""

    num_branches = 2

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, rows: Tensor) -> SimpleNamespace:
        return SimpleNamespace(branch_logits=self.logits[rows], logits=self.logits[rows].mean(1))


class LinearPair(nn.Module):
    """Two linear networks on the same features."""

    num_branches = 2

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64)
        self.weights = nn.ParameterList(
            torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64) for _ in range(2)
        )

    def forward(self, rows: Tensor) -> SimpleNamespace:
        logits = torch.stack([self.features[rows] @ weight.T for weight in self.weights], 1)
        return SimpleNamespace(branch_logits=logits, logits=logits.mean(1))


class LinearOne(LinearPair):
    """The first network of the pair alone, whose classes can be counted."""

    num_branches = 1

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([self.weights[0]])
        self.config = SimpleNamespace(num_labels=CLASSES)

    def forward(self, rows: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.features[rows] @ self.weights[0].T)


def given_labels(seed: int = 1) -> Tensor:
    return torch.randint(0, CLASSES, (ROWS,), generator=torch.Generator().manual_seed(seed))


def make_batch(rows: Tensor, labels: Tensor, epoch: int = 0, num_epochs: int = 4, seed: int = 0) -> Batch:
    return Batch({"rows": rows}, labels[rows], rows, epoch / num_epochs, epoch, num_epochs, seed)


def ready(method: Method, model: nn.Module, num_rows: int = ROWS) -> Method:
    """The method as it is when training begins."""
    method.setup(model, None)
    method.setup(model, Accelerator(cpu=True), num_rows)
    return method


def order(epoch: int) -> Tensor:
    return torch.randperm(ROWS, generator=torch.Generator().manual_seed(100 + epoch))


def train(
    method: Method,
    model: nn.Module,
    epochs: range,
    num_epochs: int = 4,
    batch: int = 6,
    parts: int = 1,
    lr: float = 0.5,
) -> list[Tensor]:
    """Steps of gradient descent on the mean of the row losses, each batch in `parts`; the losses of every step."""
    labels, optimizer, found = given_labels(), torch.optim.SGD(model.parameters(), lr=lr), []
    for epoch in epochs:
        for rows in order(epoch).split(batch):
            optimizer.zero_grad()
            losses = []
            for part in rows.chunk(parts):
                step = method(model, make_batch(part, labels, epoch, num_epochs))
                (step.losses.sum() / len(rows)).backward()
                losses.append(step.losses.detach())
            optimizer.step()
            method.after_step(model)
            found.append(torch.cat(losses))
    return found


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
