"""Every Python block of README and docs runs, and every command names what exists and parses."""

import re
import runpy
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import datasets
import numpy as np
import pytest
from transformers import HfArgumentParser

from hf_noisy.cli.arguments import DyGenArguments, ImageArguments, TextArguments
from hf_noisy.cli.recipes import parse as parse_training
from hf_noisy.data import checked_rows, write_checked
from tests.docs import surroundings

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
}
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
# Pages whose code takes more than a second or two, or reads real data.
SLOW = {"data", "detection", "noise", "paper_index", "publish"}
# These talk to the Hub and run where one stands: tests/hub/push_documents.py.
ON_THE_HUB = {"docs/publish.md"}


def blocks(page: str, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(PAGES[page]) if kind == language]


def pages(language: str) -> list:
    left_out = ON_THE_HUB if language == "python" else ()
    found = [page for page in PAGES if blocks(page, language) and page not in left_out]
    marks = {page: pytest.mark.slow if language == "python" and Path(page).stem in SLOW else () for page in found}
    return [pytest.param(page, marks=marks[page], id=page) for page in sorted(found)]


def before(page: str, number: int, names: dict) -> None:
    """What the text around a block says is there."""
    if (page, number) in {("docs/quickstart.md", 0), ("docs/serving.md", 0)}:  # they begin with a trained DyGEN
        exec(blocks("docs/dygen.md", "python")[0], names)
        names["trainer"].dygen.save_pretrained("output/reviews/dygen")
        shutil.copytree("output/run/_dygen", "output/reviews/_dygen")
    if (page, number) == ("docs/purify.md", 1):
        names["dataset"] = surroundings.pictures()
    if (page, number) == ("docs/data.md", 1):
        names["dataset"] = datasets.DatasetDict(train=surroundings.pictures(), test=surroundings.pictures())
    if (page, number) == ("docs/checked_rows.md", 1):  # a person has filled in the sample
        sample, true = names["sample"], names["train"].with_format("numpy")["clean_label"][:]
        column = np.full(len(true), -1)
        column[sample.index] = true[sample.index]
        checked = checked_rows(names["train"], column, strategy="random")
        write_checked("checked.csv", names["train"], checked)
    if (page, number) == ("README.md", 0):
        rows, kind = names["train"], names["train"].features["label"]
        columns = {"text": rows["text"][:], "label": kind.int2str(rows["label"][:])}
        names["fetched"] = datasets.Dataset.from_dict(columns)
    if page == "docs/paper_index.md":
        cifar = surroundings.pictures(200, 8).rename_columns({"image": "img", "label": "fine_label"})
        hundred = cifar.remove_columns("fine_label").add_column("fine_label", [n % 100 for n in range(200)])
        hundred = hundred.cast_column("fine_label", datasets.ClassLabel(num_classes=100))
        names["fetched"] = datasets.DatasetDict(train=hundred, test=hundred)


@pytest.mark.parametrize("page", pages("python"))
def test_python_runs(page, tmp_path, monkeypatch, request):
    code = blocks(page, "python")
    if "load_noisy_dataset" in "".join(code):
        request.getfixturevalue("data_dir")
    monkeypatch.chdir(tmp_path)
    names = surroundings.names(tmp_path)
    # No network: what would be fetched is made here, what would be pushed stays here.
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: names["fetched"])
    monkeypatch.setattr(datasets.DatasetDict, "push_to_hub", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.repocard.RepoCard.push_to_hub", lambda *_, **__: None)
    (tmp_path / "sentence-transformers").mkdir()
    shutil.copytree(tmp_path / "encoder", tmp_path / "sentence-transformers" / "all-MiniLM-L6-v2")
    for number, block in enumerate(code):
        before(page, number, names)
        exec(compile(block, f"{page}, block {number + 1}", "exec"), names)


def commands(page: str) -> list[str]:
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").replace(" && ", "\n").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


TRAINING = {"run_dygen": DyGenArguments, "train_robust_image": ImageArguments, "train_robust_text": TextArguments}


def parse_script(script: str, words: list[str]) -> None:
    assert (ROOT / script).is_file(), script
    if kind := TRAINING.get(Path(script).stem):
        if words and words[0].endswith(".yaml"):
            # "my_recipe.yaml" stands for a file of the reader.
            words = [str(ROOT / words[0]), *words[1:]] if words[0].startswith("examples") else words[1:]
        parse_training(kind, [*words, "--use_cpu", "true"])  # whatever this machine has
    else:
        found = runpy.run_path(str(ROOT / script), run_name="documents")
        HfArgumentParser(found["Arguments"]).parse_args_into_dataclasses(words)


def parse(line: str) -> None:
    words = shlex.split(line, comments=True)
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    program, rest = Path(words[0]).name, words[1:]
    if program in ("export", "source") or (program, rest[0]) == ("pip", "install") or rest[:2] == ["-m", "venv"]:
        return
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), rest[0]
    elif program == "hf-noisy":
        from typer.main import get_command

        from hf_noisy.cli.app import app

        group = get_command(app)
        with group.make_context("hf-noisy", rest[:1], resilient_parsing=True) as context:
            name, command, _ = group.resolve_command(context, rest)
            command.make_context(name, rest[1:], parent=context)
    elif program in ("accelerate", "torchrun"):
        script = next(number for number, word in enumerate(rest) if word.endswith(".py"))
        for word in rest[:script]:
            assert not word.endswith(".yaml") or (ROOT / word).is_file(), word
        parse_script(rest[script], rest[script + 1 :])
    elif program.startswith("python") and rest[0] == "-m" and rest[1].startswith("benchmarks."):
        module = import_module(rest[1])
        if hasattr(module, "Arguments"):
            HfArgumentParser(module.Arguments).parse_args_into_dataclasses(rest[2:])
        else:
            assert not rest[2:], f"{rest[1]} takes no options"
    elif program.startswith("python") and rest[0].endswith(".py"):
        parse_script(rest[0], rest[1:])
    else:
        raise AssertionError(f"nothing knows how to check: {line}")


@pytest.mark.parametrize("page", pages("bash"))
def test_commands_name_what_exists_and_parse(page, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    for line in commands(page):
        try:
            parse(line)
        except SystemExit as stop:
            pytest.fail(f"{line}: refused by its own parser ({stop})")


def test_a_wrong_command_is_noticed():
    with pytest.raises((AssertionError, SystemExit, ValueError)):
        parse("python examples/run_dygen.py --no_such_option 1")
    with pytest.raises(AssertionError):
        parse("make nothing")
    with pytest.raises(AssertionError):
        parse("python examples/no_such.py")


def anchors(file: Path) -> set[str]:
    """Those of the headings of a page, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def faulty_links(page: str, content: str) -> list[str]:
    """Targets that are no file, or no heading of it."""
    faulty = []
    for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", re.sub(r"`[^`\n]*`", "", content)):
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        is_there = file.exists() and (not anchor or anchor in anchors(file))
        if not is_there and not target.startswith(("http", "mailto")):
            faulty.append(target)
    return faulty


def test_links_lead_somewhere():
    assert {page: found for page, content in PAGES.items() if (found := faulty_links(page, content))} == {}


def test_a_faulty_link_is_noticed():
    content = "[a](limits.md#files) [b](limits.md#no-such) [c](no_such.md) [d](#no-such) [e](https://a.b/c#d)"
    assert faulty_links("docs/choosing.md", content) == ["limits.md#no-such", "no_such.md", "#no-such"]
