"""The recipes of the papers: each is read by the example it names, and stands in the index of papers."""

import re
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
import yaml

from hf_noisy.cli.arguments import DyGenArguments, ImageArguments, TextArguments
from hf_noisy.cli.inputs import published_optimizer
from hf_noisy.cli.recipes import keyword_arguments, parse
from hf_noisy.data.builders import cifar100
from hf_noisy.methods import make_method
from hf_noisy.methods.nct import NCT

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "paper_index.md"
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*.yaml"))
# Table 5 of NRD: the student's weight; label and teacher share the rest.
STUDENT = {
    "cifar10": {
        "clean": 0.6,
        "symmetric_20": 0.6,
        "symmetric_40": 0.6,
        "symmetric_60": 0.5,
        "symmetric_80": 0.5,
        "asymmetric_20": 0.8,
        "asymmetric_40": 0.7,
    },
    "cifar100": {
        "clean": 0.6,
        "symmetric_20": 0.6,
        "symmetric_40": 0.6,
        "symmetric_60": 0.6,
        "symmetric_80": 0.7,
        "asymmetric_20": 0.5,
        "asymmetric_40": 0.2,
    },
}


KINDS = {"run_dygen": DyGenArguments, "train_robust_image": ImageArguments, "train_robust_text": TextArguments}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_read_by_the_example_that_it_names(recipe):
    command = recipe.read_text().splitlines()[1]
    named = re.fullmatch(r"# python examples/(\w+)\.py examples/recipes/(\w+)\.yaml", command)
    assert named, command
    assert named[2] == recipe.stem
    words = [str(recipe), "--use_cpu", "true", "--report_to", "none"]
    arguments, training = parse(KINDS[named[1]], words)
    for name, value in yaml.safe_load(recipe.read_text()).items():
        if name != "method_args":
            read = getattr(arguments, name, getattr(training, name, None))
            assert read == (float(value) if isinstance(read, float) else value), name
    assert training.output_dir == f"output/{recipe.stem}"
    if named[1] == "run_dygen":
        assert (arguments.preset, training.num_train_epochs, training.weight_decay) == ("paper", 10, 0)
    else:
        make_method(arguments.method, **keyword_arguments(arguments.method_args))
        assert recipe.stem.startswith(arguments.method)
        assert arguments.momentum == 0.9


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_number_of_a_recipe_has_a_source(recipe):
    exempt = {"noise_seed", "image_size", "output_dir", "method", "method_args"}
    for line in recipe.read_text().splitlines():
        name, colon, rest = line.partition(":")
        if colon and not line.startswith("#") and name.strip() not in exempt and re.search(r"\d", rest.split("#")[0]):
            assert "#" in rest or name in ("dataset", "noise_type"), line


def test_the_index_has_every_recipe_and_what_its_paper_reports():
    text = INDEX.read_text()
    linked = re.findall(r"\[(\w+)\]\(\.\./examples/recipes/(\w+)\.yaml\)", text)
    assert all(name == file for name, file in linked)
    assert sorted(name for name, _ in linked) == [path.stem for path in RECIPES]
    for path in RECIPES:
        if reported := re.search(r"Reported: ([\d.]+) %", path.read_text()):
            row = next(line for line in text.splitlines() if f"/{path.stem}.yaml)" in line)
            assert f" {reported[1]} |" in row


@pytest.mark.parametrize(("data", "setting"), [(data, setting) for data in STUDENT for setting in STUDENT[data]])
def test_the_weights_are_those_of_the_table(data, setting):
    recipe = yaml.safe_load((ROOT / "examples" / "recipes" / f"nrd_{data}_{setting}.yaml").read_text())
    student, classes = STUDENT[data][setting], {"cifar10": 10, "cifar100": 100}[data]
    label = round((1 - student) / 2, 6)
    assert recipe["method_args"]["weights"] == [label, student, label]
    if setting.startswith("symmetric"):
        redrawn = int(setting[-2:]) / 100
        assert recipe["noise_rate"] == pytest.approx(redrawn * (classes - 1) / classes)


def test_the_schedules_of_nct_are_those_of_the_paper():
    recipe = ROOT / "examples" / "recipes" / "nct_cifar10_symmetric_50.yaml"
    arguments, training = parse(ImageArguments, [str(recipe), "--report_to", "none"])
    method = make_method(arguments.method, **keyword_arguments(arguments.method_args))
    assert isinstance(method, NCT)
    epochs = int(training.num_train_epochs)
    assert [round(method.alpha(epoch, epochs), 4) for epoch in (0, 90, 180)] == [0.4698, 0.765, 0.9]
    assert [round(method.rate(epoch, epochs), 4) for epoch in (0, 2, 3, 199)] == [0, 0, 0.0655, 0.4995]


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [([2, 3], [1, 1, 0.1, 0.01, 0.01]), (None, [1, 0.1, 0.01, 1e-3, 1e-4])],
)
def test_the_learning_rate_falls_after_whole_epochs(milestones, expected):
    args = SimpleNamespace(learning_rate=1.0, weight_decay=0.5, gradient_accumulation_steps=2, num_train_epochs=5)
    trainer = SimpleNamespace(args=args, model=torch.nn.Linear(2, 2), get_train_dataloader=lambda: range(5))
    arguments = SimpleNamespace(momentum=0.9, nesterov=True, lr_gamma=0.1, lr_milestones=milestones)
    optimizer, schedule = published_optimizer(trainer, arguments)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5]  # of the bias too
    rates = []
    for _ in range(5):
        for _ in range(3):  # five batches, two a step
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    np.testing.assert_allclose(rates, np.repeat(expected, 3))


def test_the_data_of_the_index_can_be_prepared(tmp_path, monkeypatch):
    """The snippet of the index, run on a small set with the columns of CIFAR-100."""
    code = INDEX.read_text().split("```python\n")[1].split("```")[0]
    names = datasets.ClassLabel(names=cifar100.CLASSES)
    classes = list(range(100)) * 5
    rows = {"img": list(range(500)), "fine_label": classes, "coarse_label": [label // 5 for label in classes]}
    small = datasets.Dataset.from_dict(rows).cast_column("fine_label", names)
    pair = datasets.DatasetDict(train=small, test=small)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: pair)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "paper_index.md", "exec"), {})
    assert datasets.load_from_disk("data/cifar100")["train"].column_names == ["image", "label", "coarse_label"]
    noisy = datasets.load_from_disk("data/cifar100_asymmetric_40")["train"]
    given, true = np.array(noisy["label"]), np.array(noisy["clean_label"])
    assert (given != true).mean() == pytest.approx(0.4)
    moves = set(zip(true[given != true].tolist(), given[given != true].tolist(), strict=True))
    assert moves == set(cifar100.CLASS_MAP.items())
