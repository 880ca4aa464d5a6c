import hashlib
import json

import datasets
import numpy as np
import pytest
import torch

from hf_noisy.data import inject_noise, noise, noise_record

TRUE = np.arange(9) % 3
GIVEN = np.array([0, 2, 2, 1, 1, 0, 0, 1, 2])


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, noisy=values, clean=TRUE)
    elif path.suffix in (".pt", ".pth"):
        torch.save(torch.tensor(values), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(values.tolist()))
    else:
        path.write_text("\n".join(map(str, values.tolist())) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt", ".pth", ".json", ".txt"])
def test_labels_of_a_file_become_the_given_ones(tmp_path, suffix):
    path = write(tmp_path / f"labels{suffix}", GIVEN)
    key = "noisy" if suffix == ".npz" else None
    clean = datasets.Dataset.from_dict({"label": TRUE})
    noisy = inject_noise(clean, noise.replay(path, key), seed=5)
    assert noisy["label"][:] == GIVEN.tolist()
    assert noisy["clean_label"][:] == TRUE.tolist()
    record = noise_record(noisy)
    assert record.pop("transition_matrix")[0] == [2 / 3, 1 / 3, 0.0]
    assert record == {
        "kind": "replay",
        "rate_asked": None,
        "rate_measured": pytest.approx((GIVEN != TRUE).mean()),
        "file": f"labels{suffix}",
        "key": key,
        "sha256": hashlib.sha256(GIVEN.astype("<i8").tobytes()).hexdigest(),
    }


def test_labels_can_be_handed_over():
    kind = noise.replay(GIVEN)
    assert kind.apply(TRUE, 3).tolist() == GIVEN.tolist()
    assert kind.settings()["file"] is None
    assert noise.replay(GIVEN.tolist()).settings() == kind.settings()
    assert noise.replay(GIVEN.astype(np.uint8)).settings() == kind.settings()
    assert noise.replay(GIVEN[::-1]).settings() != kind.settings()


def test_the_labels_are_those_read_first(tmp_path):
    path = write(tmp_path / "labels.npy", GIVEN)
    kind = noise.replay(path)
    path.unlink()
    assert kind.apply(TRUE, 3).tolist() == GIVEN.tolist()


def test_dictionaries_have_keys(tmp_path):
    torch.save({"worse": torch.tensor(GIVEN), "clean": torch.tensor(TRUE)}, tmp_path / "human.pt")
    assert noise.replay(tmp_path / "human.pt", "worse").apply(TRUE, 3).tolist() == GIVEN.tolist()
    (tmp_path / "one.json").write_text(json.dumps({"noisy": GIVEN.tolist()}))
    assert noise.replay(tmp_path / "one.json").apply(TRUE, 3).tolist() == GIVEN.tolist()
    with pytest.raises(ValueError, match=r"key must be one of worse, clean in label file '.*human.pt', got None"):
        noise.replay(tmp_path / "human.pt")
    with pytest.raises(ValueError, match=r"holds one list of labels, so leave key='a' out"):
        noise.replay(write(tmp_path / "labels.json", GIVEN), "a")


def test_torch_files_of_numpy_arrays_are_refused(tmp_path):
    torch.save({"worse_label": GIVEN}, tmp_path / "human.pt")
    with pytest.raises(ValueError, match=r"human.pt' cannot be read as .pt: it holds more than tensors and lists"):
        noise.replay(tmp_path / "human.pt", "worse_label")


def test_the_human_labels_of_cifar10_are_replayed(data_dir):
    path = data_dir / "cifar10" / "cifar10n_train_labels.npz"
    with np.load(path) as arrays:
        clean = arrays["clean_label"].astype(np.int64) if "clean_label" in arrays else None
    if clean is None:
        pytest.skip("the file holds no true labels")
    kind = noise.replay(path, "worse_label", clean_key="clean_label")
    assert (kind.apply(clean, 10) != clean).mean() == pytest.approx(0.4021, abs=1e-4)


class Planted:
    def __reduce__(self):
        return print, ("run",)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    torch.save({"worse_label": Planted()}, tmp_path / "planted.pt")
    np.save(tmp_path / "planted.npy", np.array([Planted()], dtype=object), allow_pickle=True)
    for name, key in (("planted.pt", "worse_label"), ("planted.pt", None), ("planted.npy", None)):
        with pytest.raises(ValueError, match=rf"label file '.*{name}' cannot be read as"):
            noise.replay(tmp_path / name, key)
    assert capsys.readouterr().out == ""


def test_rows_in_another_order_are_noticed(tmp_path):
    path = write(tmp_path / "labels.npz", GIVEN)
    kind = noise.replay(path, "noisy", clean_key="clean")
    assert kind.apply(TRUE, 3).tolist() == GIVEN.tolist()
    with pytest.raises(ValueError, match=r"'labels.npz' has true labels under 'clean' that differ from the dataset's"):
        kind.apply(TRUE[::-1].copy(), 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GIVEN[:-1], r"label file 'labels.npy' has 8 labels, but the dataset has 9 rows"),
        (np.where(GIVEN == 2, 3, GIVEN), r"label file 'labels.npy' must be classes 0 to 2, got 3"),
        (np.where(GIVEN == 2, -1, GIVEN), r"must be classes 0 to 2, got -1"),
        (GIVEN.astype(float), r"'.*labels.npy' must hold one whole number per row, got float64 of shape \(9,\)"),
        (GIVEN[:, None], r"one whole number per row, got int64 of shape \(9, 1\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, values, message):
    np.save(tmp_path / "labels.npy", values)
    with pytest.raises(ValueError, match=message):
        noise.replay(tmp_path / "labels.npy").apply(TRUE, 3)


def test_files_that_hold_no_labels_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"label file 'absent.npy' does not exist; check the path"):
        noise.replay("absent.npy")
    with pytest.raises(ValueError, match=r"'labels.pkl' must end in .npy, .npz, .pt, .pth, .json, .txt; convert it"):
        noise.replay("labels.pkl")
    (tmp_path / "broken.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"broken.json' cannot be read as .json: "):
        noise.replay(tmp_path / "broken.json")
    (tmp_path / "words.txt").write_text("1\ncat\n")
    with pytest.raises(ValueError, match=r"words.txt' cannot be read as .txt: invalid literal .*cat"):
        noise.replay(tmp_path / "words.txt")
    with pytest.raises(ValueError, match="key and clean_key are for files"):
        noise.replay(GIVEN, key="worse")
    with pytest.raises(ValueError, match=r"labels of noise.replay must hold one whole number per row, got float64"):
        noise.replay(GIVEN / 2)
