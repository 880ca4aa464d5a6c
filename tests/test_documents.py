"""The figures in README, docs and cards are those of the result files."""

import itertools
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from benchmarks.competitors import METHODS
from benchmarks.reporting import RESULTS, documents, first_page, read_cells, tuned
from benchmarks.suites import SUITES
from hf_noisy.methods import list_methods

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def written() -> dict[Path, str]:
    """The documents as the result files make them."""
    return documents.documents()


def test_documents_hold_what_the_result_files_say(written):
    for path, content in written.items():
        assert path.read_text() == content, f"{path.name} is stale: python -m benchmarks.reporting.documents"


def test_cards_are_those_of_the_result_files():
    wanted = documents.cards()
    assert set((ROOT / "model_cards").glob("*.md")) == wanted.keys()
    for path, content in wanted.items():
        assert path.read_text() == content, f"{path.name} is stale: python -m benchmarks.reporting.documents"
        assert ModelCard(content).data.eval_results


@pytest.mark.parametrize("name", ["text-small", "vision-small"])
def test_the_small_suites_are_whole(name):
    cells = read_cells(RESULTS / f"cells_{name}.jsonl")
    suite = SUITES[name]
    wanted = itertools.product([setting.name for setting in suite.settings], suite.seeds, METHODS)
    assert cells.keys() == set(wanted)


def test_what_the_page_of_dygen_says_of_fine_tuning():
    suites = [(suite, clean) for suite in (tuned.TEXTS, tuned.IMAGES) for clean in (False, True)]
    dygen, auto = (
        {setting: gain for of in suites for setting, gain in first_page.gains(name, *of).items()}
        for name in ("dygen", "auto")
    )
    assert {setting for setting, gain in dygen.items() if gain < 0} == {"trec rules", "cifar10 clean"}
    assert sum(dygen.values()) < sum(auto[setting] for setting in dygen)


def test_the_first_page_tells_what_beats_auto_on_the_same_seeds(monkeypatch):
    accuracy = {
        # Seed 1 of early stopping has no partner.
        "early_stopping": {"trec rules": {0: 0.5, 1: 0.9}, "sms rules": {0: 0.9}},
        "class_mean": {"trec rules": {0: 0.7}, "sms rules": {0: 0.9}},
        "auto": {"trec rules": {0: 0.6}, "sms rules": {0: 0.8}},
    }
    cells = {
        (setting, seed, method): {"test_accuracy_last": value}
        for method, settings in accuracy.items()
        for setting, seeds in settings.items()
        for seed, value in seeds.items()
    }
    monkeypatch.setattr(first_page, "cells_of", lambda suite: cells)
    assert first_page.ahead() == "Above it: early stopping on sms; class means on trec, sms."
    ours = {(*key[:2], "auto"): {"test_accuracy_last": 1.0} for key in cells}
    monkeypatch.setattr(first_page, "cells_of", lambda suite: cells | ours)
    assert first_page.ahead() == ""


def test_what_the_page_says_of_fine_tuned_images():
    below = {name for name in METHODS if first_page.gains(name, tuned.IMAGES).get("cifar10 asymmetric 40 %", 0) < 0}
    assert "dal" in below
    assert not below & {"dygen", "auto"}


def test_a_changed_figure_is_noticed(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- demo -->\n\nold\n\n<!-- /demo -->\n")
    assert documents.fill(document, {"demo": "new"}) != document.read_text()


def test_every_marker_has_a_table(written):
    for path, content in written.items():
        assert "<!-- " in content
        assert "-->\n<!-- /" not in content, f"an empty table in {path.name}"


def sections() -> dict[str, str]:
    """Page of each method under docs/methods, by its headings."""
    pages = sorted((ROOT / "docs" / "methods").glob("*.md"))
    found = [
        (name, path.name) for path in pages for name in re.findall(r"^## `(\w+)`$", path.read_text(), re.MULTILINE)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("name", list_methods())
def test_every_method_has_a_section(name):
    overview = (ROOT / "docs" / "methods" / "README.md").read_text()
    assert f"[{name}]({sections()[name]}#{name})" in overview


def test_every_section_is_of_a_method():
    assert sections().keys() == list_methods().keys()
