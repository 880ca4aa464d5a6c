from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from transformers import TrainingArguments

from hf_noisy.cli.arguments import DyGenArguments, ImageArguments, TextArguments
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


@pytest.fixture
def machine(monkeypatch):
    """A machine with only a CPU, with or without instructions for bfloat16."""

    def machine(bfloat16: bool) -> None:
        monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda: bfloat16, raising=False)

    return machine


def speed(kind, tmp_path, *words: str):
    _, training = parse_training(kind, [*words, "--report_to", "none", "--output_dir", str(tmp_path)])
    return training.bf16, training.use_cpu, str(training.train_sampling_strategy)


@pytest.mark.parametrize("kind", [TextArguments, DyGenArguments])
def test_texts_are_grouped_by_length_and_in_bfloat16_where_that_is_faster(kind, machine, tmp_path):
    machine(bfloat16=True)
    assert speed(kind, tmp_path) == (True, True, "group_by_length")
    machine(bfloat16=False)
    assert speed(kind, tmp_path) == (False, True, "group_by_length")
    assert speed(kind, tmp_path, "--bf16") == (True, True, "group_by_length")  # needs no --use_cpu


def test_images_on_a_cpu_keep_the_defaults_of_trainer(machine, tmp_path):
    machine(bfloat16=True)
    assert speed(ImageArguments, tmp_path) == (False, True, "random")


def test_options_of_the_user_win(machine, tmp_path, monkeypatch):
    machine(bfloat16=True)
    words = ("--bf16", "false", "--train_sampling_strategy", "random")
    assert speed(TextArguments, tmp_path, *words) == (False, True, "random")
    assert speed(TextArguments, tmp_path, "--fp16", "false") == (False, True, "group_by_length")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert speed(TextArguments, tmp_path) == (False, True, "group_by_length")


def test_a_recipe_is_followed_as_it_is(machine, tmp_path):
    machine(bfloat16=True)
    (tmp_path / "recipe.yaml").write_text("learning_rate: 1e-4")
    assert speed(TextArguments, tmp_path, str(tmp_path / "recipe.yaml")) == (False, True, "random")
    assert speed(TextArguments, tmp_path, str(tmp_path / "recipe.yaml"), "--bf16", "true")[:2] == (True, True)


def test_adapters_have_a_learning_rate_of_their_own(tmp_path):
    def rates(kind, *words):
        arguments, training = parse_training(kind, [*words, "--report_to", "none", "--output_dir", str(tmp_path)])
        return training.learning_rate, getattr(arguments, "branch_learning_rate", None)

    lora = ("--branches", "lora")
    assert rates(TextArguments) == (1e-4, None)
    assert rates(TextArguments, *lora) == (1e-3, None)
    assert rates(TextArguments, *lora, "--learning_rate", "3e-4") == (3e-4, None)
    assert rates(DyGenArguments, *lora) == (1e-4, 1e-3)
    assert rates(DyGenArguments, *lora, "--learning_rate", "3e-4") == (3e-4, None)
    assert rates(DyGenArguments, *lora, "--branch_learning_rate", "2e-3") == (1e-4, 2e-3)
    assert rates(Arguments)[0] == TrainingArguments.learning_rate


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
