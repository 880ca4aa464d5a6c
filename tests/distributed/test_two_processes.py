"""Two processes train and record what one process does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.contract.runs import SHORT_CASES
from tests.distributed import launch, worker

TOLERANCE = 1e-6
DISAGREEING = ("co_teaching_plus", "coregularization", "dygen", "jocor", "sidyp")  # they log a disagreement
RIGHT = [name for name in worker.names() if "/" in name]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs the gloo backend")


def ranks(folder: Path, name: str) -> list[dict[str, torch.Tensor]]:
    return [load_file(folder / f"{name.replace('/', '-')}-{rank}.safetensors") for rank in range(2)]


def gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], prefix: str) -> float:
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one if key.startswith(prefix))


def test_every_method_is_run():
    run = {*RIGHT, *worker.cases(is_slow=True)} - set(worker.OF_VOTES)
    assert {name.split("/")[0] for name in run} == {method for method, _ in SHORT_CASES}


@pytest.fixture(scope="module")
def launched_slowly(tmp_path_factory) -> Path:
    """As `launched`, of the methods that the fast tests leave out."""
    folder = tmp_path_factory.mktemp("slow-ranks")
    launch.torchrun("tests.distributed.worker", folder, "slow", timeout=1800)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", worker.cases(is_slow=True))
def test_methods_of_slow_tests_are_those_of_one_process(name, launched_slowly, tmp_path):
    check(name, launched_slowly, tmp_path)


@pytest.mark.parametrize("name", RIGHT)
def test_parameters_and_logs_are_those_of_one_process(name, launched, tmp_path):
    check(name, launched, tmp_path)


def check(name: str, folder: Path, tmp_path: Path) -> None:
    first, second = ranks(folder, name)
    assert gap(first, second, "model.") == 0.0
    alone = worker.results(name, tmp_path, 1)
    assert gap(alone, first, "model.") < TOLERANCE
    assert gap(alone, first, "log.") < 1e-5
    assert ("log.disagreement" in alone) == name.startswith(DISAGREEING)


def test_auto_measures_and_trains_as_one_process(launched, tmp_path):
    first, second = ranks(launched, "automatic")
    alone = worker.automatic(tmp_path, 1)
    assert gap(first, second, "") == 0.0
    assert bytes(first["why"].tolist()) == bytes(alone["why"].tolist())
    assert b"of 96 rows" in bytes(alone["why"].tolist())
    assert gap(alone, first, "model.") < TOLERANCE


def test_dygen_predicts_and_distils_as_one_process(launched, tmp_path):
    first, second = ranks(launched, "one-line")
    assert gap(first, second, "") == 0.0
    alone = worker.one_line(tmp_path, 1)
    assert gap(alone, first, "") < 1e-3  # trajectories are float16
    names = {path.name for path in (launched / "one-line").iterdir()}
    assert {"config.json", "branches", "dygen", "_dygen"} <= names


def test_rows_in_another_order_are_refused(launched):
    for found in ranks(launched, "other"):
        assert found["refused"].tolist() == [True, True]
        assert found["files"] == 0


def test_a_wrong_scale_is_caught(launched, tmp_path):
    first, _ = ranks(launched, "no-rank-factor")
    assert gap(worker.results("cross_entropy/plain", tmp_path, 1), first, "model.") > 1e-4


def test_a_module_outside_the_wrapped_model_is_caught(launched):
    first, second = ranks(launched, "own-network")
    assert gap(first, second, "method.") > 1e-4


def test_recorded_files_are_those_of_one_process(launched, tmp_path):
    alone = worker.record(tmp_path, 1).trajectories
    worker.check_recorded(launched / "recorded", tmp_path)
    assert all(rank["epochs"].tolist() == alone.epochs == [1, 2] for rank in ranks(launched, "epochs"))


def test_resumed_run_is_the_uninterrupted_run_on_each_rank(launched):
    for rank in ranks(launched, "resumed"):
        assert all(value == 0 for value in rank.values())


def test_code_of_a_model_runs_on_no_process(launched):
    for found in ranks(launched, "code"):
        assert (found["refused"].tolist(), bool(found["ran"])) == ([True, True], False)


@pytest.mark.slow
def test_the_command_trains_on_two_processes_and_leaves_one_output(tmp_path):
    rows = "".join(f"{'good' if row % 2 else 'bad'} {row},{'ab'[row % 2]}\n" for row in range(40))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    words = ["train", tmp_path / "rows.csv", "--output", tmp_path / "place" / "out"]
    options = ["--use_cpu", "true", "--report_to", "none", "--num_train_epochs", "1"]
    launch.torchrun("tests.distributed.command", *words, *options)
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["out"]
    assert json.loads((tmp_path / "place" / "out" / "summary.json").read_text())["num_train"] == 32
    (tmp_path / "place" / "out" / "thesis.txt").touch()
    with pytest.raises(AssertionError, match=r"hf-noisy: --output .* also holds 'thesis.txt'"):
        launch.torchrun("tests.distributed.command", *words, *options, "--overwrite")
