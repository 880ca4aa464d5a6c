"""Memory and time of LoRA branches against one LoRA model: branch_cost.json.

    python -m benchmarks.cost.branch_cost

Memory: peak of a separate process during a few training steps with AdamW, minus its memory after the imports.
Time: forward and backward passes, all candidates in turn, as a ratio to the single model.
"""

import gc
import json
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.func import functional_call, vmap
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.cost import harness
from hf_noisy import BranchedModel

LORA = {"lora_dropout": 0.0}  # so that all candidates compute the same function
BATCHES = {"minilm": (16, 64), "bert-base": (8, 64)}
BASE = "1 LoRA"
# Branches, LoRA, shared lower layers as a share of all, checkpointing.
CANDIDATES = {
    BASE: (1, True, 0.0, False),
    "4 LoRA": (4, True, 0.0, False),
    "4 LoRA, a third of the layers shared": (4, True, 1 / 3, False),
    "4 LoRA, two thirds shared": (4, True, 2 / 3, False),
    "4 full": (4, False, 0.0, False),
    "1 LoRA, checkpointing": (1, True, 0.0, True),
    "4 LoRA, checkpointing": (4, True, 0.0, True),
}
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "0"}


@dataclass
class Arguments(harness.Arguments):
    backbones: list[str] = harness.option(list(BATCHES), "of BATCHES")
    rounds: int = harness.option(8, "timed steps of each candidate")


def build(backbone: str, candidate: str) -> torch.nn.Module:
    branches, lora, share, checkpointing = CANDIDATES[candidate]
    torch.manual_seed(0)

    random = BertConfig(num_labels=6)  # cost does not depend on the weights
    model = harness.classifier(6) if backbone == "minilm" else BertForSequenceClassification(random)
    depth = round(share * model.config.num_hidden_layers)
    if branches == 1:
        # One branch of a pair: the same adapter and frozen backbone, built by the same code.
        model = BranchedModel.from_model(model, 2, lora=LORA).branches[0]
    else:
        model = BranchedModel.from_model(model, branches, lora=LORA if lora else None, shared_layers=depth)
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    return model.train()


def batch(backbone: str) -> dict[str, torch.Tensor]:
    rows, length = BATCHES[backbone]
    tokens = torch.randint(100, 20000, (rows, length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def gradients(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    outputs = model(**inputs)
    getattr(outputs, "branch_logits", outputs.logits).float().logsumexp(-1).mean().backward()


def step(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    gradients(model, inputs)
    model.zero_grad()


def batched_step(model: BranchedModel, inputs: dict[str, torch.Tensor]) -> None:
    """All branches in one batched call: adapters stacked, the frozen backbone shared."""
    first, parameters = model.branches[0], [dict(branch.named_parameters()) for branch in model.branches]
    trained = [name for name, p in parameters[0].items() if p.requires_grad]
    own = {name: torch.stack([one[name] for one in parameters]) for name in trained}
    rest = {name: p for name, p in parameters[0].items() if not p.requires_grad} | dict(first.named_buffers())
    logits = vmap(lambda o: functional_call(first, o | rest, kwargs=inputs).logits, randomness="different")(own)
    logits.float().logsumexp(-1).mean().backward()
    model.zero_grad()


def memory(arguments: Arguments) -> dict[str, float]:
    """Memory of this process in MiB."""
    (backbone,) = arguments.backbones
    gc.collect()
    before = harness.resident()
    model, inputs = build(backbone, arguments.part), batch(backbone)
    gc.collect()
    harness.forget_peak()  # loading may have needed more than training, such as a second copy
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for _ in range(3):
        gradients(model, inputs)
        optimizer.step()
        optimizer.zero_grad()
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    bytes_ = {
        "peak_mib": harness.resident("VmHWM") - before,
        "parameters_mib": sum(p.numel() * p.element_size() for p in parameters),
        "state_mib": (sum(p.numel() for p in parameters) + 3 * trained) * 4,
    }
    return {name: round(value / 2**20, 1) for name, value in bytes_.items()}


def times(backbone: str, rounds: int) -> dict:
    inputs = batch(backbone)
    models = {name: build(backbone, name) for name in CANDIDATES}
    steps = {name: partial(step, model, inputs) for name, model in models.items()}
    steps["4 LoRA, batched by torch.func"] = partial(batched_step, models["4 LoRA"], inputs)
    runs = harness.in_turn(steps, rounds)
    found: dict = {}
    for name in steps:
        low, middle, high = np.percentile([run[name]["cpu"] / run[BASE]["cpu"] for run in runs], [25, 50, 75])
        found[name] = {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
    return found | {"seconds_of_1_LoRA": round(harness.median(runs, BASE), 4)}


def measure(arguments: Arguments, report: harness.Report) -> None:
    report["time"] = "CPU seconds of forward and backward, median (and quartiles) of the ratio of paired steps"
    report["backbones"] = {}
    for name in arguments.backbones:
        held = {of: harness.child(__file__, arguments, of, ALLOCATOR, backbones=[name]) for of in CANDIDATES}
        found = {"batch": BATCHES[name], "memory": held, "time": times(name, arguments.rounds)}
        print(json.dumps(found, indent=1))
        report["backbones"][name] = found
        report.save()


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "transformers", "peft", part=memory)
