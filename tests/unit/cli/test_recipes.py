from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from hf_noisy.cli.recipes import keyword_arguments
from hf_noisy.cli.recipes import parse as parse_training


@dataclass
class Arguments:
    method: str = "cross_entropy"
    method_args: list[str] = field(default_factory=list)
    lr_milestones: list[int] | None = None
    model_name_or_path: str | None = "default"

    defaults: ClassVar[dict] = {}


@pytest.fixture
def parse(tmp_path, monkeypatch):
    def parse(text: str, *words: str):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(text)
        monkeypatch.setattr(Arguments, "defaults", {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True})
        return parse_training(Arguments, [str(recipe), *words])

    return parse


RECIPE = """
# a comment
method: nct
method_args: {temperature: 4, phase_shift: -0.65, view: auto, weights: [0.2, 0.8]}
lr_milestones: [180, 190]
model_name_or_path: null
learning_rate: 2e-2  # a string to YAML 1.1
bf16: false
num_train_epochs: 200
"""


def test_a_recipe_is_read_with_the_types_of_the_script(parse):
    arguments, training = parse(RECIPE)
    assert (arguments.method, arguments.lr_milestones) == ("nct", [180, 190])
    assert arguments.model_name_or_path == "default"  # null leaves what the script has
    assert (training.learning_rate, training.bf16, training.num_train_epochs) == (0.02, False, 200)
    assert keyword_arguments(arguments.method_args) == {
        "temperature": 4,
        "phase_shift": -0.65,
        "view": "auto",
        "weights": [0.2, 0.8],
    }


def test_the_command_line_wins(parse):
    arguments, training = parse(RECIPE, "--learning_rate", "0.5", "--lr_milestones", "1", "--method_args", "a=1")
    assert (training.learning_rate, training.num_train_epochs, arguments.lr_milestones) == (0.5, 200, [1])
    assert (arguments.method, arguments.method_args) == ("nct", ["a=1"])


@pytest.mark.parametrize("words", [("--method", "gce"), ("--method=gce",)])
def test_another_method_leaves_the_arguments_of_the_first_behind(parse, words):
    arguments, _ = parse(RECIPE, *words)
    assert (arguments.method, arguments.method_args) == ("gce", [])


QUIET = ["--report_to", "none", "--use_cpu", "true", "--output_dir", "output"]


def test_without_a_recipe_nothing_changes():
    assert parse_training(Arguments, ["--method", "gce", *QUIET])[0].method == "gce"
    assert parse_training(Arguments, QUIET)[0] == Arguments()


def test_the_words_of_the_process_are_the_default(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--method", "gce", *QUIET])
    assert parse_training(Arguments)[0].method == "gce"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1", "has the argument 'learning_rat', which the script does not know; see learning_rate"),
        ("xyzzy: 1", "'xyzzy', which the script does not know; see --help"),
        ("learning", "of the form `argument: value`, got str"),  # a prefix that argparse alone would let pass
        ("", "of the form `argument: value`, got NoneType"),
        ("learning: 1", "'learning', which the script does not know"),
    ],
)
def test_a_recipe_with_a_fault_is_refused(parse, text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml is not there; the first word is a YAML file or begins"):
        parse_training(Arguments, [str(tmp_path / "none.yaml")])


def test_keyword_arguments():
    pairs = ["a=1", "b=2.5e-1", "c=None", "d=false", "e=x=y", "f=(1, 2)", "g="]
    expected = {"a": 1, "b": 0.25, "c": None, "d": False, "e": "x=y", "f": (1, 2), "g": ""}
    assert keyword_arguments(pairs) == expected


@pytest.mark.parametrize("pair", ["temperature", "=4", "a b=1", "--q=1"])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(ValueError, match="method_args must be key=value pairs, got"):
        keyword_arguments([pair])


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("--num_epochs", "'--num_epochs' is no training option; similar ones are --num_train_epochs"),
        ("3", "'3' is no training option; see --help"),
    ],
)
def test_an_unknown_training_option_is_refused_with_similar_ones(parse, word, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse("method: nct", word, "4")
