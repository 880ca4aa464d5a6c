import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast, default_data_collator

from hf_noisy.core.rng import uniforms
from hf_noisy.data.indexed import IndexedDataset, IndexedRow
from hf_noisy.data.views import ShiftAndFlip, TokenDropout, TwoViews, View, default_view

MASK = 4


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "[MASK]": MASK}
    words |= {f"w{number}": number for number in range(5, 50)}
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, unk_token="[UNK]")), **names)


def text_rows(count: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of different lengths, `[CLS] ... [SEP]`."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in rng.integers(0, 3, count):
        ids = [1, *rng.integers(5, 50, rng.integers(3, 9)).tolist(), 2]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "label": int(label)})
    return rows


def image_rows(count: int = 6) -> list[dict[str, Any]]:
    pixels = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return [{"pixel_values": image, "label": number % 3} for number, image in enumerate(pixels)]


def indexed(rows: list[dict[str, Any]]) -> list[IndexedRow]:
    return [IndexedRow(number, row) for number, row in enumerate(rows)]


def draw(view: View, row: dict[str, Any], index: int = 0, epoch: int = 0) -> dict[str, Any]:
    numbers = uniforms(0, stream="second_view", index=np.array([index]), size=view.size(row), epoch=epoch)
    return view(row, numbers[0])


def hidden(row: dict[str, Any], view: dict[str, Any]) -> list[int]:
    name, lost = ("attention_mask", 0) if "attention_mask" in view else ("input_ids", MASK)
    return [place for place, value in enumerate(view[name]) if value == lost and row[name][place] != lost]


@pytest.mark.parametrize("mode", ["drop", "mask"])
def test_tokens_are_hidden_at_the_rate(mode: str) -> None:
    view = TokenDropout(0.2, mode, mask_token_id=MASK if mode == "mask" else None)
    row = {"input_ids": [1, *[7] * 100, 2], "attention_mask": [1] * 102}
    counts = [len(hidden(row, draw(view, row, index))) for index in range(100)]
    assert 0.18 < sum(counts) / (100 * 100) < 0.22
    assert len(set(counts)) > 1


@pytest.mark.parametrize("mode", ["drop", "mask"])
@pytest.mark.parametrize("known", ["mask", "ids", "neither"])
def test_special_tokens_and_padding_are_left_alone(mode: str, known: str) -> None:
    ids = [1, 7, 2, 8, 9, 2, 0, 0] if known != "neither" else [6, 7, 5, 8, 9, 6, 0, 0]
    row: dict[str, Any] = {"input_ids": ids, "attention_mask": [1, 1, 1, 1, 1, 1, 0, 0]}
    if known == "mask":
        row["special_tokens_mask"] = [1, 0, 1, 0, 0, 1, 0, 0]
    mask_token_id = MASK if mode == "mask" else None
    view = TokenDropout(0.9, mode, special_ids=[0, 1, 2] if known == "ids" else [], mask_token_id=mask_token_id)
    inside = {1, 3, 4} if known != "neither" else {1, 2, 3, 4}
    seen: set[int] = set()
    for index in range(200):
        places = hidden(row, draw(view, row, index))
        assert len(places) < len(inside)  # one is always kept
        seen |= set(places)
    assert seen == inside


def test_padding_on_the_left_is_no_first_token() -> None:
    row = {"input_ids": [0, 0, 7, 8, 9], "attention_mask": [0, 0, 1, 1, 1]}
    places = {place for index in range(50) for place in hidden(row, draw(TokenDropout(0.9), row, index))}
    assert places == set()  # the only token between the first and the last is kept
    row = {"input_ids": [0, 7, 8, 9, 9], "attention_mask": [0, 1, 1, 1, 1]}
    places = {place for index in range(50) for place in hidden(row, draw(TokenDropout(0.9), row, index))}
    assert places == {2, 3}


@pytest.mark.parametrize("ids", [[], [1], [1, 2]])
def test_a_row_of_special_tokens_alone_stays_as_it_is(ids: list[int]) -> None:
    row = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    assert TokenDropout(0.9)(row, np.full(len(ids), 0.01)) == {"attention_mask": row["attention_mask"]}


def test_token_view_is_of_the_kind_that_the_row_is() -> None:
    row = text_rows(1)[0]
    plain = draw(TokenDropout(0.5), row)["attention_mask"]
    tensors = {name: torch.tensor(value, dtype=torch.int32) for name, value in row.items()}
    arrays = {name: np.array(value, dtype=np.int16) for name, value in row.items()}
    as_tensor = draw(TokenDropout(0.5), tensors)["attention_mask"]
    as_array = draw(TokenDropout(0.5), arrays)["attention_mask"]
    assert isinstance(plain, list)
    assert as_tensor.dtype == torch.int32
    assert as_array.dtype == np.int16
    assert plain == as_tensor.tolist() == as_array.tolist()
    assert 0 in plain


def test_several_sequences_in_a_row_are_refused() -> None:
    row = {"input_ids": [[1, 2], [3, 4]], "attention_mask": [[1, 1], [1, 1]]}
    with pytest.raises(ValueError, match=r"input_ids of a row must be one sequence, got shape \(2, 2\)"):
        TokenDropout()(row, np.array([0.5, 0.5]))


def test_shift_and_flip_are_those_of_padding_and_cropping() -> None:
    view, row = ShiftAndFlip(shift=0.125), image_rows(1)[0]
    most = 2
    padded = torch.nn.functional.pad(row["pixel_values"][None], [most] * 4, mode="reflect")[0]
    crops = {}
    for down in range(2 * most + 1):
        for right in range(2 * most + 1):
            crop = padded[:, down : down + 16, right : right + 16]
            crops[down, right, False], crops[down, right, True] = crop, crop.flip(-1)
    found = set()
    for index in range(400):
        pixels = draw(view, row, index)["pixel_values"]
        found |= {key for key, crop in crops.items() if torch.equal(crop, pixels)}
    assert found == crops.keys()


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 40)])
def test_any_size_of_image_can_be_viewed(size: tuple[int, int]) -> None:
    for index in range(20):
        pixels = draw(ShiftAndFlip(shift=0.9), {"pixel_values": torch.rand(3, *size)}, index)["pixel_values"]
        assert pixels.shape == (3, *size)


def test_image_view_is_of_the_kind_that_the_row_is() -> None:
    tensor = image_rows(1)[0]["pixel_values"]
    expected = draw(ShiftAndFlip(), {"pixel_values": tensor}, 3)["pixel_values"]
    assert not torch.equal(expected, tensor)
    array = draw(ShiftAndFlip(), {"pixel_values": tensor.numpy()}, 3)["pixel_values"]
    plain = draw(ShiftAndFlip(), {"pixel_values": tensor.tolist()}, 3)["pixel_values"]
    assert isinstance(array, np.ndarray)
    assert isinstance(plain, list)
    assert torch.equal(torch.tensor(array), expected)
    assert torch.equal(torch.tensor(plain), expected)


def test_batches_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pixel_values of a row must be \[channels, height, width\]"):
        ShiftAndFlip()({"pixel_values": torch.zeros(1, 3, 4, 4)}, np.full(3, 0.5))


def test_two_views_of_text_are_padded_together(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = indexed(text_rows())
    padding = DataCollatorWithPadding(tokenizer)
    batch = TwoViews(padding, TokenDropout(0.3))(rows)
    alone = padding(text_rows())
    assert batch.keys() == set(alone) | {"second_view_input_ids", "second_view_attention_mask"}
    assert all(torch.equal(batch[name], alone[name]) for name in alone)
    assert batch["second_view_input_ids"].shape == batch["input_ids"].shape
    assert (batch["second_view_attention_mask"] <= batch["attention_mask"]).all()
    assert not torch.equal(batch["second_view_attention_mask"], batch["attention_mask"])


def test_two_views_of_images() -> None:
    rows = indexed(image_rows())
    batch = TwoViews(default_data_collator, ShiftAndFlip())(rows)
    assert set(batch) == {"pixel_values", "labels", "second_view_pixel_values"}
    assert torch.equal(batch["pixel_values"], torch.stack([row["pixel_values"] for _, row in rows]))
    assert batch["second_view_pixel_values"].shape == (6, 3, 16, 16)


def test_a_view_belongs_to_the_row_the_epoch_and_the_seed(tokenizer: PreTrainedTokenizerFast) -> None:
    rows, view = indexed(text_rows()), TokenDropout(0.3)
    collate = TwoViews(DataCollatorWithPadding(tokenizer), view)

    def views(collate: TwoViews, rows: list[IndexedRow]) -> dict[int, list[int]]:
        batch = collate(rows)
        masks = batch["second_view_attention_mask"].tolist()
        lengths = [len(row["input_ids"]) for _, row in rows]
        return {place: mask[:length] for (place, _), mask, length in zip(rows, masks, lengths, strict=True)}

    whole = views(collate, rows)
    parts: dict[int, list[int]] = {}
    for start in range(0, 12, 3):
        parts |= views(collate, rows[::-1][start : start + 3])
    assert parts == whole
    collate.set_epoch(1)
    assert views(collate, rows) != whole
    collate.set_epoch(0)
    assert views(collate, rows) == whole
    assert views(TwoViews(collate.collator, view, seed=1), rows) != whole


def batches(loader: DataLoader[Any], collate: TwoViews, epochs: int = 3) -> list[dict[str, Any]]:
    found = []
    for epoch in range(epochs):
        collate.set_epoch(epoch)
        found += list(loader)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"num_workers": 2},
        {"num_workers": 2, "persistent_workers": True},
        pytest.param(
            {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "spawn"}, marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_workers_give_the_same_batches(settings: dict[str, Any]) -> None:
    def run(**settings: Any) -> list[dict[str, Any]]:
        collate = TwoViews(default_data_collator, ShiftAndFlip())
        return batches(DataLoader(IndexedDataset(image_rows()), batch_size=2, collate_fn=collate, **settings), collate)

    expected, found = run(), run(**settings)
    assert len(expected) == len(found) == 9
    for one, two in zip(expected, found, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    name = "second_view_pixel_values"
    assert not torch.equal(expected[0][name], expected[3][name])


def test_collator_can_be_pickled() -> None:
    collate = TwoViews(default_data_collator, ShiftAndFlip(), seed=3)
    collate.set_epoch(2)
    rows = indexed(image_rows())
    again = pickle.loads(pickle.dumps(collate))(rows)
    assert torch.equal(again["second_view_pixel_values"], collate(rows)["second_view_pixel_values"])


def test_rows_with_a_second_view_are_left_alone() -> None:
    rows = [row | {"second_view_pixel_values": -row["pixel_values"]} for row in image_rows()]
    assert default_view(rows[0]) is None
    batch = TwoViews(default_data_collator, default_view(rows[0]))(indexed(rows))
    assert torch.equal(batch["second_view_pixel_values"], -batch["pixel_values"])
    assert set(batch) == {"pixel_values", "labels", "second_view_pixel_values"}


def test_what_cannot_be_collated_is_refused() -> None:
    rows = indexed(image_rows())
    with pytest.raises(ValueError, match="rows have no attention_mask, only"):
        TwoViews(default_data_collator, TokenDropout())(indexed([{"input_ids": [1]}]))
    with pytest.raises(TypeError, match="rows must be mappings from column to value for a second view, got tuple"):
        TwoViews(default_data_collator, ShiftAndFlip())([IndexedRow(0, (1, 2))])
    with pytest.raises(ValueError, match="rows have no second view of their own"):
        TwoViews(default_data_collator, None)(rows)
    with pytest.raises(ValueError, match="the data collator must give total one entry per row"):
        TwoViews(lambda rows: {"total": torch.tensor([len(rows)])}, ShiftAndFlip())(rows)


def test_default_view_fits_the_row(tokenizer: PreTrainedTokenizerFast) -> None:
    assert isinstance(default_view(image_rows(1)[0]), ShiftAndFlip)
    row = text_rows(1)[0]
    view = default_view(row, tokenizer)
    assert isinstance(view, TokenDropout)
    assert set(view.special_ids.tolist()) == set(tokenizer.all_special_ids)
    unknown = default_view(row)
    assert isinstance(unknown, TokenDropout)
    assert unknown.special_ids.size == 0
    assert isinstance(unknown, View)


@pytest.mark.parametrize("row", [{}, {"input_ids": [1, 2]}, {"pixel_values": torch.zeros(2, 2), "label": 1}], ids=str)
def test_a_row_that_no_view_fits_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no second view is known for rows with .*; give rows of one image"):
        default_view(row)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenDropout(0.0), r"rate must be in \(0, 1\), got 0.0"),
        (lambda: TokenDropout(float("nan")), r"rate must be in \(0, 1\)"),
        (lambda: TokenDropout(mode="mask"), "mask_token_id must be given for mode 'mask' and only there, got None"),
        (lambda: TokenDropout(mask_token_id=4), "mask_token_id must be given for mode 'mask' and only there, got 4"),
        (lambda: ShiftAndFlip(shift=1.0), r"shift must be a share of the image in \[0, 1\), got 1.0"),
        (lambda: ShiftAndFlip(flip=-0.5), r"flip must be a probability in \[0, 1\], got -0.5"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
