"""Puts the figures of benchmarks/results into README.md and docs/.

python -m benchmarks.reporting.documents
"""

import json
import re
from pathlib import Path

import numpy as np

from benchmarks.reporting import ablation_tables, auto_tables, costs, leaderboard
from benchmarks.reporting.markdown import percent, table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PLAIN = "prediction differs"


def load(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def accuracy(data: dict) -> str:
    columns = ["test_accuracy_ce", "test_accuracy_stage1", "test_accuracy_prior", "test_accuracy"]
    rows = [
        [name, percent(row["mean"]["noise_rate_true"])]
        + [f"{percent(row['mean'][c])} ± {percent(row['deviation'][c])}" for c in columns]
        for name, row in data["rows"].items()
    ]
    rows.append(["**average**", "", *(f"**{percent(data['average'][column])}**" for column in columns)])
    return table(["test accuracy, %", "wrong labels, %", "cross-entropy", "stage I", "prior", "DyGEN"], rows)


def details(data: dict) -> str:
    columns = ["noise_rate_true", "noise_rate_estimated", "train_label_accuracy_before", "train_label_accuracy_after"]
    errors = ["test_ece_ce", "test_ece_stage1", "test_ece"]
    rows = [[name, *(percent(row["mean"][c]) for c in columns + errors)] for name, row in data["rows"].items()]
    names = ["noise", "estimated", "labels right before", "after", "ECE cross-entropy", "ECE stage I", "ECE DyGEN"]
    return table(["mean of seeds, %", *names], rows)


def published(data: dict) -> str:
    keys = [("paper", "prior_label_accuracy"), ("evidence", "prior_label_accuracy"), ("paper", "test_accuracy"),
            ("evidence", "test_accuracy")]  # fmt: skip
    rows = []
    for name, row in data["rows"].items():
        cells = row["seeds"]
        given = np.mean([cell["label_accuracy_given"] for cell in cells])
        empty = np.mean([cell["paper"]["classes_with_under_10_percent_of_their_rows"] for cell in cells])
        means = [percent(np.mean([cell[a][b] for cell in cells])) for a, b in keys]
        rows.append([name, percent(given), *means[:2], f"{empty:.1f}", *means[2:]])
    return table(
        ["", "given labels right, %", "published prior right, %", "evidence prior right, %",
         "classes lost by the published prior", "test, published, %", "test, evidence, %"], rows)  # fmt: skip


def auroc(data: dict) -> str:
    names = {"1-p": "1 - probability", "mean": "mean distance", "deviation": "deviation", "both": "mean + deviation",
             "evidence": "evidence"}  # fmt: skip
    rows = [
        [name, *(f"{np.mean([cell['auroc_of_wrong'][key] for cell in row['seeds']]):.2f}" for key in names)]
        for name, row in data["rows"].items()
    ]
    return table(["", *names.values()], rows)


def reach(data: dict) -> str:
    rows = []
    for name, row in data["rows"].items():
        last = np.mean([cell["agreement_by_epoch"][-1] for cell in row["seeds"]])
        known = np.mean([cell["pretrained_features_with_true_labels"] for cell in row["seeds"]])
        rows.append([name, percent(last), percent(known)])
    return table(["", "agrees with the given label, %", "features and true labels, test accuracy, %"], rows)


def demo(data: dict) -> str:
    stages = {"cross-entropy": "_ce", "stage I": "_stage1", "prior": "_prior", "DyGEN": ""}
    lines = [f"{data['dataset']}: {data['num_train']} training rows, {data['num_test']} test rows",
             f"{'':16}{'accuracy':>8}{'ece':>8}"]  # fmt: skip
    lines += [f"{name:16}{data[f'test_accuracy{k}']:8.3f}{data[f'test_ece{k}']:8.3f}" for name, k in stages.items()]
    shown = ["noise_rate_true", "noise_rate_estimated", "train_label_accuracy_before", "train_label_accuracy_after"]
    lines += ["", *(f"{name:30}{data[name]:.3f}" for name in shown)]
    return "```\n" + "\n".join(lines) + "\n```"


def speed(stage2: dict, recorder: dict) -> str:
    loops = next(result["wall"] for result in stage2["results"] if result["batch_size"] == 32)
    parts = {
        "whole, posterior after every iteration": "total, posterior after every iteration",
        "whole, posterior once": "total, posterior after last iteration",
        "its posterior alone": "posterior",
    }
    rows = [[f"stage II with loops / ours: {name}", f"{loops[key]['ratio']:.1f}"] for name, key in parts.items()]
    rows += [[f"recording an epoch / {name}", f"{ratio:.2f}"] for name, ratio in recorder["ratios"].items()]
    return table(["ratio, each measured in one run", ""], rows)


def robust(data: dict) -> str:
    settings = list(data["rows"])
    methods = list(dict.fromkeys(name for columns in data["rows"].values() for name in columns))

    def cell(setting: str, method: str) -> str:
        if method not in data["rows"][setting]:
            return ""
        values = data["rows"][setting][method]["seeds"]["test_accuracy_last"]
        spread = f" ± {percent(np.std(values, ddof=1))}" if len(values) > 1 else f" ({len(values)} seed)"
        return percent(np.mean(values)) + spread

    rows = [[method, *(cell(setting, method) for setting in settings)] for method in methods]
    noise = [percent(np.mean(data["rows"][setting]["cross_entropy"]["noise_rate"])) for setting in settings]
    header = ["test accuracy, %", *(f"{name}, {rate} % wrong" for name, rate in zip(settings, noise, strict=True))]
    arguments = [f"`{name}` with `{' '.join(words)}`" for name, words in data["method_args"].items()]
    told = f"`{data['command']}`; {data['protocol']}; {', '.join(arguments)}."
    return table(header, rows) + "\n\n" + told


def best_robust(data: dict) -> str:
    """Cross-entropy and the three methods that every setting was asked of."""
    names = {"cross_entropy": "cross-entropy", "dal": "DAL", "nrd": "NRD", "nct": "NCT"}
    rows = [
        [setting, *(percent(np.mean(columns[name]["seeds"]["test_accuracy_last"])) for name in names)]
        for setting, columns in data["rows"].items()
    ]
    return table(["test accuracy, %, last epoch", *names.values()], rows)


def step_cost(data: dict) -> str:
    kinds = list(next(iter(data["methods"].values())))
    rows = [
        [method]
        + [f"{cells[kind][key]:.2f}" if kind in cells else "" for kind in kinds for key in ("ratio", "peak_ratio")]
        for method, cells in data["methods"].items()
    ]
    header = ["ratio", *(f"{kind}: {what}" for kind in kinds for what in ("time", "peak memory"))]
    return table(header, rows) + f"\n\n`{data['command']}` on {data['device']}, {data['threads']} thread(s)."


def text_views(data: dict) -> str:
    names = list(next(iter(data["rows"].values())))
    rows = [
        [setting, *(f"{percent(np.mean(columns[name]))} ± {percent(np.std(columns[name], ddof=1))}" for name in names)]
        for setting, columns in data["rows"].items()
    ]
    return table(["test accuracy, %", *names], rows) + f"\n\n`{data['command']}`; {data['protocol']}."


def dmlp(data: dict) -> str:
    columns = ["given", "ridge", "dmlp", "retrained_given", "retrained_dmlp", "probe"]
    rows = [[name, *(percent(row["mean"][column]) for column in columns)] for name, row in data["settings"].items()]
    names = [
        "given labels right",
        "ridge on clean rows",
        "DMLP",
        "test, given labels",
        "test, DMLP's",
        "test, true labels",
    ]
    variants = ["dmlp", "dmlp_without_clean_given", "dmlp_trusted", "dmlp_paper_exact"]
    others = [[name, *(percent(row["seeds"][0][column]) for column in variants)]
              for name, row in data["settings"].items() if variants[1] in row["seeds"][0]]  # fmt: skip
    return (
        table(["mean of 3 seeds, %", *names], rows)
        + "\n\n"
        + table(
            ["labels right, seed 0, %", "DMLP", "without `clean_given`", '`clean="trusted"`', "`paper_exact`"], others
        )
    )


def dmlp_short(data: dict) -> str:
    columns = ["given", "ridge", "dmlp", "retrained_given", "retrained_dmlp"]
    chosen = ["trec rules", "noisyag_news human", "20news symmetric 50 %", "trec asymmetric 40 %"]
    rows = [[name, *(percent(data["settings"][name]["mean"][column]) for column in columns)] for name in chosen]
    names = ["given labels right", "ridge on clean rows", "DMLP", "test, given labels", "test, DMLP's"]
    return table(["mean of 3 seeds, %", *names], rows)


def dmlp_speed(data: dict) -> str:
    rows = [[f"{row['rows']:,}", str(row["epochs"]), f"{row['cpu_s']:.1f}", f"{row['wall_s']:.1f}",
             f"{row['features_mib']:.0f}", f"{row['extra_mib']:.0f}"]
            for row in [*data["growth"], data["whole"]]]  # fmt: skip
    name = "label steps against autograd through an inverse, {} steps on one chunk"
    ratios = [[name.format(row["steps"]), str(row["ratio"])] for row in data["ratio"]]
    return (
        table(["rows", "epochs", "processor, s", "clock, s", "features, MiB", "on top, MiB"], rows)
        + "\n\n"
        + table(["ratio of processor time", ""], ratios)
    )


def detection(data: dict) -> str:
    rows = [[of["file"].removesuffix(".npz"), *(f"{of['f1'][side]:.3f}" for side in ("hf_noisy", "cleanlab", PLAIN)),
             *(f"{of['auprc'][side]:.3f}" for side in ("hf_noisy", "cleanlab")), percent(of["noise_rate"]),
             " to ".join(percent(end) for end in of["noise_rate_interval"]),
             *(percent(of["noise_rate_estimated"][side]) for side in ("hf_noisy", "cleanlab", PLAIN))]
            for of in data["accuracy"]]  # fmt: skip
    header = ["probabilities", "F1 ours", "cleanlab", PLAIN, "AUPRC ours", "cleanlab", "noise rate, %", "interval",
              "ours", "cleanlab", PLAIN]  # fmt: skip
    errors = [f"{100 * error:.1f}" for error in data["mean_error_of_noise_rate"].values()]
    return table(header, rows) + (
        f"\n\nThe estimated rate errs by {errors[0]} points on average, cleanlab's joint by {errors[1]}, plain "
        f"disagreement by {errors[2]}. `{data['command']}`"
    )


def detection_speed(data: dict) -> str:
    speed = data["speed"]
    rows = [[side, *(f"{of[key]:{form}}" for key, form in (("wall_s", ".2f"), ("cpu_s", ".2f"), ("memory_mb", ".0f")))]
            for side, of in speed["median"].items()]  # fmt: skip
    header = ["", "seconds", "seconds of processor", "memory beyond the input, MB"]
    note = f"{speed['rows']:,} rows of {speed['classes']} classes, medians of {speed['repeats']} runs."
    return table(header, rows) + f"\n\n{note}"


def fill(path: Path, blocks: dict[str, str]) -> str:
    text = path.read_text()
    for name, content in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if pattern.search(text):
            text = pattern.sub(lambda match, c=content: f"{match[1]}\n{c}\n\n{match[2]}", text)
    return text


def documents() -> dict[Path, str]:
    """What each document should hold."""
    text, priors = load("dygen_text"), load("published_prior")
    versions = ", ".join(f"{name} {version}" for name, version in text["versions"].items())
    blocks = {
        "results": accuracy(text),
        "dygen_text": accuracy(text) + "\n\n" + details(text),
        "demo": demo(load("demo")),
        "published": published(priors),
        "auroc": auroc(priors),
        "reach": reach(priors),
        "speed": speed(load("stage2_speed"), load("recorder_cost")),
        "robust_cifar10": robust(load("robust_cifar10")),
        "robust_digits": robust(load("robust_digits")),
        "robust": best_robust(load("robust_cifar10")),
        "step_cost": step_cost(load("step_cost")),
        "text_views": text_views(load("text_views")),
        "dmlp": dmlp(load("purify")),
        "dmlp_short": dmlp_short(load("purify")),
        "dmlp_speed": dmlp_speed(load("dmlp_speed")),
        "detection": detection(load("detection")),
        "detection_speed": detection_speed(load("detection")),
        "auto_table": auto_tables.rules(),
        "command": f"`{text['command']}`; {text['protocol']}; {versions}",
    }
    # Until there is a result, the page says so where its table will stand.
    if all(path.is_file() for path in auto_tables.FRESH.values()):
        blocks["auto_fresh"] = auto_tables.fresh()
    for name in ("dygen_speed", "install_cost", "scale", "neighbours", "branch_cost", "serving"):
        if (RESULTS / f"{name}.json").is_file():
            blocks[name] = getattr(costs, name)(load(name))
    if (RESULTS / "ablations.json").is_file():
        blocks |= ablation_tables.blocks(load("ablations"))
    for suite, result in leaderboard.boards(RESULTS).items():
        blocks[f"leaderboard_{suite}"] = leaderboard.markdown(result)
        blocks[f"leaderboard_{suite}_short"] = leaderboard.short(result)
    marked = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "<!-- /" in path.read_text()]
    return {path: fill(path, blocks) for path in (ROOT / "README.md", *marked)}


if __name__ == "__main__":
    for path, content in documents().items():
        path.write_text(content)
        print(f"wrote {path.relative_to(ROOT)}")
