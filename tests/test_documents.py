"""The figures in README, docs and cards are those of the result files."""

import itertools
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from benchmarks.competitors import METHODS
from benchmarks.reporting import RESULTS, documents, read_cells
from benchmarks.suites import SUITES
from hf_noisy.methods import list_methods

ROOT = Path(__file__).parent.parent


def test_documents_hold_what_the_result_files_say():
    for path, content in documents.documents().items():
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


def test_a_changed_figure_is_noticed(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("<!-- demo -->\n\nold\n\n<!-- /demo -->\n")
    assert documents.fill(document, {"demo": "new"}) != document.read_text()


def test_every_marker_has_a_table():
    for path, content in documents.documents().items():
        assert "<!-- " in content
        assert "-->\n<!-- /" not in content, f"an empty table in {path.name}"


SECTIONS = ["What it is for", "Use it", "What it does", "What is logged", "Implementation choices"]


@pytest.mark.parametrize("name", list_methods())
def test_every_method_has_a_page_with_five_sections(name):
    lines = (ROOT / "docs" / "methods" / f"{name}.md").read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[0].endswith(f"(`{name}`)")
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS
    code = "\n".join(lines).split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert f"[{name}]({name}.md)" in (ROOT / "docs" / "methods" / "README.md").read_text()


def test_every_page_is_of_a_method():
    pages = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")} - {"README"}
    assert pages == list_methods().keys()
