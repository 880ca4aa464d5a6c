"""The card of a trainer's model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_noisy.core.files import write_atomically
from hf_noisy.hub.model_card import model_card
from hf_noisy.hub.text import merged, placed
from hf_noisy.methods import LossMethod

if TYPE_CHECKING:
    from hf_noisy.training.trainer import NoisyTrainer


def add_to_card(trainer: "NoisyTrainer", model: Any) -> None:
    """Add a section on the method and the noise to the card that `Trainer` wrote."""
    method = trainer.method.loss if isinstance(trainer.method, LossMethod) else trainer.method
    results = {
        "method": type(method).__name__,
        "citation": trainer.method.citation,
        "epochs": trainer.state.epoch,
        "learning_rate": trainer.args.learning_rate,
        "seed": trainer.args.seed,
        "method_args": trainer.choice and trainer.choice.arguments,
        "method_why": trainer.choice and trainer.choice.why,
    }
    path = Path(str(trainer.args.output_dir)) / "README.md"
    name = trainer.hub_model_id or path.parent.name
    card = placed(model_card(results, model.config.to_dict(), name=name), name)
    write_atomically(path, merged(path.read_text("utf-8"), card))
