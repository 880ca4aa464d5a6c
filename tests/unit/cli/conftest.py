import numpy as np
import pytest
from datasets import ClassLabel, Dataset

CLASSES = ["cat", "dog", "bird"]


def noisy_rows(count: int = 240, rate: float = 0.2) -> Dataset:
    """Rows with vectors that tell the classes apart, so that no encoder is needed."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, count)
    given = np.where(draw.random(count) < rate, (true + 1) % 3, true)
    texts = [f"<b>row</b> {row}" for row in range(count)]
    features = (np.eye(3)[true] * 4 + draw.normal(size=(count, 3))).astype(np.float32)
    rows = Dataset.from_dict({"text": texts, "label": given, "clean_label": true, "features": features})
    names = ClassLabel(names=CLASSES)
    return rows.cast_column("label", names).cast_column("clean_label", names)


@pytest.fixture
def parquet(tmp_path) -> str:
    noisy_rows().to_parquet(tmp_path / "animals.parquet")
    return str(tmp_path / "animals.parquet")
