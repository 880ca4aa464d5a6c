"""Injection of label noise into a clean dataset, by the protocols of the literature.

Noise is drawn once and stored with the dataset, not redrawn each epoch. By default it is exact: `round(rate * rows)`
labels change. Every draw is keyed by seed and row.
"""

from hf_noisy.data.noise.class_map import MapNoise, PairNoise, asymmetric, cifar10_map, cifar100_map, superclass_map
from hf_noisy.data.noise.entity_noise import EntityNoise
from hf_noisy.data.noise.inject import inject_noise
from hf_noisy.data.noise.instance import InstanceDependentNoise, flip_probabilities
from hf_noisy.data.noise.kind import ClassNoise, Noise
from hf_noisy.data.noise.label_set_noise import LabelSetNoise
from hf_noisy.data.noise.list_noise import ListNoise
from hf_noisy.data.noise.matrix import TransitionNoise
from hf_noisy.data.noise.part import PartDependentNoise
from hf_noisy.data.noise.published import ReplayNoise
from hf_noisy.data.noise.symmetric_flip import SymmetricNoise

symmetric = SymmetricNoise
pair = PairNoise
transition = TransitionNoise
instance_dependent = InstanceDependentNoise
part_dependent = PartDependentNoise
replay = ReplayNoise
entities = EntityNoise
label_sets = LabelSetNoise

__all__ = [
    "ClassNoise",
    "EntityNoise",
    "InstanceDependentNoise",
    "LabelSetNoise",
    "ListNoise",
    "MapNoise",
    "Noise",
    "PairNoise",
    "PartDependentNoise",
    "ReplayNoise",
    "SymmetricNoise",
    "TransitionNoise",
    "asymmetric",
    "cifar10_map",
    "cifar100_map",
    "entities",
    "flip_probabilities",
    "inject_noise",
    "instance_dependent",
    "label_sets",
    "pair",
    "part_dependent",
    "replay",
    "superclass_map",
    "symmetric",
    "transition",
]
