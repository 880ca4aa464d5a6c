"""`hf-noisy train`, apart from the other commands, which do not wait for what training imports."""

import json
from pathlib import Path

from hf_noisy.cli.arguments import ImageArguments, TextArguments
from hf_noisy.cli.commands import Job as Job  # the runner of commands builds it
from hf_noisy.cli.inputs import refuse_tables
from hf_noisy.cli.outputs import SUMMARY, complete_if_not_pushed
from hf_noisy.cli.recipes import as_words, parse
from hf_noisy.cli.source import modality
from hf_noisy.cli.train import checkpoint_word, run_training
from hf_noisy.core.columns import IMAGE, TEXT
from hf_noisy.data.checked import checked_rows
from hf_noisy.data.checked_lists import checked_lists
from hf_noisy.data.flat_labels import task_of_labels
from hf_noisy.hub.model_card import model_card
from hf_noisy.hub.publish import push_model_to_hub
from hf_noisy.methods import make_method
from hf_noisy.training.checkpoints import last_whole_checkpoint


def train(job: Job, method: str, checked: Path | None, model: str | None, words: list[str] | None) -> None:
    """`hf-noisy train`: the model, its card and its results."""
    refuse_tables(job.reading)
    if method != "auto":
        make_method(method)  # refuses an unknown one before the rows are read
    rows = job.load()[job.split]
    kind = {TEXT: TextArguments, IMAGE: ImageArguments}[modality(rows)]
    (checked_rows if task_of_labels(rows) == "one-label" else checked_lists)(rows, checked)  # refuses a wrong file
    named = {
        "dataset": job.source,
        "method": method,
        "model_name_or_path": model,
        "checked": None if checked is None else str(checked),
        "trust_remote_code": job.trust_remote_code,
        "save_model": True,
        **job.reading.given(),
    }
    options = [word for name, value in named.items() for word in as_words(name, value)]
    words, asked = words or [], {word.split("=")[0] for word in words or []}
    keep = not asked.isdisjoint(("--save_strategy", "--save_steps", "--save_total_limit"))
    if not keep:  # checkpoints for the case that the training is interrupted
        options += ["--save_strategy", "epoch", "--save_total_limit", "2"]
    arguments, training = parse(kind, [*options, *words, "--output_dir", str(job.output)], prog="hf-noisy train")
    resume = checkpoint_word(training)
    with job.output.training(resume) as folder:
        if resume == "true" and last_whole_checkpoint(folder) is None:
            raise ValueError(
                f"--resume_from_checkpoint true finds no whole checkpoint for {job.output.name}; leave it out"
            )
        training.output_dir = str(folder)
        results = run_training(arguments, training)
        if not job.output.is_main:
            return
        config = json.loads((folder / "config.json").read_text("utf-8"))
        card = model_card(results, config, name=f"{job.name}-{method}")
        card.save(folder / "README.md")
        (folder / SUMMARY).write_text(json.dumps({"command": "train", **results}, indent=2), encoding="utf-8")
    if not keep:
        job.output.remove_checkpoints()
    if job.push_to_hub is not None:
        with complete_if_not_pushed(job.output, job.push_to_hub, job.private):
            push_model_to_hub(job.output.path, job.push_to_hub, card, private=job.private or None)
    if results["test_labels"] == "given":
        print(f"tested on {results['num_test']:,} rows against their given labels, wrong ones included")
    print(f"written to {job.output}")
