"""Commands are killed at random moments; the earlier output that they replace stays whole until the new one is."""

import faulthandler
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hf_noisy.cli.manifest import foreign_file, read_manifest
from hf_noisy.cli.outputs import open_output
from hf_noisy.data.row_digest import row_digests
from hf_noisy.training.checkpoints import last_whole_checkpoint
from tests.integration import example_process, test_run_dygen
from tests.unit.cli.conftest import noisy_rows

encoder = test_run_dygen.encoder  # a fixture
PARTS, KILLS = 4, 10  # of each command: 200 kills in all
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SECONDS = 300.0  # more than any run takes
RESUME = ["--resume_from_checkpoint", "true"]
TRAINING = ["--num_train_epochs", "3", "--use_cpu", "true", "--report_to", "none", "--disable_tqdm", "true"]
TRAINING += ["--learning_rate", "5e-3"]


class Command:
    """A command that writes `out`, again and again."""

    def __init__(self, name: str, folder: Path, encoder: Path) -> None:
        self.name, self.folder, self.out = name, folder, folder / "place" / "out"
        self.work = self.out.with_name("out.training")
        self.trains = name in ("train", "run_dygen")
        texts = test_run_dygen.write_rows(folder / "rows.csv", wrong=0.25) if self.trains else ""
        if not self.trains:
            rows = noisy_rows(120)
            rows.to_parquet(folder / "rows.parquet")
            names, label = rows.features["label"].names, rows["label"][0]
            line = f"0,{row_digests(rows.select([0]))[0]},{names[label]},{names[label - 1]},relabel"
            (folder / "decisions.csv").write_text(f"row,digest,label_given,label,decision\n{line}\n")
        columns = ["--text-column", "sentence", "--label-column", "category"]
        rows, place = str(folder / "rows.parquet"), ["--output", str(self.out)]
        self.script, self.words = {
            "audit": ("hf-noisy", ["audit", rows, *place]),
            "purify": ("hf-noisy", ["purify", rows, *place]),
            "apply": ("hf-noisy", ["apply", str(folder / "decisions.csv"), rows, *place]),
            "train": (
                "hf-noisy",
                ["train", str(texts), *place, *columns, "--model", str(encoder), "--method", "gce", *TRAINING],
            ),
            "run_dygen": (
                "run_dygen.py",
                [
                    *("--dataset", str(texts), "--text_column", "sentence", "--label_column", "category", *TRAINING),
                    *("--model_name_or_path", str(encoder), "--output_dir", str(self.out)),
                    *("--save_strategy", "epoch", "--save_total_limit", "1"),
                ],
            ),
        }[name]

    def start(self):
        resume = RESUME if self.trains and self.steps() else []
        return example_process.start(self.script, [*self.words, "--overwrite", *resume], self.folder)

    def finish(self) -> float:
        begin, process = time.monotonic(), self.start()
        process.join(SECONDS)
        assert process.exitcode == 0, self.log()
        return time.monotonic() - begin

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()[-4000:]

    def steps(self) -> int:
        """Steps of an interrupted training that whole checkpoints hold."""
        left, now = read_manifest(self.work), read_manifest(self.out)
        if left and now and left["run"] == now["replaces"]:
            return 0  # the earlier output, which a run exchanged for its own before it was killed
        found = [last_whole_checkpoint(folder) for folder in (self.work, self.work / "cross_entropy")]
        return sum(int(path.rpartition("-")[2]) for path in found if path)

    def figures(self) -> dict:
        """What the output says, without the clock and the ids of runs."""
        name = "dygen_results.json" if self.name == "run_dygen" else "summary.json"
        found = json.loads((self.out / name).read_text())
        found.get("posterior", {}).pop("run", None)
        return {key: value for key, value in found.items() if key not in ("seconds", "phases")}

    def is_whole(self) -> str:
        """The id of the run that wrote the output, of which nothing may be missing or added."""
        manifest = read_manifest(self.out)
        assert manifest is not None
        assert manifest["complete"]
        assert foreign_file(self.out, manifest) is None
        missing = [name for name in manifest["files"] if not (self.out / name).exists()]
        assert [name for name in missing if not name.startswith("checkpoint-")] == []
        return str(manifest["run"])


def killed(command: Command, rng: np.random.Generator, seconds: float) -> str | None:
    """Start the command and kill it, at a random moment or while it writes; None if it had ended by then."""
    process, begin, sent = command.start(), time.monotonic(), None
    staged = command.out.with_name(".out.hf-noisy-new")
    if rng.random() < 0.4 and not command.trains:
        while process.exitcode is None and not staged.exists() and time.monotonic() - begin < SECONDS:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.06))
    else:
        process.join(rng.uniform(0, 1.05 * seconds))
    if process.exitcode is None:
        sent = SIGNALS[rng.integers(3)]
        os.kill(process.pid, sent)
    process.join(SECONDS)
    if process.exitcode == 0:
        return None
    # A process that catches SIGINT chooses its exit code; any other failure is not of the signal.
    assert sent is not None and (sent == signal.SIGINT or process.exitcode == -sent), command.log()  # noqa: PT018
    return sent.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apply", "audit", "purify", "train", "run_dygen"])
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_by_random_kills(part, name, encoder, tmp_path, capsys):
    faulthandler.cancel_dump_traceback_later()  # the time limit of a test; here each wait has one of its own
    command, rng, seen = Command(name, tmp_path, encoder), np.random.default_rng([part, len(name)]), Counter()
    command.finish()
    seconds, expected = command.finish(), command.figures()  # the first one imports more
    runs = {command.is_whole()}
    while seen["kills"] < KILLS:
        before = command.steps() if command.trains else 0
        if (sent := killed(command, rng, seconds)) is None:
            seen["ended before"] += 1
        else:
            seen.update(["kills", sent])
            hidden = [path.name for path in command.out.parent.iterdir() if path.name.startswith(".")]
            seen.update(f"left {one}" for one in hidden)
        run = command.is_whole()
        assert command.figures() == expected
        seen["replaced"] += run not in runs
        if command.trains and run in runs and before:
            assert command.steps() >= before  # nothing of an interrupted training is lost
            seen["resumable"] += 1
        runs.add(run)
        with open_output(command.out, overwrite=True):  # what the next run does first
            pass
        left = {path.name for path in command.out.parent.iterdir()}
        assert left <= ({"out", "out.training"} if command.trains else {"out"})
    command.finish()
    assert command.figures() == expected
    assert [path.name for path in command.out.parent.rglob("*") if path.name.endswith(".tmp")] == []
    assert {path.name for path in command.out.parent.iterdir()} == {"out"}
    with capsys.disabled():
        print(f"\n{name}, {seconds:.1f} s a run: {dict(seen)}")
