import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_noisy.data import noise
from hf_noisy.data.noise.class_map import _class_ids
from hf_noisy.data.records import measured_transition_matrix

FIXTURE = Path(__file__).parents[3] / "reference" / "fixtures" / "noise_transition_matrices.json"
CLASSES = 5
MAP = {0: 2, 3: 4, 4: 3}
LABELS = np.arange(5000) % CLASSES


@settings(max_examples=50)
@given(
    rate=st.floats(0, 0.99), labels=st.lists(st.integers(0, 4), min_size=1, max_size=40), seed=st.integers(0, 2**31)
)
def test_exactly_the_rounded_share_of_each_mapped_class_moves_to_its_target(rate, labels, seed):
    true = np.array(labels)
    found = noise.asymmetric(rate, MAP).apply(true, CLASSES, seed)
    for label in range(CLASSES):
        moved = found[true == label] != label
        assert moved.sum() == (round(rate * (true == label).sum()) if label in MAP else 0)
        assert (found[true == label][moved] == MAP.get(label)).all()


def test_the_measured_matrix_is_the_expected_one():
    kind = noise.asymmetric(0.4, MAP)
    found = kind.apply(LABELS, CLASSES, 3)
    np.testing.assert_allclose(measured_transition_matrix(LABELS, found, CLASSES), kind.transition_matrix(CLASSES))
    assert (found != LABELS).mean() == pytest.approx(0.4 * 3 / 5)
    assert (kind.apply(LABELS, CLASSES, 3) == found).all()
    assert (kind.apply(LABELS, CLASSES, 4) != found).mean() > 0.1
    assert (kind.apply(LABELS, CLASSES, 3, None, "validation") != found).mean() > 0.1


def test_an_independent_draw_does_not_depend_on_the_other_rows():
    kind = noise.asymmetric(0.4, MAP, exact=False)
    whole = kind.apply(LABELS, CLASSES, 0)
    assert (kind.apply(LABELS[:100], CLASSES, 0) == whole[:100]).all()
    assert abs((whole != LABELS).mean() - 0.24) < 0.02


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, r"mapping must lead from classes to other classes, got \{\}"),
        ({1: 1}, r"mapping must lead from classes to other classes, got \{1: 1\}"),
        ({"a": 1}, r"mapping must be a dictionary from class ids to class ids, got \{'a': 1\}"),
        ({0.5: 1}, r"mapping must be a dictionary from class ids to class ids, got \{0.5: 1\}"),
        ([1, 2], r"mapping must be a dictionary from class ids to class ids, got \[1, 2\]"),
    ],
)
def test_a_map_that_changes_nothing_is_refused(mapping, message):
    with pytest.raises(ValueError, match=message):
        noise.asymmetric(0.4, _class_ids(mapping))


def test_a_mapping_is_kept_as_it_was():
    mapping = {0: 1}
    kind = noise.asymmetric(0.4, mapping)
    mapping[2] = 0
    assert kind.mapping == {0: 1}
    assert {type(label) for pair in _class_ids({np.int64(0): np.int64(1)}).items() for label in pair} == {int}


def test_classes_and_rates_out_of_range_are_refused():
    with pytest.raises(ValueError, match="mapping must name classes from 0 to 2, got 4"):
        noise.asymmetric(0.4, {0: 4}).apply(np.array([0, 1]), 3)
    with pytest.raises(ValueError, match="mapping must name classes from 0 to 2, got -1"):
        noise.asymmetric(0.4, {-1: 0}).transition_matrix(3)
    with pytest.raises(ValueError, match=r"rate must be a number in \[0, 1\), got 1.0"):
        noise.asymmetric(1.0, MAP)


def test_the_map_of_cifar10_is_that_of_the_published_code():
    reference = json.loads(FIXTURE.read_text())
    kind = noise.cifar10_map(reference["rate"])
    np.testing.assert_allclose(kind.transition_matrix(10), np.array(reference["matrices"]["cifar10_asym r=0.4"]))
    labels = np.arange(1000) % 10
    assert (kind.apply(labels, 10) != labels).mean() == pytest.approx(reference["rate"] / 2)


def test_the_map_of_cifar100_is_that_of_the_published_code():
    reference = json.loads(FIXTURE.read_text())
    kind = noise.cifar100_map(0.4)
    assert [kind.mapping[label] for label in range(100)] == reference["cifar100_next"]
    labels = np.arange(5000) % 100
    found = kind.apply(labels, 100)
    assert (np.bincount(labels[found != labels], minlength=100) == 20).all()
    assert set(found[(labels == 0) & (found != 0)].tolist()) == {51}


@settings(max_examples=50)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=30))
def test_following_the_map_visits_a_superclass_once_and_comes_back(superclasses):
    mapping = noise.superclass_map(0.3, superclasses).mapping
    for label, superclass in enumerate(superclasses):
        group = [other for other, its in enumerate(superclasses) if its == superclass]
        seen, at = [label], mapping.get(label, label)
        while at != label:
            seen.append(at)
            at = mapping[at]
        assert sorted(seen) == group


def test_superclasses_of_one_class_each_are_refused():
    with pytest.raises(ValueError, match=r"must put two classes into one superclass, got \[0, 1, 2\]"):
        noise.superclass_map(0.3, [0, 1, 2])
