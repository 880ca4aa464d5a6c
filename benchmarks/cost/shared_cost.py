"""A training step of two networks that share frozen lower layers, against one whole network: shared_cost.json.

    python -m benchmarks.cost.shared_cost

Each side takes forward and backward passes and a step of AdamW on the same batch, in turn, on networks of the size of
MiniLM with random weights, on which the cost does not depend. The networks above the shared layers are full copies.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.cost import harness
from hf_noisy import BranchedModel
from hf_noisy.methods import Batch, make_method

CLASSES, LAYERS = 6, 6
SIZES = {"hidden_size": 384, "num_hidden_layers": LAYERS, "num_attention_heads": 12, "intermediate_size": 1536}
PLAIN = "one network"
OPTIONS = {"jocor": {"forget_rate": 0.2}, "co_teaching": {"forget_rate": 0.2}}  # estimated by the trainer otherwise


@dataclass
class Arguments(harness.Arguments):
    methods: list[str] = harness.option(["nct", "jocor", "co_teaching"], "of two networks")
    shared: list[int] = harness.option([0, 3, 4], "shared layers, of six")
    rows: int = harness.option(16, "of a batch")
    length: int = harness.option(32, "tokens of a row")
    turns: int = harness.option(5, "timed steps of each side")


def step_of(method: str, shared: int | None, arguments: Arguments) -> Callable[[], None]:
    """A training step of a method; without a number of shared layers, of one network."""
    torch.manual_seed(0)
    model: torch.nn.Module = BertForSequenceClassification(BertConfig(num_labels=CLASSES, **SIZES))
    if shared is not None:
        model = BranchedModel.from_model(model, 2, shared_layers=shared)
    optimizer = torch.optim.AdamW([p for p in model.train().parameters() if p.requires_grad], lr=1e-5)
    tokens = torch.randint(100, 20000, (arguments.rows, arguments.length))
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    labels, index = torch.arange(arguments.rows) % CLASSES, torch.arange(arguments.rows)
    batch = Batch(inputs, labels, index, progress=0.5, epoch=1, num_epochs=2)
    of = make_method(method, **OPTIONS.get(method, {}))
    of.setup(model, Accelerator(cpu=not torch.cuda.is_available()), arguments.rows)

    def step() -> None:
        of(model, batch).losses.mean().backward()
        optimizer.step()
        of.after_step(model)
        optimizer.zero_grad()

    return step


def measure(arguments: Arguments, report: harness.Report) -> None:
    steps = {PLAIN: step_of("cross_entropy", None, arguments)}
    steps |= {f"{m}, {k}": step_of(m, k, arguments) for m in arguments.methods for k in arguments.shared}
    runs = harness.in_turn(steps, arguments.turns)
    report["layers"], report["seconds_of_one_network"] = LAYERS, harness.median(runs, PLAIN)
    report["ratio"] = {
        m: {str(k): harness.ratio(runs, f"{m}, {k}", PLAIN) for k in arguments.shared} for m in arguments.methods
    }
    print(json.dumps(report["ratio"], indent=1))


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers")
