"""The dataset `cifar100`: 60,000 small photographs of 100 classes in 20 superclasses, with the labels of CIFAR-100N.

The folder holds `cifar-100-python/` with the official Python files `train` and `test`, and for noisy labels
`CIFAR-100_human.pt` of the release of CIFAR-N.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets

from hf_noisy.core.columns import IMAGE
from hf_noisy.data.builders import cifar10, cifar_files
from hf_noisy.data.builders.builder import NoisyConfig, NoisyDatasetBuilder, noisy_features
from hf_noisy.data.builders.cifar_files import ImageRows, hub_rows, image_rows, labels_of_rows, read_batches
from hf_noisy.data.noise.class_map import cifar100_map

# Superclasses and their classes, both in the order of their ids.
SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
CLASSES = sorted(name for names in SUPERCLASSES.values() for name in names)
CLASS_MAP = dict(cifar100_map(rate=0.0).mapping)  # class -> the next one of its superclass
_FOLDER = "cifar-100-python"
_HUMAN_FILE = "CIFAR-100_human.pt"
# Configuration -> kind of label, and names of the true and given labels of CIFAR-100N.
_SETS = {
    "clean": ("fine", "clean_label", None),
    "noisy": ("fine", "clean_label", "noisy_label"),
    "clean_coarse": ("coarse", "clean_coarse_label", None),
    "noisy_coarse": ("coarse", "clean_coarse_label", "noisy_coarse_label"),
}


class Cifar100Builder(NoisyDatasetBuilder):
    """Builder of `cifar100`: true labels or those of one annotator per row, of the 100 classes or 20 superclasses.

    Source: images Krizhevsky (2009); human labels Wei et al. (2022), CIFAR-100N.
    """

    NAME = "cifar100"
    DESCRIPTION = "CIFAR-100: 50,000 and 10,000 colour images of 32 x 32 pixels and 100 classes in 20 superclasses."
    HOMEPAGE = cifar10.Cifar10Builder.HOMEPAGE
    LICENSE = "images: none stated, cite the report; human labels of CIFAR-100N: CC BY-NC 4.0"
    CITATION = cifar10.Cifar10Builder.CITATION
    DOWNLOAD = (
        "download 'CIFAR-100 python version' from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it into "
        f"'cifar100', and for human labels put {_HUMAN_FILE} of https://github.com/UCSC-REAL/cifar-10-100n there too"
    )
    MARKERS = (f"{_FOLDER}/train",)
    CODE = (cifar_files,)
    HUB_ID = "uoft-cs/cifar100"
    BUILDER_CONFIGS: ClassVar[list[NoisyConfig]] = [
        NoisyConfig(name="clean", description="The true classes."),
        NoisyConfig(name="noisy", noise="annotators", description="Training classes of one annotator per row."),
        NoisyConfig(name="clean_coarse", description="The true superclasses."),
        NoisyConfig(name="noisy_coarse", noise="annotators", description="Superclasses of the annotated classes."),
    ]

    def _features(self) -> datasets.Features:
        names = CLASSES if _SETS[self.config.name][0] == "fine" else list(SUPERCLASSES)
        return noisy_features(IMAGE, datasets.Image(), names)

    def _source_files(self) -> list[Path]:
        return [*super()._source_files(), *(sorted((self.folder / _FOLDER).iterdir()) if self.folder else ())]

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        kind, true_key, given_key = _SETS[self.config.name]
        if self.folder is None and given_key is not None:
            raise FileNotFoundError(self.missing(None))
        parts = []
        for split, (images, clean) in self._rows(kind).items():
            given = clean
            if self.folder is not None and split == "train" and given_key is not None:
                given = labels_of_rows(self.folder / _HUMAN_FILE, true_key, given_key, clean)
            parts.append(datasets.SplitGenerator(split, {"images": images, "given": given, "clean": clean}))
        return parts

    def _generate_examples(self, **rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        return image_rows(**rows)

    def _rows(self, kind: str) -> dict[str, ImageRows]:
        if self.folder is None:
            splits = self.hub_splits()
            return {split: hub_rows(splits[split], "img", f"{kind}_label") for split in ("train", "test")}
        return {split: read_batches([self.folder / _FOLDER / split], f"{kind}_labels") for split in ("train", "test")}
