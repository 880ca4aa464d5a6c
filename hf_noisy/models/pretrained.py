"""Pretrained classifiers for the classes of a dataset, whatever classes their head knows."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig

from hf_noisy.core.cell_task import MULTI_LABEL
from hf_noisy.models.heads import find_heads

_SHOWN = 5  # names of classes


def pretrained_classifier(
    auto: Any, name: str, class_names: Sequence[str], *, trust_remote_code: bool = False, several: bool = False
) -> tuple[Any, str | None]:
    """A pretrained model for these classes, and a sentence about its head if that was replaced or reordered."""
    # A head is kept if it knows every class by name, or as many classes without names. Weights of another head would
    # have no meaning, or the opposite one.
    config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    known = [str(config.id2label[label]) for label in range(config.num_labels)]
    options: dict[str, Any] = {"num_labels": len(class_names), "ignore_mismatched_sizes": True}
    options |= {"id2label": dict(enumerate(class_names)), "label2id": {one: i for i, one in enumerate(class_names)}}
    if several:
        options["problem_type"] = MULTI_LABEL
    elif getattr(config, "problem_type", None) is not None:  # several labels per row, or a number
        options["problem_type"] = "single_label_classification"
    model = auto.from_pretrained(name, trust_remote_code=trust_remote_code, **options)
    if not any(architecture.endswith("Classification") for architecture in config.architectures or []):
        return model, None
    places, numbers = _places(known, class_names), list(range(len(known)))
    unnamed = len(known) == len(class_names) and all(re.fullmatch(r"LABEL_\d+", one) for one in known)
    if unnamed or places == numbers:
        return model, None
    (head,) = find_heads(model)
    if places is None:
        head.reset_parameters()
        return model, (
            f"the head of '{name}' is for other classes ({_some(known)}); the model gets a new one for the "
            f"{len(class_names)} classes of the data ({_some(class_names)})"
        )
    (old,) = find_heads(auto.from_pretrained(name, trust_remote_code=trust_remote_code))
    with torch.no_grad():
        head.weight.copy_(old.weight[places])
        if head.bias is not None:
            head.bias.copy_(old.bias[places])
    return model, f"the head of '{name}' knows the classes of the data among {_some(known)}; its weights are kept"


def _places(known: Sequence[str], class_names: Sequence[str]) -> list[int] | None:
    """Where the classes are among those of the head, by name; None if one is not there or two are alike."""
    place = {one.strip().casefold(): number for number, one in enumerate(known)}
    wanted = [one.strip().casefold() for one in class_names]
    if len(place) < len(known) or len(set(wanted)) < len(wanted) or not place.keys() >= set(wanted):
        return None
    return [place[one] for one in wanted]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
