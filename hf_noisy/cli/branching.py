"""The networks of a method of several, as the options `branches` and `shared_layers` ask for them."""

from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from hf_noisy.cli.arguments import TextOptions
from hf_noisy.methods import Method
from hf_noisy.models import BranchedModel


def make_branches(model: Any, options: TextOptions, num_branches: int, seed: int, folder: Path) -> BranchedModel:
    """Branches made of a classifier; the outputs of shared layers are kept in a file in the folder."""
    lora: dict[str, Any] | None = {} if options.branches == "lora" else None
    shared = options.shared_layers
    branched = BranchedModel.from_model(model, num_branches, seed=seed, lora=lora, shared_layers=shared)
    if shared:
        branched.keep_shared_outputs(folder)
    return branched


def with_asked_branches(model: Any, options: Any, method: str | Method, training: TrainingArguments) -> Any:
    """The model itself, from which the trainer makes what the method needs, unless the options ask for something."""
    if not isinstance(options, TextOptions) or (options.branches == "full" and not options.shared_layers):
        return model
    if isinstance(method, str) or method.num_branches < 2:
        name = method if isinstance(method, str) else type(method).__name__
        asked = "--shared_layers" if options.branches == "full" else "--branches lora"
        raise ValueError(f"{asked} is for a named method of several networks, such as nct, got {name}; leave it out")
    return make_branches(model, options, method.num_branches, training.seed, Path(str(training.output_dir)))
