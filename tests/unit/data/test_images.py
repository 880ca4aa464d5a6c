import pickle

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from transformers import default_data_collator

from hf_noisy.data import IndexedDataset
from hf_noisy.data.images import Cutout, ImageViews, augmix, eval_transform, nrd_student, standard_transform

ROWS, SIZE = 12, 16
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
PIXELS = np.random.default_rng(0).integers(0, 256, (ROWS, SIZE, SIZE, 3), dtype=np.uint8)
PRESETS = {
    "standard": standard_transform(SIZE, MEAN, STD),
    "nrd_student": nrd_student(SIZE, MEAN, STD),
    "augmix": augmix(SIZE, MEAN, STD),
}
every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())


def rows(images=None, **columns) -> datasets.Dataset:
    images = [Image.fromarray(image) for image in PIXELS] if images is None else images
    columns = {"label": [row % 3 for row in range(len(images))]} | columns
    return datasets.Dataset.from_dict({"image": images, **columns}).cast_column("image", datasets.Image())


def stack(views, key="pixel_values") -> torch.Tensor:
    return torch.stack([row[key] for row in views])


def all_of(views, key="pixel_values") -> torch.Tensor:
    return stack(views.__getitems__(range(len(views))), key)


@every_preset
def test_a_view_depends_on_seed_epoch_row_and_view_alone(preset):
    views = ImageViews(rows(), preset, preset, seed=4)
    first, second = all_of(views), all_of(views, "second_view_pixel_values")
    order = [7, 2, 2, 11, 0]
    assert torch.equal(stack(views.__getitems__(order)), first[order])
    torch.manual_seed(99)
    assert all(torch.equal(views[row]["pixel_values"], first[row]) for row in (0, 5, -1))
    assert not torch.equal(first, second)
    views.set_epoch(3)
    later = all_of(views)
    assert not torch.equal(later, first)
    again = ImageViews(rows(), preset, seed=4)
    again.set_epoch(3)
    assert torch.equal(all_of(again), later)
    assert not torch.equal(all_of(ImageViews(rows(), preset, seed=5)), first)


@every_preset
def test_rows_of_one_image_are_drawn_apart(preset):
    same = ImageViews(rows([Image.fromarray(PIXELS[0])] * 8), preset)
    assert len({view.numpy().tobytes() for view in all_of(same)}) > 4


def test_the_random_state_is_left_as_it_was():
    views = ImageViews(rows(), PRESETS["augmix"], PRESETS["nrd_student"])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    views.__getitems__([0, 1])
    assert torch.equal(torch.get_rng_state(), state)
    views._transforms["pixel_values"] = _raise
    with pytest.raises(RuntimeError, match="broken"):
        views[0]
    assert torch.equal(torch.get_rng_state(), state)


def _raise(image):
    torch.rand(1)
    raise RuntimeError("broken")


def numbered(rows):
    return [position for position, _ in rows], default_data_collator([row for _, row in rows])


def test_workers_that_live_on_see_the_next_epoch():
    views = ImageViews(rows(), PRESETS["nrd_student"], PRESETS["standard"])
    keys = ["pixel_values", "second_view_pixel_values", "labels"]
    loader = DataLoader(IndexedDataset(views), 5, collate_fn=numbered, num_workers=2, persistent_workers=True)
    expected = ImageViews(rows(), PRESETS["nrd_student"], PRESETS["standard"])
    for epoch in (0, 1, 5):
        views.set_epoch(epoch)
        expected.set_epoch(epoch)
        batches = list(loader)
        assert [row for rows, _ in batches for row in rows] == list(range(ROWS))
        assert sorted(batches[0][1]) == sorted(keys)
        found = {key: torch.cat([batch[key] for _, batch in batches]) for key in keys}
        assert torch.equal(found["pixel_values"], all_of(expected))
        assert torch.equal(found["second_view_pixel_values"], all_of(expected, "second_view_pixel_values"))
        assert found["labels"].tolist() == [row % 3 for row in range(ROWS)]


def test_a_pickled_dataset_gives_the_same_views():
    views = ImageViews(rows(), PRESETS["nrd_student"], PRESETS["augmix"], seed=2)
    views.set_epoch(1)
    copy = pickle.loads(pickle.dumps(views))
    assert torch.equal(all_of(copy), all_of(views))
    assert copy.labels.tolist() == views.labels.tolist()


@pytest.mark.parametrize("preset", [None, PRESETS["standard"]])
def test_a_cache_changes_nothing(preset, monkeypatch):
    cached, read = (ImageViews(rows(), preset, cache=cache) for cache in (True, False))
    assert cached._pixels is not None
    assert read._pixels is None
    assert torch.equal(all_of(cached), all_of(read))
    assert ImageViews(rows())._pixels is not None
    monkeypatch.setattr("hf_noisy.data.images._CACHE_BYTES", PIXELS.nbytes - 1)
    assert ImageViews(rows())._pixels is None
    assert ImageViews(rows(), cache=True)._pixels is not None


@pytest.mark.parametrize("cache", [True, False])
def test_a_transform_may_write_into_its_image(cache):
    views = ImageViews(rows(), lambda image: image.zero_(), cache=cache)
    assert (views[3]["pixel_values"] == 0).all()
    views._transforms["pixel_values"] = torch.clone
    assert (views[3]["pixel_values"].permute(1, 2, 0).numpy() == PIXELS[3]).all()


def test_images_of_two_sizes_are_read_when_needed():
    images = [Image.new("RGB", (8, 6)), Image.new("RGB", (6, 8))]
    views = ImageViews(rows(images), eval_transform(4, MEAN, STD))
    assert views._pixels is None
    assert all_of(views).shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"cache=True needs images of one size, got \(6, 8\) and \(8, 6\) in row 1"):
        ImageViews(rows(images), cache=True)


def test_every_kind_of_image_has_three_channels():
    images = [Image.fromarray(PIXELS[0]).convert(mode) for mode in ("L", "RGBA", "P", "1")]
    views = all_of(ImageViews(rows(images)))
    assert views.shape == (4, 3, SIZE, SIZE)
    assert torch.equal(views[0, 0], views[0, 2])
    torch.testing.assert_close(views[1], torch.from_numpy(PIXELS[0]).permute(2, 0, 1) / 255)
    assert (views >= 0).all()
    assert (views <= 1).all()


def test_labels_are_those_of_the_dataset():
    assert ImageViews(rows()).labels.tolist() == [row % 3 for row in range(ROWS)]
    assert ImageViews(rows())[4]["label"] == 1
    assert type(ImageViews(rows())[4]["label"]) is int
    soft = rows(label=[[0.25, 0.75]] * ROWS)
    assert default_data_collator([ImageViews(soft)[0]])["labels"].tolist() == [[0.25, 0.75]]
    unlabelled = ImageViews(rows().remove_columns("label"))
    assert unlabelled.labels is None
    assert list(unlabelled[0]) == ["pixel_values"]
    assert ImageViews(rows().rename_column("label", "labels"))[4]["label"] == 1


def test_a_format_of_the_dataset_is_passed_over():
    lazy = rows().with_transform(lambda batch: {"other": batch["label"]})
    assert torch.equal(all_of(ImageViews(lazy)), all_of(ImageViews(rows())))
    selected = rows().select([5, 1])
    assert torch.equal(all_of(ImageViews(selected)), all_of(ImageViews(rows()))[[5, 1]])
    assert len(ImageViews(rows().select([]))) == 0


def test_evaluation_normalises_and_resizes():
    expected = (torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(
        STD
    )[:, None, None]
    torch.testing.assert_close(all_of(ImageViews(rows(), eval_transform(SIZE, MEAN, STD))), expected)
    assert all_of(ImageViews(rows(), eval_transform(5, MEAN, STD))).shape == (ROWS, 3, 5, 5)


def test_the_standard_view_is_a_crop_of_the_padded_image():
    plain = eval_transform(SIZE, MEAN, STD)
    padded = v2.functional.pad(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), 1)
    padded = torch.stack([padded, padded.flip(-1)])
    shifts = [(top, left) for top in range(3) for left in range(3)]
    crops = [padded[..., top : top + SIZE, left : left + SIZE] for top, left in shifts]
    crops = torch.stack([plain(crop) for crop in crops])  # [shift, direction, row, ...]
    views = ImageViews(rows(), standard_transform(SIZE, MEAN, STD, padding=1))
    found = set()
    for epoch in range(12):
        views.set_epoch(epoch)
        same = (crops - all_of(views)).abs().amax((-3, -2, -1)) < 1e-6
        assert (same.sum((0, 1)) == 1).all()
        found |= {(shifts[shift], direction) for shift, direction, _ in same.nonzero().tolist()}
    assert len(found) == 18  # every shift in both directions


def test_digits_are_not_mirrored():
    kept = ImageViews(rows(), standard_transform(SIZE, MEAN, STD, padding=0, flip=0.0))
    assert torch.equal(all_of(kept), all_of(ImageViews(rows(), eval_transform(SIZE, MEAN, STD))))


def test_cutout_is_a_square_around_any_pixel():
    cut = Cutout(5)
    torch.manual_seed(0)
    masks = torch.stack([cut(torch.ones(3, 8, 10)) == 0 for _ in range(600)])
    assert (masks == masks[:, :1]).all()
    heights, widths = masks[:, 0].any(2).sum(1), masks[:, 0].any(1).sum(1)
    assert (masks[:, 0].sum((1, 2)) == heights * widths).all()
    assert set(heights.tolist()) == set(widths.tolist()) == {3, 4, 5}
    centre_share = 5 * 5 / 80  # a pixel off the border is hidden by as many centres as the square has pixels
    assert masks[:, 0, 3:5, 3:7].float().mean().item() == pytest.approx(centre_share, abs=0.05)
    image = torch.ones(3, 8, 8)
    cut(image)
    assert (image == 1).all()
    with pytest.raises(ValueError, match="length must be at least 1 pixel, got 0"):
        Cutout(0)


def test_the_student_of_nrd_is_cut_after_it_is_normalised():
    steps = PRESETS["nrd_student"].transforms
    names = ["_Resize", "RandAugment", "RandomCrop", "RandomHorizontalFlip", "_Standardise", "Cutout"]
    assert [type(step).__name__ for step in steps] == names
    assert (steps[1].num_ops, steps[1].magnitude, steps[1].num_magnitude_bins) == (1, 3, 31)
    white = ImageViews(rows([Image.new("RGB", (SIZE, SIZE), "white")] * ROWS), PRESETS["nrd_student"])
    zeros = (all_of(white) == 0).all(1).sum((1, 2))
    # Normalised white and black are not zero: what is, is the square.
    assert ((zeros >= 9) & (zeros <= 25)).all()


def test_augmix_mixes_the_image_with_changes_of_itself():
    plain = all_of(ImageViews(rows(), eval_transform(SIZE, MEAN, STD)))
    mixed = all_of(ImageViews(rows(), PRESETS["augmix"]))
    assert not torch.allclose(mixed, plain)
    similarity = torch.corrcoef(torch.stack([mixed.flatten(), plain.flatten()]))[0, 1]
    assert similarity > 0.5
    step = PRESETS["augmix"].transforms[1]
    assert (step.severity, step.mixture_width, step.chain_depth, step.alpha) == (3, 3, -1, 1.0)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: ImageViews([{"image": 1}]), TypeError, "dataset must be a datasets.Dataset, got list"),
        (lambda: ImageViews(rows(), image_column="img"), ValueError, r"image_column must be one of .*\['image'\]"),
        (lambda: ImageViews(rows(), image_column="label"), ValueError, "got 'label'"),
        (lambda: ImageViews(rows())[ROWS], IndexError, "range"),
        (lambda: eval_transform(0, MEAN, STD), ValueError, "size must be at least 1 pixel, got 0"),
        (lambda: augmix(8, (0.5,), STD), ValueError, r"mean must be three numbers.*got \(0.5,\)"),
        (lambda: nrd_student(8, MEAN, (1.0, 1.0)), ValueError, "std must be three numbers"),
    ],
)
def test_what_cannot_be_viewed_is_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_the_weights_of_a_purification_come_along():
    weights = np.linspace(0, 1, len(rows()), dtype=np.float32)
    weighted = rows().add_column("label_weight", weights)
    assert [row["label_weight"] for row in ImageViews(weighted)] == weights.tolist()
    assert "label_weight" not in ImageViews(rows())[0]
