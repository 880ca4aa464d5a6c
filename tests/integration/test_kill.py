"""The DyGEN example is killed wherever it may be; resumed, it ends with the same bytes as a run that never stopped."""

import errno
import json
import os
import runpy
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hf_noisy.training.checkpoints import last_whole_checkpoint
from tests.contract.runs import file_contents
from tests.integration import example_process, test_run_dygen

encoder = test_run_dygen.encoder  # a fixture
EPOCHS = 4
LAST = f"checkpoint-{EPOCHS * 10}"  # 320 training rows in batches of 32
RESULTS = ("posterior.safetensors", "dygen/dygen.safetensors")
KILLS = 20
SECONDS = 120.0  # more than any run takes


def words_of(data: Path, encoder: Path, output: Path, *more: str) -> list[str]:
    given = {
        "dataset": data,
        "text_column": "sentence",
        "label_column": "category",
        "model_name_or_path": encoder,
        "output_dir": output,
        "num_train_epochs": EPOCHS,
        "learning_rate": 5e-3,
        "seed": 3,
        "use_cpu": "true",
        "disable_tqdm": "false",
        "save_strategy": "epoch",
        "save_total_limit": 2,
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(value))] + list(more)


def finish(words: list[str], folder: Path) -> None:
    process = example_process.start("run_dygen.py", words, folder)
    process.join(SECONDS)
    assert process.exitcode == 0, (folder / "log.txt").read_text()[-6000:]


def kill(words: list[str], folder: Path, is_time: Callable[[], bool], delay: float) -> bool:
    """Starts a run and kills it `delay` seconds after `is_time`; False if it had ended by then."""
    process = example_process.start("run_dygen.py", words, folder)
    end = time.monotonic() + SECONDS
    while process.exitcode is None and time.monotonic() < end and not is_time():
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode == -9


def names(folder: Path) -> set[str]:
    """Names in a folder that another process is changing."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def at_work(output: Path) -> Path:
    """Where a run writes until it has ended."""
    return output.with_name(f"{output.name}.training")


def recordings(output: Path) -> Path:
    return output / "_dygen" / "_trajectories"


def being_saved(output: Path) -> bool:
    """Whether there is a checkpoint that is not whole yet."""
    folders = [output / name for name in names(output) if name.startswith("checkpoint-")]
    folders += [output / "cross_entropy" / name for name in names(output / "cross_entropy") if "checkpoint" in name]
    return any("trainer_state.json" not in names(folder) for folder in folders)


def being_recorded(output: Path) -> bool:
    """Whether there is an epoch of which some files are there, or a file that has no name yet."""
    files = {split: names(recordings(output) / split) for split in ("train", "test")}
    epochs = Counter(name[:9] for found in files.values() for name in found if name.startswith("epoch-"))
    return any(name.endswith(".tmp") for found in files.values() for name in found) or any(
        count < 4 for count in epochs.values()
    )


def in_vae(output: Path) -> bool:
    """Whether the progress bar of the VAE has begun."""
    log = output.parent / "log.txt"
    return log.is_file() and "Dirichlet VAE" in log.read_text()


def phase(output: Path) -> str:
    """What a run was at when it was killed, by what it left."""
    if being_saved(output):
        return "saving"
    if being_recorded(output):
        return "recording"
    if "trainer_state.json" in names(output / LAST):
        if "posterior.safetensors" in names(output):
            return "writing results"
        return "VAE" if in_vae(output) and "dygen" not in names(output) else "stage II"
    if "_dygen" in names(output):
        return "training stage I"
    return "training cross-entropy" if "cross_entropy" in names(output) else "loading"


def moment(output: Path, wanted: str, epoch: int) -> Callable[[], bool]:
    """When to kill so that a phase is hit; `epoch` moves the moment within the phase."""
    plain, stage1 = output / "cross_entropy", output
    saver, checkpoint = (stage1, plain)[epoch % 2], f"checkpoint-{epoch * 10}"
    recorded = f"epoch-{epoch:03d}-branch-0.safetensors"

    return {
        "loading": lambda: True,
        "training cross-entropy": lambda: (
            f"checkpoint-{epoch * 10 - 10}" in names(plain) or (epoch == 1 and names(output))
        ),
        "training stage I": lambda: f"checkpoint-{epoch * 10 - 10}" in names(stage1) or (epoch == 1 and begun(stage1)),
        "recording": lambda: (
            being_recorded(stage1) and recorded in names(stage1 / "_dygen" / "_trajectories" / "train")
        ),
        "saving": lambda: checkpoint in names(saver) and being_saved(output),
        "VAE": lambda: in_vae(output),
        "writing results": lambda: "posterior.safetensors" in names(output),
    }[wanted]


def begun(output: Path) -> bool:
    return "features.safetensors" in names(recordings(output) / "test")


@pytest.fixture(scope="module")
def whole(encoder, tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """The data, and the results of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    data = test_run_dygen.write_rows(folder / "rows.csv", wrong=0.25)
    finish(words_of(data, encoder, folder / "output"), folder)
    return data, results(folder / "output")


def results(output: Path) -> dict[str, bytes]:
    found = file_contents(output)
    scores = json.loads(found.pop("dygen_results.json"))
    kept = {name: found[name] for name in RESULTS}
    config = json.loads(found["dygen/dygen_config.json"])
    del config["run"], config["sha256"]  # each run has an id of its own
    kept["dygen/dygen_config.json"] = json.dumps(config).encode()
    kept |= {name: content for name, content in found.items() if name.endswith(".csv")}
    kept |= {name: content for name, content in found.items() if name.startswith("_dygen/_trajectories/t")}
    kept |= {
        f"{folder}{LAST}/model.safetensors": found[f"{folder}{LAST}/model.safetensors"]
        for folder in ("", "cross_entropy/")
    }
    return kept | {"scores": json.dumps({name: scores[name] for name in scores if name.startswith("test_")}).encode()}


def assert_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.slow
def test_killed_three_times_and_resumed(whole, encoder, tmp_path):
    data, expected = whole
    output = tmp_path / "output"
    words = words_of(data, encoder, output, "--resume_from_checkpoint", "true")
    hit = []
    for wanted, epoch in (("saving", 2), ("recording", 2), ("VAE", 4)):
        if kill(words, tmp_path, moment(at_work(output), wanted, epoch), 0.0):
            hit.append(phase(at_work(output)))
    assert len(hit) == 3
    assert {"saving", "recording"} & set(hit)
    assert not output.exists()
    finish(words, tmp_path)
    assert_same(results(output), expected)


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_else(
    whole, encoder, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("kept")
    words = words_of(whole[0], encoder, tmp_path / "file" / "output")
    monkeypatch.setattr(sys, "argv", ["run_dygen.py", *words])
    monkeypatch.setattr("hf_noisy.cli.run_dygen.load_splits", None)  # would be the next
    with pytest.raises(OSError, match="there is a file where a folder should be; name another folder") as refused:
        runpy.run_path(str(example_process.ROOT / "examples" / "run_dygen.py"), run_name="__main__")
    assert refused.value.errno in (errno.ENOTDIR, errno.EEXIST)


PHASES = ["training cross-entropy", "training stage I", "recording", "saving", "VAE", "writing results"]
hits: Counter[str] = Counter()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "wanted"), [*enumerate([*PHASES, "loading", *PHASES, "saving", *PHASES])])
def test_killed_once_and_resumed(number, wanted, whole, encoder, tmp_path, capsys):
    data, expected = whole
    rng, output = np.random.default_rng(number), tmp_path / "output"
    epoch = int(rng.integers(1, EPOCHS + 1))
    # What takes milliseconds is hit at once, what takes seconds at any moment.
    delay = {"loading": 0.5, "recording": 0.004, "saving": 0.004, "VAE": 0.02}.get(wanted, 0.3)
    words = words_of(data, encoder, output)
    killed = kill(words, tmp_path, moment(at_work(output), wanted, epoch), rng.uniform(0, delay))
    hit = phase(at_work(output)) if killed else "ended before"
    hits[hit] += 1
    work = at_work(output)
    before = [last_whole_checkpoint(folder) for folder in (work / "cross_entropy", work)]
    if not output.exists():  # killed before the end
        finish([*words, "--resume_from_checkpoint", "true"], tmp_path)
    assert not [name for name in names(tmp_path) if name.startswith(".")]
    assert_same(results(output), expected)
    with capsys.disabled():
        print(f"\nepoch {epoch}, {wanted}: hit {hit}, resumed from {[path and Path(path).name for path in before]}")


@pytest.mark.slow
def test_every_phase_was_hit():
    if sum(hits.values()) < KILLS:
        pytest.skip("the kills were not all run")
    assert {"recording", "saving", "VAE"} <= hits.keys()
    assert hits["ended before"] <= 2
