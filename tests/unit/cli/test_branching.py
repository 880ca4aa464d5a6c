"""Networks as the options `--branches` and `--shared_layers` ask for them."""

import pytest
from transformers import TrainingArguments

from hf_noisy.cli.arguments import ImageArguments, TextArguments
from hf_noisy.cli.branching import with_asked_branches
from hf_noisy.methods import make_method
from tests.unit.models.conftest import _network


def training(folder):
    return TrainingArguments(str(folder), report_to="none", use_cpu=True)


def asked(folder, method="nct", **options):
    method = method if method == "auto" else make_method(method)
    return with_asked_branches(_network("bert"), TextArguments(**options), method, training(folder))


def test_networks_are_those_that_were_asked_for(tmp_path):
    lora = asked(tmp_path / "one", branches="lora")
    assert (lora.num_branches, lora.config.shared_layers, lora._kept) == (2, 0, None)
    assert lora.config.lora is not None
    shared = asked(tmp_path / "two", "dygen", shared_layers=1)
    assert (shared.config.lora, shared.config.shared_layers) == (None, 1)
    assert shared._kept is not None


def test_otherwise_the_trainer_makes_them(tmp_path):
    model = _network("bert")
    for options in (TextArguments(), ImageArguments()):
        assert with_asked_branches(model, options, make_method("nct"), training(tmp_path)) is model


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("cross_entropy", {"branches": "lora"}, "--branches lora is for a named method of several networks"),
        ("auto", {"shared_layers": 2}, "--shared_layers is for a named method of several .* got auto; leave it out"),
    ],
)
def test_other_methods_are_refused(method, options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        asked(tmp_path, method, **options)
