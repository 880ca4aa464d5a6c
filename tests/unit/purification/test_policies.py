import inspect
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_noisy.data import inject_noise, noise, noise_record
from hf_noisy.data.checked import checked_rows, write_checked
from hf_noisy.purification.checked_posterior import checked_posterior
from hf_noisy.purification.policies import Policy, purify
from hf_noisy.purification.registry import PURIFIERS
from hf_noisy.purification.restore import DROPPED, purification_record, restore_labels
from hf_noisy.purification.summary import summarise

# Users have no type checks: the function below those of the tests is theirs.
plain_purify = inspect.unwrap(purify)
POLICIES = list(Policy.__args__)
ADDED = ["label_given", "label_posterior", "label_confidence", "label_changed", "purifier"]
GIVEN = [0, 1, 2, 0, 1]
POSTERIOR = np.array(
    [[0.9, 0.1, 0.0], [0.75, 0.25, 0.0], [0.0, 0.5, 0.5], [0.3, 0.45, 0.25], [0.0, 0.0, 1.0]], dtype=np.float32
)
every_policy = pytest.mark.parametrize("policy", POLICIES)


def rows(labels: Any = GIVEN, classes: Any = ("a", "b", "c"), **columns: Any) -> datasets.Dataset:
    kind = datasets.Value("int16") if classes is None else datasets.ClassLabel(names=list(classes))
    texts = [f"row {number}" for number in range(len(labels))]
    features = {"text": datasets.Value("string"), "label": kind, "length": datasets.Value("int32")}
    made = {"text": texts, "label": labels, "length": [len(text) for text in texts]}
    for name, (values, feature) in columns.items():
        made[name], features[name] = values, feature
    return datasets.Dataset.from_dict(made, features=datasets.Features(features))


def assert_same(one: datasets.Dataset, other: datasets.Dataset) -> None:
    assert one.column_names == other.column_names
    assert one.features == other.features
    assert one.format == other.format
    assert one.info == other.info
    assert one.split == other.split
    assert one.with_format("arrow")[:].to_pydict() == other.with_format("arrow")[:].to_pydict()


def purified_rows(policy: str, min_confidence: float = 0.0, **changes: Any) -> Any:
    return purify(rows(**changes), POSTERIOR, policy, min_confidence=min_confidence)


# What the policies do


def test_relabel_takes_the_most_probable_class_of_sure_rows():
    purified = purified_rows("relabel", 0.5)
    assert purified.column_names == ["text", "label", "length", *ADDED]
    assert list(purified["label"]) == [0, 0, 1, 0, 2]
    assert list(purified["label_given"]) == GIVEN
    assert list(purified["label_changed"]) == [False, True, True, False, True]
    assert set(purified["purifier"]) == {"posterior"}
    np.testing.assert_array_equal(np.array(purified["label_posterior"], dtype=np.float32), POSTERIOR)
    np.testing.assert_array_equal(np.array(purified["label_confidence"], dtype=np.float32), POSTERIOR.max(1))
    assert purified.features["label"] == purified.features["label_given"] == rows().features["label"]
    assert purified.features["label_posterior"] == datasets.List(datasets.Value("float32"), length=3)
    assert list(purified_rows("relabel")["label"]) == POSTERIOR.argmax(1).tolist()
    assert list(purified_rows("relabel", 1.0)["label"]) == [0, 1, 2, 0, 2]


def test_drop_moves_overruled_rows_to_a_split():
    purified = purified_rows("drop", 0.5)
    assert list(purified) == ["train", DROPPED]
    assert list(purified["train"]["text"]) == ["row 0", "row 3"]
    assert list(purified["train"]["label"]) == [0, 0]
    assert list(purified[DROPPED]["text"]) == ["row 1", "row 2", "row 4"]
    assert list(purified[DROPPED]["label"]) == [1, 2, 1]
    assert set(purified[DROPPED]["label_changed"]) == {True}


def test_soft_labels_are_the_posterior_of_sure_rows():
    purified = purified_rows("soft", 0.5)
    expected = POSTERIOR.copy()
    expected[3] = [1, 0, 0]
    np.testing.assert_array_equal(np.array(purified["label"], dtype=np.float32), expected)
    assert purified.features["label"] == datasets.List(datasets.Value("float32"), length=3)
    assert purified.column_names[1] == "label"


def test_weights_are_the_posterior_of_the_given_label():
    purified = purified_rows("weight", 0.5)
    np.testing.assert_array_equal(
        np.array(purified["label_weight"], dtype=np.float32), np.float32([0.9, 0.25, 0.5, 1, 0])
    )
    assert list(purified["label"]) == GIVEN
    seen = purify(rows().with_format("torch", columns=["label"]), POSTERIOR, "weight")
    assert set(seen[0]) == {"label", "label_weight"}


def test_flag_changes_no_label():
    purified = purified_rows("flag", 0.5)
    assert list(purified["label"]) == GIVEN
    assert list(purified["label_changed"]) == [False, True, True, False, True]


# Checked rows

CHECKED = [-1, 1, -1, 0, 2]


@every_policy
def test_checked_rows_are_certain_and_can_be_undone(policy):
    dataset = rows()
    purified = purify(dataset, POSTERIOR, policy, checked=CHECKED, min_confidence=0.8)
    assert_same(restore_labels(purified), dataset)
    parts = purified.values() if policy == "drop" else [purified]
    found = {row["text"]: row for part in parts for row in part}
    assert [found[f"row {row}"]["label_checked"] for row in range(5)] == [False, True, False, True, True]
    for row, label in ((1, 1), (3, 0), (4, 2)):
        assert np.argmax(found[f"row {row}"]["label_posterior"]) == label
        assert found[f"row {row}"]["label_confidence"] == 1
        assert found[f"row {row}"]["label_changed"] == (label != GIVEN[row])
    np.testing.assert_array_equal(np.float32(found["row 2"]["label_posterior"]), POSTERIOR[2])
    assert purification_record(next(iter(parts)))["checked_rows"] == 3
    assert summarise(purified).checked == 3
    assert "3 rows checked" in str(summarise(purified))


def test_checked_rows_are_a_column_or_a_file_too(tmp_path):
    dataset = rows(checked_label=([None, 1, None, 0, 2], datasets.Value("int64")))
    by_column = purify(dataset, POSTERIOR, checked=None)
    write_checked(tmp_path / "checked.csv", dataset, checked_rows(dataset))
    by_file = purify(rows(), POSTERIOR, checked=tmp_path / "checked.csv")
    assert list(by_column["label"]) == list(by_file["label"]) == [0, 1, 1, 0, 2]
    assert restore_labels(by_column).column_names == dataset.column_names
    unpinned = purify(dataset, POSTERIOR, checked=[-1] * 5)
    assert list(unpinned["label"]) == POSTERIOR.argmax(1).tolist()
    assert "label_checked" not in unpinned.column_names
    with pytest.raises(ValueError, match="checked has 3 in row 4, which is not among the classes a, b, c"):
        purify(rows(), POSTERIOR, checked=[-1, -1, -1, -1, 3])


def test_checked_is_the_default_purifier_where_rows_are_checked():
    draw = np.random.default_rng(0)
    true = np.arange(120) % 3
    labels = np.where(draw.random(120) < 0.4, (true + 1) % 3, true)
    vectors = (draw.normal(size=(120, 6)) + 3 * np.eye(3, 6)[true], datasets.List(datasets.Value("float32")))
    checked = np.where(np.arange(120) < 30, true, -1)
    purified = purify(rows(labels, features=vectors), checked=checked)
    assert set(purified["purifier"]) == {"checked"}
    assert (np.array(purified["label"]) == true).mean() > 0.95
    assert set(purify(rows(labels, features=vectors))["purifier"]) == {"evidence"}
    by_predictions = purify(rows(labels), probabilities=np.full((120, 3), 1 / 3), checked=checked)
    assert set(by_predictions["purifier"]) == {"evidence"}
    posterior = checked_posterior(vectors[0], labels, checked=checked)
    assert posterior[:30].max() < 1  # held out, so that they can be compared with the checked labels
    np.testing.assert_allclose(np.float32(purified["label_posterior"])[30:], posterior[30:], atol=1e-3)
    with pytest.raises(ValueError, match="purifier 'checked' needs checked rows; pass checked="):
        purify(rows(labels, features=vectors), "checked")


def noisy_problem(count=1000, drawn=200):
    """Rows with 30 % wrong labels, a posterior that is right in 9 of 10 rows, and rows checked at random."""
    draw = np.random.default_rng(0)
    true = np.arange(count) % 3
    labels = np.where(draw.random(count) < 0.3, (true + 1) % 3, true)
    sure = 1 - draw.uniform(0, 0.8, count) ** 2  # most are sure
    best = np.where(draw.random(count) < sure, true, (true + 2) % 3)
    posterior = ((1 - sure) / 2)[:, None].repeat(3, 1).astype(np.float32)
    posterior[np.arange(count), best] = sure
    dataset = rows(labels)
    checked = np.full(count, -1)
    index = draw.permutation(count)[:drawn]
    checked[index] = true[index]
    return dataset, posterior, checked_rows(dataset, checked, strategy="random"), true


@every_policy
def test_few_changes_are_wrong_if_so_promised(policy):
    dataset, posterior, checked, true = noisy_problem()
    whole = purify(dataset, posterior, policy, checked=checked, max_wrong=0.2)
    parts = list(whole.values()) if policy == "drop" else [whole]
    found = {row["text"]: row for part in parts for row in part}
    changed = np.array([found[text]["label_changed"] for text in dataset["text"]])
    new = np.array([np.argmax(found[text]["label_posterior"]) for text in dataset["text"]])
    unchecked = checked.as_column() == -1
    wrong = (new != true) if policy in ("relabel", "soft") else (np.array(dataset["label"]) == true)
    assert (changed & unchecked).sum() > 50
    without = unchecked & (posterior.argmax(1) != np.array(dataset["label"]))
    assert wrong[changed & unchecked].mean() < min(0.25, 0.75 * wrong[without].mean())  # 0.2 on average over draws
    assert changed[checked.index].tolist() == (np.array(dataset["label"]) != true)[checked.index].tolist()
    record = purification_record(parts[0])
    assert (record["max_wrong"], record["min_confidence"]) == (0.2, 0.0)
    assert "at most 20% of them wrong on average" in record["guarantee"]
    assert f"Guarantee: {record['guarantee']}." in str(summarise(whole))


def test_too_few_checked_rows_change_nothing(caplog):
    dataset, posterior, checked, _ = noisy_problem(drawn=12)
    purified = purify(dataset, posterior, checked=checked, max_wrong=0.01)
    assert "no change can be guaranteed with so few checked rows" in caplog.text
    assert "no change can be guaranteed" in summarise(purified).note
    changed = np.flatnonzero(purified["label_changed"])
    assert set(changed) <= set(checked.index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_wrong": 1.0}, "max_wrong must be above 0 and below 1, got 1.0"),
        ({"max_wrong": 0.1, "min_confidence": 0.5}, "leave out min_confidence"),
        ({"max_wrong": 0.1, "checked": None}, "max_wrong needs rows that a person has checked"),
        ({"max_wrong": 0.1, "checked": CHECKED}, "no guarantee: it is not known how the rows were chosen"),
        ({"max_wrong": 0.1, "purifier": "dmlp"}, "purifier 'dmlp' is fitted to the checked labels"),
    ],
)
def test_promises_without_a_basis_are_refused(arguments, message):
    drawn = checked_rows(rows(), CHECKED, strategy="random")
    with pytest.raises(ValueError, match=message):
        purify(rows(), **{"purifier": POSTERIOR, "checked": drawn, **arguments})


def test_a_purifier_that_reads_checked_rows_gets_them():
    vectors = ([[0.0, 1.0]] * 5, datasets.List(datasets.Value("float32")))

    def reads(features, labels, checked=None):
        seen.append(checked)
        return POSTERIOR

    seen = []
    purify(rows(features=vectors), reads, checked=CHECKED)
    purify(rows(features=vectors), reads)
    assert (seen[0].tolist(), seen[1]) == (CHECKED, None)
    features = (np.eye(5, 4).tolist(), datasets.List(datasets.Value("float32")))
    purified = purify(rows(features=features), "dmlp", checked=CHECKED, epochs=1)
    assert np.argmax(purified[4]["label_posterior"]) == 2


def test_whole_numbers_are_labels_too():
    purified = purified_rows("relabel", labels=[0, 1, 1, 0, 1], classes=None)
    assert list(purified["label"]) == POSTERIOR.argmax(1).tolist()  # a class that no row was given
    assert purified.features["label"] == datasets.Value("int16")


def test_classes_that_a_purifier_has_not_seen_have_probability_zero():
    purified = purify(rows([0, 1, 0, 1, 1]), np.full((5, 2), 0.5, np.float32), "flag")
    assert np.array(purified["label_posterior"]).tolist() == [[0.5, 0.5, 0.0]] * 5


@every_policy
def test_record_format_and_description_are_kept(policy):
    noisy = inject_noise(rows(), noise.symmetric(0.4)).with_format("numpy", columns=["label"])
    noisy.info.license, noisy.info.citation = "mine", "Me."
    noisy = noisy.add_column("features", [[0.0, 1.0]] * 5)

    def fixed(features, labels, scale):
        return POSTERIOR * scale

    fixed.citation = "Nobody (2000)."
    whole = purify(noisy, fixed, policy, min_confidence=0.25, scale=1)
    purified = whole["train"] if policy == "drop" else whole
    assert noise_record(purified) == noise_record(noisy)
    assert purified.format["type"] == "numpy"
    assert (purified.info.license, purified.info.citation) == ("mine", "Me.")
    record = purification_record(purified)
    assert (record["policy"], record["min_confidence"], record["rows"]) == (policy, 0.25, 5)
    assert (record["purifier"], record["citation"], record["options"]) == ("fixed", "Nobody (2000).", {"scale": 1})
    assert purification_record(noisy) is purification_record(restore_labels(whole)) is None
    assert_same(restore_labels(whole), noisy)
    assert purification_record(purified) == record  # restoring changed nothing in place


# Restoring


def image(number: int) -> Image.Image:
    return Image.fromarray(np.full((2, 3, 3), number, dtype=np.uint8))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    labels=st.lists(st.integers(0, 2), min_size=2, max_size=7).filter(lambda drawn: max(drawn) > 0),
    policy=st.sampled_from(POLICIES),
    classes=st.sampled_from([("a", "b", "c"), None]),
    kind=st.sampled_from(["text", "image"]),
    form=st.sampled_from([{}, {"type": "numpy"}, {"type": "torch", "columns": ["label", "length"]}]),
    order=st.sampled_from(["as made", "shuffled", "selected"]),
    min_confidence=st.sampled_from([0.0, 0.6, 1.0]),
    seed=st.integers(0, 99),
)
def test_restoring_gives_the_dataset_that_was(labels, policy, classes, kind, form, order, min_confidence, seed):
    columns = {}
    if kind == "image":
        columns["image"] = ([image(number) for number in range(len(labels))], datasets.Image())
    dataset = rows(labels, classes, **columns)
    if order == "shuffled":
        dataset = dataset.shuffle(seed=seed)
    if order == "selected":
        dataset = dataset.select([*range(len(labels)), 0])
    dataset = dataset.with_format(**form)
    posterior = np.random.default_rng(seed).dirichlet(np.full(3, 0.3), len(dataset)).astype(np.float32)
    posterior[0] = np.eye(3)[int(dataset.with_format(None)[0]["label"])]  # one row that is not dropped
    purified = purify(dataset, posterior, policy, min_confidence=min_confidence)
    assert_same(restore_labels(purified), dataset)


@every_policy
def test_restoring_works_after_saving(policy, tmp_path):
    dataset = rows()
    purified = purify(dataset, POSTERIOR, policy)
    purified.save_to_disk(tmp_path / "saved")
    restored = restore_labels(datasets.load_from_disk(tmp_path / "saved"))
    assert isinstance(restored, datasets.Dataset)
    assert restored.features == dataset.features
    assert restored.to_dict() == dataset.to_dict()


@every_policy
def test_restoring_needs_the_columns_alone(policy, tmp_path):
    # Parquet files are what the Hub holds; the description is lost there.
    splits = purify(datasets.DatasetDict({"train": rows(), "test": rows()}), POSTERIOR, policy)
    restored = {}
    for name, part in splits.items():
        part.to_parquet(tmp_path / f"{name}.parquet")
        restored[name] = datasets.Dataset.from_parquet(str(tmp_path / f"{name}.parquet"), cache_dir=str(tmp_path))
        assert restored[name].features == part.features
    restored = restore_labels(datasets.DatasetDict(restored))
    assert list(restored) == ["train", "test"]
    for part in restored.values():
        assert part.features == rows().features
        assert part.to_dict() == rows().to_dict()


def test_nothing_dropped_makes_no_split_of_nothing(tmp_path):
    purified = purify(rows(), np.eye(3, dtype=np.float32)[GIVEN], "drop")
    assert list(purified) == ["train"]  # datasets cannot load a split without rows
    purified.save_to_disk(tmp_path / "saved")
    assert_same(restore_labels(purified), rows())
    assert restore_labels(datasets.load_from_disk(tmp_path / "saved")).to_dict() == rows().to_dict()


def test_rows_removed_by_hand_stay_removed():
    purified = purified_rows("drop", 0.5)
    purified["train"] = purified["train"].filter(lambda row: row["text"] != "row 0")
    assert list(restore_labels(purified)["text"]) == ["row 1", "row 2", "row 3", "row 4"]
    assert list(restore_labels(purified_rows("relabel").select([4, 1]))["label"]) == [1, 1]


def test_lazy_transform_is_kept_and_not_run():
    def forbidden(batch: Any) -> Any:
        raise AssertionError("the transform was run")

    dataset = rows().with_transform(forbidden)
    for policy in POLICIES:
        purified = purify(dataset, POSTERIOR, policy)
        restored = restore_labels(purified)
        assert restored.format == dataset.format
        assert restored.with_format(None).to_dict() == rows().to_dict()


# Several splits


@every_policy
def test_one_split_is_purified_and_the_others_stay(policy):
    splits = datasets.DatasetDict({"train": rows(), "validation": rows(), "test": rows()})
    purified = purify(splits, POSTERIOR, policy)
    assert list(purified) == ["train", "validation", "test"] + ([DROPPED] if policy == "drop" else [])
    assert_same(purified["test"], rows())
    restored = restore_labels(purified)
    assert isinstance(restored, datasets.DatasetDict)
    assert list(restored) == list(splits)
    for name, part in restored.items():
        assert_same(part, splits[name])
    other = purify(splits, POSTERIOR, policy, split="test")
    assert "label_given" in other["test"].column_names
    assert_same(other["train"], rows())


def test_a_single_split_stays_a_dictionary():
    restored = restore_labels(purify(datasets.DatasetDict({"train": rows()}), POSTERIOR, "drop"))
    assert list(restored) == ["train"]


# What a purifier is called with


def test_a_function_is_called_with_the_stored_features_and_the_labels():
    def purifier(features, labels):
        np.testing.assert_array_equal(features, np.float32([[1, 2]] * 5))
        np.testing.assert_array_equal(labels, GIVEN)
        return POSTERIOR

    dataset = rows(vectors=([[1.0, 2.0]] * 5, datasets.List(datasets.Value("float32"))))
    purified = purify(dataset.with_transform(lambda batch: {"vectors": [0]}), purifier, features="vectors")
    assert set(purified.with_format(None)["purifier"]) == {"purifier"}


@pytest.mark.parametrize("column", [False, True])
def test_predictions_are_an_array_or_a_column(column):
    def doubled(labels, probabilities):
        np.testing.assert_array_equal(probabilities, POSTERIOR)
        return np.eye(3, dtype=np.float32)[(labels + 1) % 3]

    dataset = rows(predicted=(POSTERIOR.tolist(), datasets.List(datasets.Value("float32"))))
    purified = purify(dataset, doubled, probabilities="predicted" if column else POSTERIOR, name="next")
    assert list(purified["label"]) == [1, 2, 0, 1, 2]
    assert set(purified["purifier"]) == {"next"}


def test_a_purifier_by_name_knows_the_classes_and_takes_options():
    dataset = rows(features=([[0.0, 1], [0, 2], [0, 3], [1, 0], [2, 0]], datasets.List(datasets.Value("float32"))))
    purified = purify(dataset, "knn", k=1, policy="flag")
    assert np.array(purified["label_posterior"]).shape == (5, 3)
    assert purification_record(purified)["options"] == {"k": 1}
    with pytest.raises(ValueError, match="purifier 'knn' has no argument neighbours; it takes k, weights"):
        purify(dataset, "knn", neighbours=1)
    with pytest.raises(ValueError, match="purifier 'knn' does not read probabilities; leave them out"):
        purify(dataset, "knn", probabilities=POSTERIOR)


def test_every_purifier_has_a_paper():
    assert all(purifier.citation for purifier in PURIFIERS.values())
    assert list(PURIFIERS) == sorted(PURIFIERS)


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.remove_columns("label"), "dataset has no column 'label', only text, length; rename yours"),
        (lambda d: d.rename_column("text", "label_weight"), "already has a column 'label_weight', which purify adds"),
        (lambda d: d.select([]), "dataset has no rows, so there is nothing to purify"),
        (
            lambda d: purify(d, POSTERIOR),
            "column 'label_given', so it was purified before; call restore_labels",
        ),
    ],
    ids=["no label", "taken", "empty", "twice"],
)
@pytest.mark.parametrize("splits", [False, True])
def test_unfit_datasets_are_refused(change, message, splits):
    dataset = change(rows())
    with pytest.raises(ValueError, match=message):
        purify(datasets.DatasetDict({"train": dataset}) if splits else dataset, POSTERIOR)


@pytest.mark.parametrize(
    ("labels", "feature", "message"),
    [
        ([0, 1, None, 0, 1], datasets.Value("int64"), "lacks 1 labels, in rows 2; drop those rows first"),
        ([0, 1, -1, 0, 1], datasets.Value("int64"), "column 'label' must be classes 0 to 1, got -1"),
        (list("ababa"), datasets.Value("string"), "column 'label' must hold class ids"),
        ([0.5] * 5, datasets.Value("float32"), "column 'label' must hold class ids"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, feature, message):
    dataset = rows().remove_columns("label").add_column("label", labels, feature=feature)
    with pytest.raises(ValueError, match=message):
        purify(dataset, POSTERIOR)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "mend"}, "policy must be one of relabel, drop, soft, weight, flag, got 'mend'"),
        ({"min_confidence": 1.5}, r"min_confidence must be in \[0, 1\], got 1.5"),
        ({"min_confidence": float("nan")}, r"min_confidence must be in \[0, 1\], got nan"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plain_purify(rows(), POSTERIOR, **arguments)


@pytest.mark.parametrize("purifier", [5, int, [[1.0]]])
def test_what_is_no_purifier_is_refused(purifier):
    with pytest.raises(TypeError, match="purifier must be a name such as 'knn', a function of"):
        plain_purify(rows(), purifier)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="purifier 'none' is not known; choose one of checked, confident_learning"):
        purify(rows(), "none")


def test_stream_is_refused():
    with pytest.raises(TypeError, match=r"must be a datasets\.Dataset or DatasetDict, got IterableDataset; load it"):
        plain_purify(rows().to_iterable_dataset(), POSTERIOR)


def test_splits_are_checked():
    splits = datasets.DatasetDict({"train": rows(), DROPPED: rows()})
    with pytest.raises(ValueError, match="split must be one of train, dropped, got 'dev'"):
        purify(splits, POSTERIOR, split="dev")
    with pytest.raises(ValueError, match="already has a split 'dropped', which policy 'drop' makes"):
        purify(splits, POSTERIOR, "drop")
    assert_same(purify(splits, POSTERIOR)[DROPPED], rows())


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        (POSTERIOR[:, 0], r"must be an array of floats \[rows, classes\], got float32 of shape \(5,\)"),
        (POSTERIOR * 2, "must sum to 1 in each row, got 2 in row"),
        (np.where(POSTERIOR == 1.0, np.float32(np.nan), POSTERIOR), "must be finite, got NaN"),
        (np.full((5, 4), 0.25, np.float32), "knows 4 classes, but column 'label' has 3"),
    ],
)
def test_posteriors_that_are_none_are_refused(posterior, message):
    with pytest.raises(ValueError, match=f"purifier 'posterior' {message}"):
        purify(rows(), posterior)


def test_a_dataset_of_which_nothing_would_be_left_is_refused():
    posterior = np.eye(3, dtype=np.float32)[[1, 2, 0, 1, 2]]
    with pytest.raises(ValueError, match="overrules the label of every row, so policy 'drop' would leave none"):
        purify(rows(), posterior, "drop")


def test_missing_column_of_the_purifier_is_named():
    with pytest.raises(ValueError, match="purifier 'knn' needs a column 'features', but dataset has only text"):
        purify(rows(), "knn")
    with pytest.raises(ValueError, match="purifier 'evidence' needs a column 'p', but dataset has"):
        purify(rows(), probabilities="p")


def test_what_cannot_be_restored_is_refused():
    with pytest.raises(ValueError, match="dataset has no column 'label_given', so it was not purified"):
        restore_labels(rows())
    with pytest.raises(ValueError, match="no split of the dataset has a column 'label_given'"):
        restore_labels(datasets.DatasetDict({"train": rows()}))
    purified = purified_rows("drop")
    for part in (purified["train"], datasets.DatasetDict({"train": purified["train"]})):
        with pytest.raises(ValueError, match="dataset lacks the rows that were dropped; pass the DatasetDict"):
            restore_labels(part)
