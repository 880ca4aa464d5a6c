import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import chisquare

from hf_noisy.data.checked import checked_rows, read_checked
from hf_noisy.detection.rows_to_check import rows_to_check

ROWS = Dataset.from_dict({"text": [f"text {number}" for number in range(60)], "label": [0, 1, 2] * 20})


def checked_at(index):
    column = np.full(len(ROWS), -1)
    column[index] = 0
    return column


def test_a_draw_is_known_by_its_seed():
    one, again, other = (rows_to_check(ROWS, 20, seed=seed) for seed in (0, 0, 1))
    assert one.index.tolist() == again.index.tolist() != other.index.tolist()
    assert len(set(one.index.tolist())) == len(one) == 20
    assert np.allclose(one.probability, 20 / 60)
    assert (one.strategy, one.batch, one.num_rows) == ("random", 0, 60)


def test_a_second_draw_takes_other_rows_and_a_part_of_the_same_order():
    first = rows_to_check(ROWS, 20)
    second = rows_to_check(ROWS, 10, checked=checked_at(first.index))
    assert not set(first.index) & set(second.index)
    assert [*first.index, *second.index] == rows_to_check(ROWS, 30).index.tolist()
    assert np.allclose(second.probability, 10 / 40)
    assert second.batch == 1
    rows = ROWS.add_column("checked_label", checked_at(first.index))
    assert rows_to_check(rows, 10).index.tolist() == second.index.tolist()


@pytest.mark.parametrize("second_seed", [0, 1])
def test_two_batches_are_together_a_random_sample(second_seed):
    rows = ROWS.select(range(6))
    drawn = np.zeros((6, 6))
    for seed in range(300):
        first = rows_to_check(rows, 1, seed=seed)
        checked = np.full(6, -1)
        checked[first.index] = 0
        second = rows_to_check(rows, 1, checked=checked, seed=seed + 1000 * second_seed)
        drawn[first.index[0], second.index[0]] += 1
    pairs = (drawn + drawn.T)[np.triu_indices(6, 1)]
    assert drawn.trace() == 0
    assert chisquare(pairs).pvalue > 0.001


def test_the_file_to_fill_in_is_read_back(tmp_path):
    sample, path = rows_to_check(ROWS, 3, seed=5), tmp_path / "sample.csv"
    sample.to_csv(path)
    with pytest.raises(ValueError, match=r"no line of .* has a checked label"):
        read_checked(path, ROWS)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(line.replace(",,", ",2,") for line in lines)]))
    found = read_checked(path, ROWS.shuffle(seed=3))
    assert sorted(ROWS.shuffle(seed=3)[found.index]["text"]) == sorted(ROWS[sample.index]["text"])
    assert (set(found.labels), found.strategy, set(found.probability)) == ({2}, ["random"] * 3, {0.05})
    assert rows_to_check(ROWS, 2, checked=path).batch == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 61}, "61 rows to check were asked for, but only 60 have not been checked"),
        ({"count": 0}, "at least 1 row, got 0"),
        ({"count": 5, "strategy": "best"}, "strategy must be one of random.*, got 'best'"),
        ({"count": 5, "checked": [7] * 60}, "checked has 7 in row 0"),
        ({"count": 5, "strategy": "informative"}, "needs rows that are checked already, got none"),
        ({"count": 5, "strategy": "informative", "checked": [1] + [-1] * 59}, "needs a column 'features', got text"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rows_to_check(ROWS, **arguments)


def test_there_may_be_too_few_unchecked_rows():
    with pytest.raises(ValueError, match="but only 5 have not been checked"):
        rows_to_check(ROWS, 6, checked=checked_at(np.arange(55)))
    assert len(rows_to_check(ROWS, 5, checked=checked_rows(ROWS, checked_at(np.arange(55))))) == 5
