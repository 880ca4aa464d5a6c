import datasets
import numpy as np
import pytest

from hf_noisy.data import inject_noise, noise, noise_record
from hf_noisy.data.noise.inject import _check_dataset, _check_noise
from hf_noisy.data.records import measured_transition_matrix, record_noise

RATE, ROWS, CLASSES = 0.4, 600, 4
LABELS = np.arange(ROWS) % CLASSES
KINDS = {
    "symmetric": noise.symmetric(RATE),
    "pair": noise.pair(RATE),
    "asymmetric": noise.asymmetric(RATE, {0: 1, 1: 2, 2: 3, 3: 0}),
    "transition": noise.transition(noise.symmetric(RATE).transition_matrix(CLASSES)),
    "instance_dependent": noise.instance_dependent(RATE),
    "part_dependent": noise.part_dependent(RATE),
}


def dataset(labels=LABELS, **columns):
    names = [f"class {k}" for k in range(CLASSES)]
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=names), **{key: datasets.Value("string") for key in columns}}
    )
    return datasets.Dataset.from_dict({"label": labels, **columns}, features=features)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_dataset_keeps_its_true_labels_and_a_record(kind, tmp_path):
    clean = dataset(text=[f"word{i % 7} word{i % 5} word{i % 3}" for i in range(ROWS)])
    noisy = inject_noise(clean, kind, seed=3)
    assert noisy["clean_label"][:] == LABELS.tolist()
    assert noisy.features["label"] == noisy.features["clean_label"] == clean.features["label"]
    assert noisy["text"][:5] == clean["text"][:5]
    record = noise_record(noisy)
    assert (record["kind"], record["seed"], record["stream"]) == (kind.kind, 3, "train")
    assert (record["rate_asked"], record["rate_measured"]) == (pytest.approx(RATE), RATE)
    np.testing.assert_allclose(
        record["transition_matrix"], measured_transition_matrix(LABELS, np.array(noisy["label"][:]), CLASSES)
    )
    noisy.save_to_disk(tmp_path / "saved")
    saved = datasets.load_from_disk(tmp_path / "saved")
    assert noise_record(saved) == record
    assert saved["label"][:] == noisy["label"][:]
    assert noise_record(noisy.map(lambda row: {"length": len(row["text"])}, num_proc=None)) == record
    assert noise_record(clean) is None


def test_the_rate_asked_of_a_matrix_is_that_of_the_classes_there_are():
    rows = dataset(np.array([0] * 30 + [1] * 10 + [2] * 10 + [3] * 10))
    matrix = np.eye(CLASSES)
    matrix[0] = [0.5, 0.5, 0.0, 0.0]
    record = noise_record(inject_noise(rows, noise.transition(matrix)))
    assert record["rate_asked"] == record["rate_measured"] == 0.25
    np.testing.assert_allclose(record["matrix"], matrix)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_batches_and_processes_before_or_after_change_nothing(kind):
    clean = dataset(text=[f"word{i % 7} word{i % 5} word{i % 3}" for i in range(ROWS)])
    expected = inject_noise(clean, kind, seed=1)["label"][:]
    for options in ({"batch_size": 7}, {"batch_size": 64, "num_proc": 2}):
        again = clean.map(_same, batched=True, **options)  # stored in pieces of another size
        assert inject_noise(again, kind, seed=1)["label"][:] == expected
        noisy = inject_noise(clean, kind, seed=1).map(_same, batched=True, **options)
        assert noisy["label"][:] == expected


def _same(batch):
    return batch


def test_a_record_keeps_the_description():
    clean = dataset()
    clean.info.description = "What it is."
    noisy = inject_noise(clean, noise.pair(0.25))
    assert noisy.info.description.startswith("What it is.\n")
    assert noise_record(noisy)["rate_measured"] == 0.25
    assert clean.info.description == "What it is."


def test_selected_rows_and_lazy_transforms_are_read_as_stored():
    selected = dataset().with_transform(lambda rows: {"other": rows["label"]}).select(range(ROWS - 1, -1, -1))
    noisy = inject_noise(selected, noise.pair(RATE))
    assert noisy[0] == {"other": noisy.with_format(None)[0]["label"]}
    assert noisy.with_format(None)["clean_label"][:] == LABELS[::-1].tolist()


def test_a_tensor_format_is_kept():
    noisy = inject_noise(dataset().with_format("numpy"), noise.pair(RATE))
    assert noisy.format["type"] == "numpy"
    assert set(noisy[:2]) == {"label", "clean_label"}


def test_whole_numbers_serve_as_classes():
    noisy = inject_noise(datasets.Dataset.from_dict({"y": [0, 1, 2, 0]}), noise.pair(0.5), label_column="y")
    assert noisy["clean_label"][:] == [0, 1, 2, 0]
    assert sum(a != b for a, b in zip(noisy["y"], noisy["clean_label"], strict=True)) == 2


def test_a_column_of_vectors_is_taken_before_the_texts():
    vectors = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32)
    rows = dataset(text=["one"] * ROWS).add_column("features", list(vectors))
    noisy = inject_noise(rows, noise.instance_dependent(RATE))
    expected = noise.instance_dependent(RATE).apply(LABELS, CLASSES, 0, vectors)
    assert noisy["label"][:] == expected.tolist()
    tokens = dataset().add_column("features", [[7, 8]] * ROWS)
    with pytest.raises(ValueError, match="never token ids"):
        inject_noise(tokens, noise.instance_dependent(RATE))


NUMBERS = datasets.Dataset.from_dict({"label": [0, 2, 2]})


def test_empty_classes_are_refused_unless_allowed():
    with pytest.raises(ValueError, match=r"no rows of class 2 \('class 2'\), 3 \('class 3'\); renumber the others"):
        inject_noise(dataset([0, 1]), noise.pair(0.5))
    with pytest.raises(ValueError, match=r"no rows of class 1; .* or pass allow_empty_classes=True"):
        inject_noise(NUMBERS, noise.pair(0.5))
    noisy = inject_noise(dataset([0, 1]), noise.pair(0.5), allow_empty_classes=True)
    assert noise_record(noisy)["transition_matrix"][2:] == [[0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dataset([0, 1]).add_column("clean_label", [0, 0]), "noisy labels already, its columns 'label' and"),
        (lambda: dataset([0, None]), "lacks 1 labels, in rows 1; drop those rows first"),
        (lambda: dataset([0, -1]), r"column 'label' must be classes 0 to 3, got -1 in row 1"),
        (
            lambda: datasets.Dataset.from_dict({"label": [0, 1, -100]}),
            "must be classes 0 to 1, got -100",
        ),
        (lambda: datasets.Dataset.from_dict({"label": [0, 0]}), "must hold at least 2 classes, got 1"),
        (lambda: datasets.Dataset.from_dict({"label": ["a", "b"]}), "class ids, got .*; call dataset.class_encode"),
        (lambda: datasets.Dataset.from_dict({"label": [0.0, 1.0]}), "class ids, got .*; cast whole numbers with"),
        (lambda: datasets.Dataset.from_dict({"label": [[0], [1]]}), "class ids, got .*; reduce it to one whole"),
        (lambda: datasets.Dataset.from_dict({"other": [0, 1]}), "label_column must be one of"),
    ],
)
def test_labels_that_cannot_be_made_noisy_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        inject_noise(build(), noise.symmetric(0.5))


def test_what_is_no_dataset_is_refused():
    splits = datasets.DatasetDict({"train": dataset()})
    with pytest.raises(ValueError, match=r"must be a datasets.Dataset, got DatasetDict; noise goes into one split"):
        _check_dataset(splits, "label")
    with pytest.raises(ValueError, match=r"got IterableDataset; load it without streaming"):
        _check_dataset(dataset().to_iterable_dataset(), "label")


def test_noise_that_depends_on_the_row_asks_for_features():
    with pytest.raises(ValueError, match="pass features="):
        inject_noise(dataset(), noise.instance_dependent(0.3))
    with pytest.raises(ValueError, match="pass features="):
        inject_noise(dataset(), noise.part_dependent(0.3))


@pytest.mark.parametrize("bad", ["symmetric", None, noise.symmetric])
def test_what_is_no_noise_is_refused(bad):
    with pytest.raises(ValueError, match=r"noise must be made by hf_noisy.noise, such as noise.symmetric\(0.4\), got"):
        _check_noise(bad)


def test_a_clean_label_that_says_the_same_is_replaced():
    clean = dataset(text=["word"] * ROWS)
    both = clean.add_column("clean_label", LABELS, feature=clean.features["label"]).with_format("numpy")
    noisy = inject_noise(both, noise.symmetric(RATE))
    assert noisy["label"][:].tolist() == inject_noise(clean, noise.symmetric(RATE))["label"][:]
    assert noisy["clean_label"][:].tolist() == LABELS.tolist()
    assert noisy.column_names == inject_noise(clean, noise.symmetric(RATE)).column_names
    with pytest.raises(ValueError, match="has noisy labels already"):
        inject_noise(noisy, noise.symmetric(RATE))
    again = noisy.with_format(None).remove_columns("label").rename_column("clean_label", "label")
    assert noise_record(inject_noise(again, noise.pair(0.2)))["kind"] == "pair"


def test_the_column_of_true_labels_is_not_the_one_made_noisy():
    with pytest.raises(ValueError, match="label_column must not be 'clean_label'"):
        inject_noise(dataset().rename_column("label", "clean_label"), noise.pair(0.2), label_column="clean_label")


def test_a_record_may_hold_numbers_of_numpy():
    record = {"kind": "symmetric", "rate": np.float32(0.25), "seed": np.int64(3)}
    found = noise_record(record_noise(dataset(), record, LABELS, LABELS, CLASSES))
    assert (found["rate_asked"], found["seed"], found["rate_measured"]) == (0.25, 3, 0)
