"""Noise of tags and of sets of classes: what is wrong afterwards, and that counts, seeds and true labels are kept."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_noisy import inject_noise, noise
from hf_noisy.data import load_noisy_dataset, noise_record
from hf_noisy.data.flat_labels import flat_tags, label_sets
from hf_noisy.data.tags import Span, spans_of

NAMES = ["O", "B-A", "I-A", "B-B", "I-B"]


def sentences(count=400, names=NAMES, tags=("O", "B-A", "I-A", "O", "O", "B-B", "O", "O"), known=True):
    ids = [names.index(tag) for tag in tags]
    table = {"tokens": [["w"] * len(ids)] * count, "label": [ids] * (count - (not known)) + [None] * (not known)}
    return Dataset.from_dict(
        table, Features({"tokens": List(Value("string")), "label": List(ClassLabel(names=names))})
    )


def spans(rows, column="label"):
    return [{*spans_of([NAMES[tag] for tag in row])} for row in rows[column]]


TRUE = {Span(1, 3, "A"), Span(5, 6, "B")}


def changed(rows):
    return [(given - true, true - given) for given, true in zip(spans(rows), spans(rows, "clean_label"), strict=True)]


def test_entities_are_missed():
    noisy = inject_noise(sentences(), noise.entities(missed=0.3))
    new, lost = zip(*changed(noisy), strict=True)
    assert sum(map(len, lost)) == 240
    assert not any(new)
    record = noise_record(noisy)
    assert (record["kind"], record["unit"], record["entities"], record["missed"]) == ("entity", "token", 800, 240)
    assert record["missed"] == 240
    matrix = np.array(record["transition_matrix"])
    assert matrix[0, 0] == 1
    assert 0.2 < matrix[1, 0] < 0.4


def test_entities_get_another_type():
    for new, lost in changed(inject_noise(sentences(), noise.entities(wrong_type=0.5))):
        assert {(span.start, span.stop) for span in new} == {(span.start, span.stop) for span in lost}
        assert all(span.kind != other.kind for span in new for other in lost if span.start == other.start)


def test_one_end_of_an_entity_moves_by_one_token():
    noisy = inject_noise(sentences(), noise.entities(wrong_boundary=0.5))
    found = [(new, lost) for new, lost in changed(noisy) if lost]
    assert sum(len(lost) for _, lost in found) == noise_record(noisy)["wrong_boundary"] == 400
    ways = set()
    for new, lost in found:
        for one in lost:
            (other,) = [span for span in new if span.kind == one.kind]
            ways.add((one.kind, other.start - one.start, other.stop - one.stop))
    assert ways == {("A", -1, 0), ("A", 1, 0), ("A", 0, 1), ("A", 0, -1), ("B", -1, 0), ("B", 0, 1)}


def test_entities_are_invented_where_there_is_none():
    noisy = inject_noise(sentences(), noise.entities(invented=0.25))
    new = [span for one, lost in changed(noisy) for span in one if not lost]
    assert len(new) == noise_record(noisy)["invented"] == 200
    assert all(not any(span.start < other.stop and other.start < span.stop for other in TRUE) for span in new)
    assert {(span.stop - span.start, span.kind) for span in new} == {(2, "A"), (1, "B")}


def test_an_entity_has_one_error_at_most():
    noisy = inject_noise(sentences(), noise.entities(missed=0.4, wrong_type=0.3, wrong_boundary=0.3))
    assert sum(len(lost) for _, lost in changed(noisy)) == 800
    record = noise_record(noisy)
    assert (record["missed"], record["wrong_type"], record["wrong_boundary"]) == (320, 240, 240)


def test_the_seed_and_the_split_choose_the_entities():
    def given(**options):
        return inject_noise(sentences(), noise.entities(0.2, 0.2, 0.2, 0.2), **options)["label"][:]

    assert given() == given(seed=0)
    assert given() != given(seed=1)
    assert given() != given(stream="validation")
    record = noise_record(inject_noise(sentences(), noise.entities(0.2), seed=7))
    assert (record["seed"], record["stream"]) == (7, "train")


def test_entities_without_b_and_words_without_a_tag_stay():
    rows = sentences(tags=("I-A", "I-A", "O", "I-B"))
    noisy = inject_noise(rows, noise.entities(missed=0.25))
    assert {span.start for new, _ in changed(noisy) for span in new} == set()
    rows = Dataset.from_dict({"tokens": [["a", "b", "c"]] * 9, "label": [[-1, 1, -1]] * 8 + [None]}, rows.features)
    noisy = inject_noise(rows, noise.entities(wrong_boundary=0.5, invented=0.5))
    assert noisy["label"][:] == noisy["clean_label"][:] == rows["label"][:]  # there is no room for either
    assert noise_record(noisy)["wrong_boundary"] == 0


def test_bioes_stays_bioes():
    names = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in "AB")]
    rows = sentences(names=names, tags=("O", "B-A", "E-A", "O", "O", "S-B", "O", "O"))
    noisy = inject_noise(rows, noise.entities(wrong_type=0.3, wrong_boundary=0.5))
    for row in noisy["label"]:
        found = [names[tag] for tag in row]
        assert all(
            (tag[0] == "S") == (len([s for s in spans_of(found) if s.start == at and s.stop == at + 1]) == 1)
            for at, tag in enumerate(found)
        )


def test_errors_of_a_rate():
    one = noise.entities.of_rate(0.4)
    assert one.missed + one.wrong_type + one.wrong_boundary + one.invented == pytest.approx(0.4)
    with pytest.raises(ValueError, match="rate must be a number in"):
        noise.entities.of_rate(1.4)
    with pytest.raises(ValueError, match=r"must sum to 1 at most, got 1.2"):
        noise.entities(0.4, 0.4, 0.4)
    with pytest.raises(ValueError, match="missed must be a number in"):
        noise.entities(missed=-0.1)
    with pytest.raises(ValueError, match="at least two types"):
        inject_noise(sentences(names=NAMES[:3], tags=("B-A", "O")), noise.entities(wrong_type=0.5))
    with pytest.raises(ValueError, match="must hold tags of entities"):
        inject_noise(sentences(names=["NN", "VB"], tags=("NN", "VB")), noise.entities(missed=0.5))


def sets(rows=500, classes=4):
    labels = [[one for one in range(classes) if (row + one) % (one + 2) == 0] for row in range(rows)]
    feature = List(ClassLabel(num_classes=classes))
    return Dataset.from_dict(
        {"text": ["a"] * rows, "label": labels}, Features({"text": Value("string"), "label": feature})
    )


def test_classes_are_missing():
    noisy = inject_noise(sets(), noise.label_sets(missing=0.4))
    (given, _), (true, _) = label_sets(noisy), label_sets(noisy, "clean_label")
    assert not (given & ~true).any()
    assert (true & ~given).sum() == round(0.4 * true.sum())
    record = noise_record(noisy)
    assert (record["kind"], record["unit"], record["missing"]) == ("label_sets", "cell", 0.4)
    assert record["missing_share"] == pytest.approx(0.4, abs=0.001)
    assert record["missing_cells"] == (true & ~given).sum()
    assert record["missing_rate"] == pytest.approx(((true & ~given).sum(0) / true.sum(0)).tolist())


def test_classes_have_shares_of_their_own():
    noisy = inject_noise(sets(), noise.label_sets(missing=[0.5, 0, 0.2, 0], spurious=[0, 0.1, 0, 0]))
    (given, _), (true, _) = label_sets(noisy), label_sets(noisy, "clean_label")
    assert (true & ~given).sum(0).tolist() == [125, 0, 25, 0]
    assert (given & ~true).sum(0).tolist() == [0, round(0.1 * (~true[:, 1]).sum()), 0, 0]
    with pytest.raises(ValueError, match="one for each of the 4 classes"):
        inject_noise(sets(), noise.label_sets(missing=[0.5, 0.2]))
    with pytest.raises(ValueError, match="spurious must be a number in"):
        noise.label_sets(spurious=[0.5, 1.2])


def test_rows_without_a_label_stay_without():
    rows = sets()
    rows = Dataset.from_dict({"text": ["a"] * 3, "label": [[0], None, []]}, rows.features)
    noisy = inject_noise(rows, noise.label_sets(missing=0.9, spurious=0.9))
    assert noisy["label"][1] is None
    assert noisy["label"][0] != [0]
    assert noisy["clean_label"][:] == [[0], None, []]


@pytest.mark.parametrize(
    ("rows", "one", "message"),
    [
        (sentences(3), noise.symmetric(0.4), r"'symmetric' does not fit .* tags of words; pass noise.entities"),
        (sets(9), noise.symmetric(0.4), r"'symmetric' does not fit .* sets of classes; pass noise.label_sets"),
        (sets(9), noise.entities(0.4), r"'entity' does not fit .* sets of classes"),
        (sentences(3), noise.label_sets(0.4), r"'label_sets' does not fit .* tags of words"),
        (Dataset.from_dict({"label": [0, 1]}), noise.entities(0.4), r"'entity' does not fit .* one class each; pass"),
    ],
)
def test_noise_of_another_task_is_refused(rows, one, message):
    with pytest.raises(ValueError, match=message):
        inject_noise(rows, one)


def test_noisy_labels_are_not_made_noisy_again():
    noisy = inject_noise(sets(), noise.label_sets(missing=0.4))
    with pytest.raises(ValueError, match="has noisy labels already"):
        inject_noise(noisy, noise.label_sets(missing=0.1))


def test_noise_by_name_leaves_the_test_split_true(tmp_path):
    for split, rows in (("train", sentences(50)), ("test", sentences(5))):
        rows.to_parquet(tmp_path / f"{split}.parquet")
    splits = load_noisy_dataset(str(tmp_path), noise_type="entity", noise_rate=0.4)
    assert flat_tags(splits["train"]).labels.tolist() != flat_tags(splits["train"], "clean_label").labels.tolist()
    assert splits["test"]["label"][:] == splits["test"]["clean_label"][:]
    with pytest.raises(ValueError, match="'symmetric' does not fit"):
        load_noisy_dataset(str(tmp_path), noise_type="symmetric", noise_rate=0.4)
