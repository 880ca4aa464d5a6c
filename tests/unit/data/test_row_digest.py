import numpy as np
import pytest
from datasets import Dataset, Image, load_dataset
from PIL import Image as pil

from hf_noisy.data.row_digest import row_digests

VECTORS = np.random.default_rng(0).normal(size=(4, 3))


def pictures(folder, count=3):
    paths = [str(folder / f"{number}.png") for number in range(count)]
    for number, path in enumerate(paths):
        pil.fromarray(np.full((4, 4, 3), 40 * number, np.uint8)).save(path)
    return paths


def test_only_the_content_counts():
    texts = Dataset.from_dict({"text": ["a", "b", "é\n,"], "label": [0, 1, 1]})
    digests = row_digests(texts)
    assert len(set(digests)) == 3
    assert all(len(digest) == 16 and int(digest, 16) >= 0 and digest[0].isalpha() for digest in digests)
    assert row_digests(texts.select([2, 0])) == [digests[2], digests[0]]
    assert row_digests(texts.remove_columns("label").add_column("features", [[1.0]] * 3)) == digests
    assert row_digests(texts.with_transform(lambda rows: {"label": rows["label"]})) == digests


def test_a_csv_keeps_the_digests(tmp_path):
    texts = Dataset.from_dict({"text": ["a", 'b "c"\nd', "é, f"], "label": [0, 1, 1]})
    texts.to_csv(tmp_path / "rows.csv")
    read = load_dataset("csv", data_files=str(tmp_path / "rows.csv"), cache_dir=str(tmp_path))["train"]
    assert row_digests(read) == row_digests(texts)


def test_images_are_known_by_their_file(tmp_path):
    by_path = Dataset.from_dict({"image": pictures(tmp_path)}).cast_column("image", Image())
    digests = row_digests(by_path)
    assert len(set(digests)) == 3
    by_path.to_parquet(tmp_path / "rows.parquet")  # holds the bytes
    stored = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path))
    assert row_digests(stored) == digests
    in_memory = Dataset.from_dict({"image": [pil.open(path) for path in pictures(tmp_path)]}).cast_column(
        "image", Image()
    )
    assert len(set(row_digests(in_memory))) == 3


def test_text_and_image_count_together(tmp_path):
    path = pictures(tmp_path, 1)[0]
    both = Dataset.from_dict({"image": [path, path], "text": ["a", "b"]}).cast_column("image", Image())
    assert len(set(row_digests(both))) == 2


def test_a_missing_image_is_refused(tmp_path):
    lost = Dataset.from_dict({"image": [str(tmp_path / "lost.png")]}).cast_column("image", Image())
    with pytest.raises(OSError, match=r"lost\.png"):
        row_digests(lost)


def test_features_are_used_where_there_is_nothing_else():
    vectors = Dataset.from_dict({"features": VECTORS.tolist()})
    digests = row_digests(vectors)
    assert len(set(digests)) == 4
    assert row_digests(Dataset.from_dict({"features": VECTORS.astype(np.float32)})) == digests


def test_other_data_is_refused():
    with pytest.raises(TypeError, match="got list"):
        row_digests([{"text": "a"}])
    with pytest.raises(ValueError, match="column 'text', 'image' or 'features', but the data has sentence"):
        row_digests(Dataset.from_dict({"sentence": ["a"]}))
