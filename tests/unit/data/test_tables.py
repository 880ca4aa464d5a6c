"""Columns of numbers as features."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Value

from hf_noisy import load_noisy_dataset
from hf_noisy.data.row_digest import row_digests
from hf_noisy.data.tables import table_columns, with_table_features, without_table_features


def where(rows):
    return f"rows {', '.join(map(str, rows))}"


def made(columns, **splits):
    return with_table_features(splits, columns, dict.fromkeys(splits, where))


def vectors(rows):
    return np.asarray(rows.with_format("numpy")["features"][:])


def test_features_keep_the_distances_and_not_the_units():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 3)) * [1, 100, 0.001] + [0, 1e4, 5]
    train = Dataset.from_dict({**dict(zip("abc", table.T, strict=True)), "label": [0, 1] * 100})
    test = train.select(range(5))
    splits = made(["a", "b", "c"], train=train, test=test)
    found = vectors(splits["train"])
    assert found.dtype == np.float32
    np.testing.assert_allclose((found**2).sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors(splits["test"]), found[:5])  # standardised by the training rows
    scaled = (table - table.mean(0)) / table.std(0)
    distances = np.sqrt(((scaled[:50, None] - scaled[None, :50]) ** 2).sum(-1))
    near = np.exp(-(distances**2) / (2 * np.median(distances[distances > 0]) ** 2))
    assert np.abs(found[:50] @ found[:50].T - near).mean() < 0.08


def test_rows_are_described_for_people_and_known_by_their_numbers():
    plain = Dataset.from_dict({"n": [1, 2, 3], "x": [0.5, 1e20, 5.1], "s": ["1", "2.50", "-3"], "label": [0, 1, 0]})
    plain = plain.cast_column("x", Value("float32"))
    rows = made(["n", "x", "s"], train=plain)["train"]
    assert rows["text"][:] == ["n: 1 · x: 0.5 · s: 1", "n: 2 · x: 1e+20 · s: 2.5", "n: 3 · x: 5.1 · s: -3"]
    assert table_columns(rows) == ["n", "x", "s"]
    some = made(["n", "x", "s"], train=plain.select([2, 1]))["train"]  # other means, the same digests
    assert row_digests(some) == [row_digests(rows)[2], row_digests(rows)[1]]
    again = without_table_features(rows)
    assert again.features == plain.features
    assert (again.to_dict(), again.info.description) == (plain.to_dict(), plain.info.description)
    assert table_columns(again) == []
    noted = plain.add_column("text", ["x", "y", "z"])
    assert without_table_features(made(["n"], train=noted)["train"])["text"][:] == ["x", "y", "z"]


def test_a_constant_column_and_equal_rows_have_finite_features():
    rows = Dataset.from_dict({"a": [1, 1, 1], "label": [0, 1, 0]})
    assert np.isfinite(vectors(made(["a"], train=rows)["train"])).all()


def test_what_holds_no_numbers_is_refused_all_at_once():
    rows = Dataset.from_dict(
        {"a": [1.0, np.nan, np.inf], "b": [None, 2, 3], "c": ["x", "y", ""], "d": [True] * 3, "e": [[1]] * 3}
        | {"f": ["1", "NA", "3"], "label": ["u", "v", "u"]}
    )
    for columns, message in {
        "acde": "'c' holds texts such as 'x'; 'd' holds true and false; 'e' holds .*List.*; leave them out, or write",
        "abf": "'a' has none in rows 1, 2; 'b' has none in rows 0; 'f' has none in rows 1; fill them in, or drop",
        "aa": "be different columns, got a, a",
    }.items():
        with pytest.raises(ValueError, match=f"feature_columns must .*{message}"):
            made(list(columns), train=rows)
    with pytest.raises(ValueError, match="feature_columns must not hold labels, got 'label'"):
        made(["label"], train=rows)
    with pytest.raises(ValueError, match="has a column 'features', which feature_columns would replace"):
        made(["a"], train=rows.rename_column("b", "features"))
    labelled = rows.class_encode_column("c")
    with pytest.raises(ValueError, match="'c' holds classes"):
        made(["c"], train=labelled)


def test_reading_a_file(tmp_path):
    lines = ["size;user_id;species", "1.5;007;cat", "2;008;dog", "NA;009;cat", "4;;dog"]
    (tmp_path / "pets.csv").write_text("\n".join(lines[:3]))
    options = {"label_column": "species", "feature_columns": ["size", "user_id"]}
    loaded = load_noisy_dataset(str(tmp_path / "pets.csv"), **options)
    assert isinstance(loaded, DatasetDict)
    assert loaded["train"]["text"][:] == ["size: 1.5 · user_id: 7", "size: 2 · user_id: 8"]
    (tmp_path / "pets.csv").write_text("\n".join(lines))  # in the same second: nothing old is read
    with pytest.raises(
        ValueError, match=r"'size' has none in line 4 of '.*pets.csv'; 'user_id' has none in line 5 of '.*pets.csv'"
    ):
        load_noisy_dataset(str(tmp_path / "pets.csv"), **options)
    with pytest.raises(ValueError, match="got 'text'; feature_columns names columns of numbers, to audit and purify"):
        load_noisy_dataset(str(tmp_path / "pets.csv"), label_column="species")


def test_same_path_size_and_second_with_new_content(tmp_path):
    path, found = tmp_path / "rows.csv", []
    for word in ("good", "evil"):
        path.write_text(f"text,label\n{word} film,a\nbad film,b\n")
        found.append(load_noisy_dataset(str(path))["train"])
    assert [rows["text"][0] for rows in found] == ["good film", "evil film"]
    assert found[0]._fingerprint != found[1]._fingerprint  # `map` keeps results by it
