"""Examples and commands in processes forked off one that has imported everything: imports take most of their time."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).parents[2]


# What the DyGEN example imports, much of it only when it is used.
PRELOADED = [
    __name__,
    "hf_noisy.cli.train_command",
    "hf_noisy.cli.run_dygen",
    "matplotlib.pyplot",
    "pandas",
    "sklearn.mixture",
    "sklearn.neighbors",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
]


def start(script: str, words: list[str], folder: Path) -> ForkServerProcess:
    """A process that runs an example, or `hf-noisy`; what it prints goes to `folder / "log.txt"`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=run_example, args=(script, words, str(folder)))
    process.start()
    return process


def run_example(script: str, words: list[str], folder: str) -> None:
    """Runs an example or a command as the process it is called in."""
    os.environ["MPLBACKEND"] = "agg"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests were started in the background
    with open(os.path.join(folder, "log.txt"), "a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            sys.argv = [script, *words]
            if script == "hf-noisy":
                from hf_noisy.cli.app import main

                main()
            runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
