import datasets
import numpy as np
import pytest
from PIL import Image

from hf_noisy.data import inject_noise, noise, noise_record
from hf_noisy.data.noise import row_features as features
from hf_noisy.data.noise.row_features import image_features, row_features, text_features


def images(count, size=8) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels]


def test_text_features_of_a_second_split_use_the_first_fit():
    first, second = text_features(["a red cat", "a blue dog", "red dog"], ["blue dog", "red dog"])
    assert first.shape == (3, 3)
    assert second.shape == (2, 3)
    np.testing.assert_allclose(second[1], first[2], atol=1e-12)


def test_image_features_of_a_second_split_use_the_first_fit():
    rows = images(90)
    first, second = image_features(rows, rows[:2])
    assert first.shape == (90, 64)
    np.testing.assert_allclose(second, first[:2], atol=1e-5)
    assert first.var(axis=0).argmax() == 0


def test_images_of_any_size_and_mode_have_features():
    grey, small, wide = images(1)[0].convert("L"), images(1, 3)[0], Image.new("RGBA", (40, 5), "red")
    (found,) = image_features([grey, small, wide])
    assert found.shape == (3, 3)
    assert np.isfinite(found).all()


def test_a_dataset_is_described_by_its_texts_or_images():
    pictures = datasets.Dataset.from_dict({"image": images(20), "label": [0, 1] * 10})
    pictures = pictures.cast_column("image", datasets.Image())
    np.testing.assert_allclose(row_features(pictures)[0], image_features(images(20))[0], atol=1e-5)
    texts = datasets.Dataset.from_dict({"text": ["a red cat", "a blue dog"]})
    assert [array.shape for array in row_features(texts, texts)] == [(2, 2), (2, 2)]
    noisy = inject_noise(pictures, noise.instance_dependent(0.4))
    assert noise_record(noisy)["rate_measured"] == 0.4
    with pytest.raises(ValueError, match="no column 'features', 'text' or 'image'"):
        row_features(texts.rename_column("text", "other"))


def test_images_are_decoded_one_after_another(monkeypatch):
    pictures = datasets.Dataset.from_dict({"image": images(5)}).cast_column("image", datasets.Image())
    seen = []
    monkeypatch.setattr(features, "image_features", lambda *parts: seen.extend(map(type, parts)) or [])
    row_features(pictures)
    assert seen == [datasets.arrow_dataset.Column]


def test_texts_that_tell_no_rows_apart_are_refused():
    for texts in (["one", "one"], ["", ""]):
        with pytest.raises(ValueError, match="column 'text' must hold two different words to tell rows apart; pass"):
            text_features(texts)


def test_missing_texts_are_empty_and_pairs_count_whole():
    (found,) = row_features(datasets.Dataset.from_dict({"text": ["a red cat", None, "a blue dog", ""]}))
    np.testing.assert_array_equal(found[1], found[3])
    rows = {"text": ["a cat", "a dog", "a cat"], "text_pair": ["it sits", "it runs", "it runs"]}
    (pairs,) = row_features(datasets.Dataset.from_dict(rows))
    assert np.abs(pairs[0] - pairs[2]).max() > 1e-3
