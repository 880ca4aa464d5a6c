"""Every text and image classifier of transformers with a size of about 16, and rows that it can be trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

CLASSES, WORDS, LENGTH, SIDE = 3, 40, 8, 32
TEXT, IMAGE = "text", "image"

_FILE = yaml.safe_load((Path(__file__).parent / "tiny_architectures.yaml").read_text())
SIZES: dict[str, int] = {name: size for size, names in _FILE["sizes"].items() for name in names}
TOKENS: dict[str, int] = _FILE["tokens"]
OWN: dict[str, dict[str, Any]] = _FILE["own"]
UNFIT: dict[str, str] = _FILE["unfit"]


@dataclass(frozen=True)
class Architecture:
    """A classifier class of transformers."""

    modality: str
    model_type: str
    name: str  # of its class

    def config(self) -> PreTrainedConfig:
        return tiny_config(CONFIG_MAPPING[self.model_type], OWN.get(self.model_type, {}), num_labels=CLASSES)

    def model(self) -> PreTrainedModel:
        torch.manual_seed(0)
        return getattr(transformers, self.name)(self.config())

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Random rows with labels."""
        generator = torch.Generator().manual_seed(1)
        labels = torch.arange(count) % CLASSES
        make = _image_row if self.modality == IMAGE else _text_row
        return [{**make(self.model_type, generator), "labels": int(label)} for label in labels]


def architectures() -> Iterator[Architecture]:
    """All classes in the two auto mappings of transformers, once each."""
    text, image = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    seen = set()
    for modality, mapping in ((TEXT, text), (IMAGE, image)):
        for model_type, names in mapping.items():
            for name in (names,) if isinstance(names, str) else names:
                if name not in seen:
                    seen.add(name)
                    yield Architecture(modality, model_type, name)


def tiny_config(kind: type[PreTrainedConfig], own: dict[str, Any], **others: Any) -> PreTrainedConfig:
    """A configuration with small sizes, also of the configurations inside of it."""
    default = kind()
    found = {name: vars(default).get(kind.attribute_map.get(name, name)) for name in (*SIZES, *TOKENS)}
    sizes = {name: size for name, size in SIZES.items() if type(found[name]) is int}
    sizes |= {name: token for name, token in TOKENS.items() if hasattr(default, name)}
    parts = {name: getattr(default, name, None) for name in kind.sub_configs}
    sizes |= {
        name: tiny_config(type(part), OWN.get(part.model_type, {}))
        for name, part in parts.items()
        if isinstance(part, PreTrainedConfig)
    }
    return kind(**{name: value for name, value in (sizes | own).items() if value is not None}, **others)


def _text_row(model_type: str, generator: torch.Generator) -> dict[str, Any]:
    ids = torch.randint(3, WORDS, (LENGTH,), generator=generator)
    length = int(torch.randint(LENGTH // 2, LENGTH + 1, (1,), generator=generator))
    ids[length - 1], ids[length:] = TOKENS["eos_token_id"], TOKENS["pad_token_id"]
    row = {"input_ids": ids, "attention_mask": (torch.arange(LENGTH) < length).long()}
    if model_type.startswith(("layoutlm", "lilt")):
        row["bbox"] = torch.randint(0, 30, (LENGTH, 4), generator=generator).sort(-1).values[:, [0, 1, 2, 3]]
    return row


def _image_row(model_type: str, generator: torch.Generator) -> dict[str, Any]:
    if model_type == "imagegpt":  # colours of pixels
        return {"input_ids": torch.randint(0, WORDS, (16,), generator=generator)}
    if model_type == "siglip2":  # patches of images of any shape
        sizes = {"pixel_attention_mask": torch.ones(16).long(), "spatial_shapes": torch.tensor([4, 4])}
        return {"pixel_values": torch.randn(16, 3 * 8 * 8, generator=generator), **sizes}
    side = 2 * SIDE if model_type == "mobilevitv2" else SIDE
    return {"pixel_values": torch.randn(3, side, side, generator=generator)}
