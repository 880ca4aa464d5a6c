import platform
import re
import time
from importlib.metadata import version

import datasets
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from hf_noisy.data import load_noisy_dataset, majority_vote, noise_record
from hf_noisy.data.builders import docs, docstrings
from hf_noisy.data.fingerprint import texts_digest


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    start = time.process_time()
    builder = docs.DocsBuilder(cache_dir=str(tmp_path_factory.mktemp("docs")))
    builder.download_and_prepare()
    return builder, builder.as_dataset(), time.process_time() - start


def test_rows_classes_and_noise(built):
    _, splits, seconds = built
    assert seconds < 60  # of processor time; about 5 on an idle machine
    assert list(splits) == ["train", "validation", "test"]
    total = sum(len(split) for split in splits.values())
    for split, share in {"train": 0.45, "validation": 0.1, "test": 0.45}.items():
        rows = splits[split].with_format("numpy")
        assert len(rows) / total == pytest.approx(share, abs=0.03)
        assert np.bincount(rows["clean_label"][:]).min() > 0.12 * len(rows)
        assert 0.3 < (rows["label"][:] != rows["clean_label"][:]).mean() < 0.45
    assert min(len(splits["train"]), len(splits["test"])) >= 1500
    texts = [text for split in splits.values() for text in split["text"][:]]
    assert len(docstrings.without_near_duplicates(texts)) == len(texts)
    assert all(5 <= len(text.split()) <= 40 for text in texts)


def test_no_text_names_a_package(built):
    _, splits, _ = built
    texts = " ".join(text for split in splits.values() for text in split["text"][:])
    words = set(re.findall(r"\w+", texts.lower()))
    assert not words & {"python", "cpython", "sympy", "networkx", "nx"}


def test_given_labels_are_the_majority_of_the_votes(built):
    _, splits, _ = built
    train = splits["train"]
    votes = np.array(train["votes"][:])
    assert (votes == docs.vote(train["text"][:])).all()
    assert (votes >= 0).any(axis=1).all()
    given = np.array(train["label"][:])
    majority, covered = majority_vote(votes, len(docs.CLASSES), ties="abstain")
    assert covered.all()
    clear = majority >= 0
    assert 0.5 < clear.mean() < 0.9
    assert (majority == given)[clear].all()
    counts = np.stack([(votes == label).sum(axis=1) for label in range(len(docs.CLASSES))], axis=1)
    assert (counts[np.arange(len(given)), given] == counts.max(axis=1)).all()


def test_true_labels_can_be_learned_and_beat_the_rules(built):
    _, splits, _ = built
    vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True)
    train, test = vectorizer.fit_transform(splits["train"]["text"][:]), vectorizer.transform(splits["test"]["text"][:])
    truth = splits["test"]["clean_label"][:]
    scores = {
        column: LogisticRegression(C=5.0, max_iter=1000).fit(train, splits["train"][column][:]).score(test, truth)
        for column in ("clean_label", "label")
    }
    assert scores["clean_label"] > 0.75
    assert 0.5 < scores["label"] < scores["clean_label"] - 0.1


def test_a_new_version_of_a_package_is_not_served_old_rows(built, monkeypatch):
    builder, _, _ = built
    same = docs.DocsBuilder(cache_dir=builder._cache_dir_root)
    assert same.cache_dir == builder.cache_dir
    assert f'"python": "{platform.python_version()}"' in builder.info.description
    assert f'"sympy": "{version("sympy")}"' in builder.info.description
    monkeypatch.setattr(docs, "version", lambda name: "99")
    upgraded = docs.DocsBuilder(cache_dir=builder._cache_dir_root)
    assert upgraded.cache_dir != builder.cache_dir
    assert '"networkx": "99"' in upgraded.info.description


@pytest.mark.slow
def test_a_changed_docstring_leaves_the_other_rows_as_they_are(monkeypatch):
    before = docs._rows()
    read = docstrings.sentences
    added = "Return the message of an address that nobody has sent."
    monkeypatch.setattr(docstrings, "sentences", lambda modules: [*read(modules)[1:], *[added] * ("email" in modules)])
    after = docs._rows()
    assert added in [row["text"] for row in after]
    changed = {row["text"] for row in before} ^ {row["text"] for row in after}
    assert 2 <= len(changed) <= 3 * len(docs.CLASSES)
    kept = [[row for row in rows if row["text"] not in changed] for rows in (before, after)]
    assert kept[0] == kept[1]


def test_the_digest_is_of_the_texts(built, monkeypatch):
    builder, splits, _ = built
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", builder._cache_dir_root)
    digest = docs.docs_digest()
    assert re.fullmatch("[0-9a-f]{12}", digest)
    texts = [text for split in splits.values() for text in split["text"][:]]
    assert digest == texts_digest(texts)
    assert digest != texts_digest(texts[::-1])


def test_rows_are_the_same_when_built_again(built, monkeypatch):
    _, splits, _ = built
    rows = docs._rows()
    first = [row["text"] for row in rows if docs._split(row["text"]) == "train"]
    assert first == splits["train"]["text"][:]


def test_true_labels_can_be_had(built, monkeypatch):
    builder, splits, _ = built
    rows = list(splits["train"].select(range(5)))
    monkeypatch.setattr(docs, "_rows", lambda: rows)
    clean = docs.DocsBuilder("clean", cache_dir=builder._cache_dir_root)
    assert [row["label"] for _, row in clean._generate_examples(rows)] == [row["clean_label"] for row in rows]


def test_loading_records_the_noise_of_each_split(monkeypatch, built):
    builder, splits, _ = built
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", builder._cache_dir_root)
    loaded = load_noisy_dataset("docs")
    for key, split in loaded.items():
        rows = splits[key].with_format("numpy")
        record = noise_record(split)
        assert record["kind"] == "rules"
        assert record["rate_measured"] == pytest.approx((rows["label"][:] != rows["clean_label"][:]).mean())
    with pytest.raises(ValueError, match="dataset 'docs' already has noisy labels"):
        load_noisy_dataset("docs", noise_type="symmetric", noise_rate=0.2)
