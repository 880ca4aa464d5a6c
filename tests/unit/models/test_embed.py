import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pixels
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from hf_noisy.models import embed as features_module
from hf_noisy.models.embed import embed
from hf_noisy.models.feature_files import column_of

WORDS = ["[PAD]", "[UNK]", "red", "blue", "cat", "dog", "a", "the", "old", "new"]
ROOT = Path(__file__).parents[3]


def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")


def encoder(kind=BertModel):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return kind(BertConfig(vocab_size=len(WORDS), max_position_embeddings=12, **sizes))


def texts(rows=23):
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(WORDS[2:], draw.integers(1, 9))) for _ in range(rows)]


def stored(folder, rows=23):
    Dataset.from_dict({"text": texts(rows), "label": [0, 1] * (rows // 2) + [0] * (rows % 2)}).save_to_disk(folder)
    return Dataset.load_from_disk(folder)


class Images:
    """Stands for an image processor: pixels in [0, 1]."""

    def __call__(self, images, return_tensors):
        assert return_tensors == "pt"
        return {
            "pixel_values": torch.stack([torch.tensor(np.array(i) / 255).permute(2, 0, 1) for i in images]).float()
        }

    def to_json_string(self):
        return "{}"


@pytest.fixture
def pictures():
    draw = np.random.default_rng(0)
    grey = [Pixels.fromarray(draw.integers(0, 255, (16, 16), dtype=np.uint8)) for _ in range(5)]
    return Dataset.from_dict({"image": grey, "label": [0] * 5}, Features({"image": Image(), "label": Value("int64")}))


def column(dataset, name="features"):
    return np.asarray(dataset.with_format("numpy")[name][:])


def test_texts_are_the_mean_of_their_tokens(tmp_path):
    dataset, model = stored(tmp_path / "rows"), encoder()
    result = embed(dataset, model, tokenizer(), batch_tokens=20)
    assert result.column_names == ["text", "label", "features"]
    assert result["text"][:] == dataset["text"][:]
    found = column(result)
    assert (found.dtype, found.shape) == (np.float32, (23, 16))
    model.eval()
    for row in (0, 12, 22):
        ids = tokenizer()(dataset[row]["text"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = model(input_ids=ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_the_encoder_of_a_classifier_is_used_and_left_as_it_was(tmp_path):
    classifier = encoder(BertForSequenceClassification).train()
    result = column(embed(stored(tmp_path / "rows"), classifier, tokenizer()))
    np.testing.assert_array_equal(result, column(embed(stored(tmp_path / "again"), classifier.bert, tokenizer())))
    assert classifier.bert.training


def test_long_texts_are_cut(tmp_path):
    dataset = Dataset.from_dict({"text": ["red cat " * 30, "red cat " * 6]})
    found = column(embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)  # twelve tokens are what the model takes
    cut = column(embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path, max_length=2))
    assert np.abs(cut - found).max() > 1e-3


def test_bfloat16_is_near_and_stored_as_float32(tmp_path):
    dataset = stored(tmp_path / "rows")
    exact, half = (column(embed(dataset, encoder(), tokenizer(), dtype=dtype)) for dtype in ("float32", "bfloat16"))
    assert half.dtype == np.float32
    assert 0 < np.abs(exact - half).max() < 0.1


def counted(monkeypatch, stop_after=None):
    """The shapes of the inputs that the encoder gets from now on."""
    seen, compute = [], features_module._Embedder._vectors

    def count(self, inputs, device):
        if len(seen) == stop_after:
            raise KeyboardInterrupt
        seen.append(tuple(inputs["input_ids"].shape))
        return compute(self, inputs, device)

    monkeypatch.setattr(features_module._Embedder, "_vectors", count)
    return seen


def in_files(folder):
    return sorted(path.name.split("-")[2] for path in folder.glob("features-*.arrow"))


@pytest.mark.parametrize("memory", [False, True])
def test_a_second_call_reads_the_files(tmp_path, monkeypatch, memory):
    dataset = Dataset.from_dict({"text": texts()}) if memory else stored(tmp_path / "rows")
    first = embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path / "cache")
    assert len(in_files(tmp_path / "cache")) == 1
    seen = counted(monkeypatch)
    again = embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(column(first), column(again))
    assert first._fingerprint == again._fingerprint
    assert not seen


def test_rows_in_another_order_and_equal_rows_are_not_embedded_again(tmp_path, monkeypatch):
    dataset = Dataset.from_dict({"text": ["red cat", "a dog", "red cat", None, "old", ""]})
    seen = counted(monkeypatch)
    found = column(embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path, batch_tokens=2))
    assert seen == [(1, 2), (1, 2), (2, 1)]  # an empty text has one token of padding
    np.testing.assert_array_equal(found[[0, 3]], found[[2, 5]])
    seen.clear()
    other = Dataset.from_dict({"text": ["old", "a dog", "new dog", "red cat"]})
    again = column(embed(other, encoder(), tokenizer(), cache_dir=tmp_path))
    assert seen == [(1, 2)]
    np.testing.assert_array_equal(again[[0, 1, 3]], found[[4, 1, 0]])
    fresh = column(embed(other, encoder(), tokenizer(), cache_dir=tmp_path / "fresh"))
    np.testing.assert_allclose(again, fresh, atol=1e-6)


def test_batches_hold_a_number_of_tokens(tmp_path, monkeypatch):
    seen = counted(monkeypatch)
    dataset = stored(tmp_path / "rows", 200)
    embed(dataset, encoder(), tokenizer(), batch_tokens=24)
    assert sum(rows for rows, _ in seen) == len(set(texts(200)))
    assert all(rows * longest <= 24 for rows, longest in seen)
    longest = [longest for _, longest in seen]
    assert longest == sorted(longest, reverse=True)
    padded = sum(rows * longest for rows, longest in seen)
    assert padded <= 1.1 * sum(len(text.split()) for text in set(texts(200)))
    seen.clear()
    embed(dataset, encoder(), tokenizer(), batch_tokens=1, cache_dir=tmp_path / "one")
    assert {rows for rows, _ in seen} == {1}


def test_other_weights_or_arguments_are_other_files(tmp_path):
    dataset, model = stored(tmp_path / "rows"), encoder()
    embed(dataset, model, tokenizer())
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[4] += 1
    before = len(list((tmp_path / "rows").glob("features-*")))
    embed(dataset, model, tokenizer())
    embed(dataset, model, tokenizer(), max_length=3)
    embed(dataset, model, tokenizer(), pooling="first")
    embed(dataset, model, tokenizer(), dtype="bfloat16")
    assert [before, len(list((tmp_path / "rows").glob("features-*")))] == [1, 5]


def test_an_interrupted_call_resumes_where_it_was(tmp_path, monkeypatch):
    dataset = stored(tmp_path / "rows")
    monkeypatch.setattr(features_module, "_ROWS_A_FILE", 8)
    seen = counted(monkeypatch, stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        embed(dataset, encoder(), tokenizer(), batch_tokens=30)
    written = sum(len(column_of(path, "x")) for path in (tmp_path / "rows").glob("features-*-part-*.arrow"))
    assert 8 <= written < len(set(texts()))
    monkeypatch.undo()
    seen = counted(monkeypatch)
    found = column(embed(dataset, encoder(), tokenizer()))
    assert sum(rows for rows, _ in seen) == len(set(texts())) - written
    assert len(list((tmp_path / "rows").glob("features-*"))) == 1  # the parts are gone
    alone = column(embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path / "alone"))
    np.testing.assert_allclose(found, alone, atol=1e-6)


def test_a_damaged_file_is_written_again(tmp_path):
    dataset = stored(tmp_path / "rows")
    found = column(embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path / "cache"))
    (file,) = (tmp_path / "cache").glob("features-*")
    part = file.with_name(file.name.replace("-", "-part-", 2).replace("-part-", "-", 1))
    part.write_bytes(file.read_bytes()[:100])
    file.unlink()
    np.testing.assert_array_equal(column(embed(dataset, encoder(), tokenizer(), cache_dir=tmp_path / "cache")), found)


def test_selected_rows_and_the_format_are_kept(tmp_path):
    dataset = stored(tmp_path / "rows")
    chosen = embed(dataset.select([7, 3, 11]).with_format("numpy"), encoder(), tokenizer())
    assert chosen.format["type"] == "numpy"
    np.testing.assert_allclose(
        chosen["features"][:], column(embed(dataset, encoder(), tokenizer()))[[7, 3, 11]], atol=1e-6
    )


def test_images_take_what_the_model_pools(pictures, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vit = ViTModel(ViTConfig(**sizes, image_size=16, patch_size=8), add_pooling_layer=False).eval()
    resnet = ResNetModel(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ).eval()
    pixels = Images()([image.convert("RGB") for image in pictures["image"]], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        first, pooled = vit(pixels).last_hidden_state[:, 0], resnet(pixels).pooler_output.flatten(1)
    np.testing.assert_allclose(column(embed(pictures, vit, Images(), cache_dir=tmp_path)), first, atol=1e-5)
    np.testing.assert_allclose(column(embed(pictures, resnet, Images(), cache_dir=tmp_path)), pooled, atol=1e-5)
    mean = column(embed(pictures, resnet, Images(), cache_dir=tmp_path, pooling="mean"))
    np.testing.assert_allclose(mean, pooled, atol=1e-5)
    with pytest.raises(ValueError, match="pooling='pooler' needs a model with a pooler_output"):
        embed(pictures, vit, Images(), cache_dir=tmp_path, pooling="pooler")


def test_bad_input_is_refused(tmp_path):
    dataset = stored(tmp_path / "rows")
    with pytest.raises(ValueError, match="column 'body' is not in the dataset, which has"):
        embed(dataset, encoder(), tokenizer(), column="body")
    with pytest.raises(ValueError, match="has a column 'label' already"):
        embed(dataset, encoder(), tokenizer(), output_column="label")
    with pytest.raises(ValueError, match="no rows to embed"):
        embed(dataset.select([]), encoder(), tokenizer())
    assert not list((tmp_path / "rows").glob("features-*"))


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend")
def test_two_processes_give_what_one_gives(tmp_path):
    stored(tmp_path / "two"), encoder().save_pretrained(tmp_path / "model")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "-m", "tests.unit.models.test_embed"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*launcher, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:].decode()
    alone = column(embed(stored(tmp_path / "one"), encoder(), tokenizer(), batch_tokens=12))
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), alone)
    rows = [np.load(tmp_path / f"{rank}-rows.npy").sum() for rank in range(2)]
    assert sum(rows) == len(set(texts()))
    assert min(rows) > 5


def main(folder: Path) -> None:
    from accelerate import PartialState

    rows, compute = [], features_module._Embedder._vectors
    features_module._Embedder._vectors = lambda self, given, device: (
        rows.append(len(given["input_ids"])) or compute(self, given, device)
    )
    dataset = Dataset.load_from_disk(folder / "two")
    found = column(embed(dataset, AutoModel.from_pretrained(folder / "model"), tokenizer(), batch_tokens=12))
    rank = PartialState().process_index
    np.save(folder / f"{rank}.npy", found)
    np.save(folder / f"{rank}-rows.npy", rows)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def test_the_cache_is_known_by_the_content_of_the_rows(tmp_path):
    first = Dataset.from_dict({"text": ["red cat", "a dog", "blue dog", "new cat"]})
    second = Dataset.from_dict({"text": ["red cat", "a dog", "old dog", "new cat"]})
    second._fingerprint = first._fingerprint  # as of a file that was written again within the same second
    before = column(embed(first, encoder(), tokenizer(), cache_dir=tmp_path))
    after = column(embed(second, encoder(), tokenizer(), cache_dir=tmp_path))
    np.testing.assert_array_equal(before[[0, 1, 3]], after[[0, 1, 3]])
    assert np.abs(before[2] - after[2]).max() > 1e-3
    assert len(list(tmp_path.glob("features-*.arrow"))) == 2
    copy = Dataset.from_dict({"text": first["text"][:], "label": [0, 1, 0, 1]})
    embed(copy, encoder(), tokenizer(), cache_dir=tmp_path)
    assert len(list(tmp_path.glob("features-*.arrow"))) == 2


def test_the_cache_knows_the_content_of_image_files(tmp_path):
    torch.manual_seed(0)
    model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
    found = []
    for grey in (10, 200):
        Pixels.new("RGB", (16, 16), (grey, grey, 0)).save(tmp_path / "one.png")
        rows = Dataset.from_dict({"image": [str(tmp_path / "one.png")]}, Features({"image": Image()}))
        rows._fingerprint = "same"
        found.append(column(embed(rows, model, Images(), cache_dir=tmp_path / "cache")))
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_sentence_pairs(tmp_path):
    rows = {"text": ["red cat", "a dog", None], "text_pair": ["a cat", "a dog", "old dog"], "label": [0, 1, 0]}
    dataset, options = Dataset.from_dict(rows), {"cache_dir": tmp_path}
    found = column(embed(dataset, encoder(), tokenizer(), **options))
    first, second = (
        column(embed(dataset, encoder(), tokenizer(), column=c, **options)) for c in ("text", "text_pair")
    )
    np.testing.assert_allclose(found, np.concatenate([first, second, np.abs(first - second)], axis=1), atol=1e-6)
    np.testing.assert_array_equal(found[1, 32:], 0)
    named = dataset.rename_columns({"text": "premise", "text_pair": "hypothesis"})
    again = embed(named, encoder(), tokenizer(), column=("premise", "hypothesis"), **options)
    np.testing.assert_array_equal(column(again), found)
    classifier = encoder(BertForSequenceClassification).eval()
    together = column(embed(dataset, classifier, tokenizer(), **options))
    with torch.no_grad():
        hidden = classifier.bert(**tokenizer()("red cat", "a cat", return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(together[0], hidden[0].mean(0), atol=1e-5)


def test_an_empty_cell_is_an_empty_text():
    rows = {"text": ["red cat", None, "", "a dog"]}
    found = embed(Dataset.from_dict(rows), encoder(), tokenizer())["features"][:]
    assert found[1] == found[2]
    assert found[0] != found[1]


def test_a_missing_image_is_refused(tmp_path):
    images = Dataset.from_dict({"image": [None, None]}, features=Features({"image": Image()}))
    model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1]))
    with pytest.raises(ValueError, match="column 'image' lacks the image of 2 rows; drop those rows first"):
        embed(images, model, lambda images, **_: images, cache_dir=tmp_path)
