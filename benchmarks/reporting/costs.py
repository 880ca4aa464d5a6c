"""Tables of time and memory, from the result files of benchmarks/cost: docs/performance.md, serving.md and others."""

from typing import Any

import numpy as np

from benchmarks.reporting import load, percent, table

PLAIN = "prediction differs"
_COMPARED = ("plain", "stage I", "DyGEN")
_AUDIT_COLUMNS = {"cpu_s": "{:.0f}", "peak_mb": "{:.0f}", "auprc": "{:.3f}"}


def ratio(values: dict[str, float], digits: int = 1) -> str:
    """A median with the lowest and highest value."""
    return "{median:.{digits}f} ({lowest:.{digits}f} to {highest:.{digits}f})".format(**values, digits=digits)


def speed(stage2: dict[str, Any], recorder: dict[str, Any]) -> str:
    loops = next(result["wall"] for result in stage2["results"] if result["batch_size"] == 32)
    parts = {
        "whole, posterior after every iteration": "total, posterior after every iteration",
        "whole, posterior once": "total, posterior after last iteration",
        "its posterior alone": "posterior",
    }
    rows = [[f"stage II with loops / ours: {name}", f"{loops[key]['ratio']:.1f}"] for name, key in parts.items()]
    over = recorder["recorder_over"]["cpu"]
    rows += [[f"recording an epoch / {name}", f"{of['median']:.2f}"] for name, of in over.items()]
    return table(["ratio, each measured in one run", ""], rows)


def step_cost(data: dict[str, Any]) -> str:
    kinds = list(next(iter(data["methods"].values())))
    rows = [
        [method]
        + [f"{cells[kind][key]:.2f}" if kind in cells else "" for kind in kinds for key in ("ratio", "peak_ratio")]
        for method, cells in data["methods"].items()
    ]
    header = ["ratio", *(f"{kind}: {what}" for kind in kinds for what in ("time", "peak memory"))]
    where = f"{data['environment']['device']}, {data['environment']['threads']} thread(s)"
    return table(header, rows) + f"\n\n`{data['command']}` on {where}."


def step_cost_lists(data: dict[str, Any]) -> str:
    cells = data["methods"]["cross_entropy"]
    tags, sets = (
        f"{cells[kind]['ratio']:.3f} (rounds {_ends(cells[kind]['rounds'])})" for kind in ("tokens", "labels")
    )
    where = f"{data['environment']['device']}, {data['environment']['threads']} thread(s)"
    return f"Cross-entropy on tags of words {tags}, on sets of classes {sets}; `{data['command']}` on {where}."


def _ends(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def dmlp_speed(data: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['rows']:,}",
            str(row["epochs"]),
            *(f"{row[key]:.1f}" for key in ("cpu_s", "wall_s")),
            *(f"{row[key]:.0f}" for key in ("features_mib", "extra_mib")),
        ]
        for row in [*data["growth"], data["whole"]]
    ]
    name = "label steps against autograd through an inverse, {} steps on one chunk"
    ratios = [[name.format(row["steps"]), str(row["ratio"])] for row in data["ratio"]]
    header = ["rows", "epochs", "processor, s", "clock, s", "features, MiB", "on top, MiB"]
    return table(header, rows) + "\n\n" + table(["ratio of processor time", ""], ratios)


def detection(data: dict[str, Any]) -> str:
    rows = [
        [
            of["file"].removesuffix(".npz"),
            *(f"{of['f1'][side]:.3f}" for side in ("hf_noisy", "cleanlab", PLAIN)),
            *(f"{of['auprc'][side]:.3f}" for side in ("hf_noisy", "cleanlab")),
            percent(of["noise_rate"]),
            " to ".join(percent(end) for end in of["noise_rate_interval"]),
            *(percent(of["noise_rate_estimated"][side]) for side in ("hf_noisy", "cleanlab", PLAIN)),
        ]
        for of in data["accuracy"]
    ]
    header = ["probabilities", "F1 ours", "cleanlab", PLAIN, "AUPRC ours", "cleanlab"]
    header += ["noise rate, %", "interval", "ours", "cleanlab", PLAIN]
    errors = [percent(error) for error in data["mean_error_of_noise_rate"].values()]
    return table(header, rows) + (
        f"\n\nThe estimated rate errs by {errors[0]} points on average, cleanlab's joint by {errors[1]}, plain "
        f"disagreement by {errors[2]}. `{data['command']}`"
    )


def detection_speed(data: dict[str, Any]) -> str:
    found = data["speed"]
    rows = [
        [side, f"{of['wall_s']:.2f}", f"{of['cpu_s']:.2f}", f"{of['memory_mb']:.0f}"]
        for side, of in found["median"].items()
    ]
    header = ["", "seconds", "seconds of processor", "memory beyond the input, MB"]
    note = f"{found['rows']:,} rows of {found['classes']} classes, medians of {found['repeats']} runs."
    return table(header, rows) + f"\n\n{note}"


def dygen_speed(data: dict[str, Any]) -> str:
    """Ratios of paired runs, and the share of each phase in the time of the straightforward implementation."""
    sides, pairs = list(data["ratio"]), list(data["runs"].values())
    both = ["straightforward", *sides]
    rows = [
        [side, *(ratio(of[clock]) for of in data["ratio"][side].values() for clock in ("cpu", "wall"))]
        for side in sides
    ]
    accuracies = [
        [name, *("/".join(percent(pair[side]["accuracy"][name]) for pair in pairs) for side in both)]
        for name in pairs[0]["straightforward"]["accuracy"]
    ]
    phases = {
        "tokenizing": ("tokenizing",),
        "training": ("training",),
        "embedding": ("embedding", "features"),
        "stage II": ("prior", "VAE", "prior and VAE", "posterior"),
    }

    def share(pair: dict[str, Any], side: str, names: tuple[str, ...]) -> float:
        spent = pair[side]["whole"]["cpu"]
        whole = sum(pair["straightforward"]["whole"]["cpu"].values())
        return sum(seconds for phase, seconds in spent.items() if phase.split(", ")[0] in names) / whole

    shares = [
        [phase, *(percent(float(np.median([share(pair, side, names) for pair in pairs]))) for side in both)]
        for phase, names in phases.items()
    ]
    totals = ("as run", "all rows and ten epochs")
    header = ["straightforward / ours, median (lowest to highest)"]
    header += [f"{clock}, {total}" for total in totals for clock in ("processor", "clock")]
    names = ("dataset", "rows", "test_rows", "epochs", "batch_size", "learning_rate", "num_branches", "max_length")
    described = ", ".join(f"{name} {data['arguments'][name]}" for name in names)
    return "\n\n".join(
        [
            table(header, rows),
            table(["% of the straightforward total, all rows and ten epochs", *both], shares),
            table(["test accuracy by seed, %", *both], accuracies),
            f"`{data['command']}`; {len(pairs)} pairs, {described}.",
        ]
    )


def dygen_cost(data: dict[str, Any]) -> str:
    """Processor time of each side over that of plain fine-tuning in the same pair, and the accuracy of both stages."""
    rows = []
    for dataset, runs in data["runs"].items():
        for side in data["sides"]:
            pairs = [(run[side], run["plain"]["cpu"]) for run in runs.values() if {side, "plain"} <= run.keys()]
            if not pairs:
                continue
            ratios = [own["cpu"] / plain for own, plain in pairs]
            over = {"median": float(np.median(ratios)), "lowest": min(ratios), "highest": max(ratios)}
            reached = ["/".join(percent(own["accuracy"].get(of, np.nan)) for own, _ in pairs) for of in _COMPARED]
            seconds = np.median([own["cpu"] for own, _ in pairs])
            rows.append(
                [dataset, side, ratio(over, 2), f"{seconds:.0f}", *("" if "nan" in of else of for of in reached)]
            )
    header = ["data", "", "time / plain, median (lowest to highest)", "seconds"]
    header += [f"{stage}, test accuracy, %" for stage in _COMPARED]
    given = data["arguments"]
    commands = "; ".join(f"{side}: `{words or 'no option'}`" for side, words in data["sides"].items())
    return table(header, rows) + (
        f"\n\n`{data['command']}`: {given['rows']:,} training rows, {given['test_rows']} test rows, {given['epochs']} "
        f"epochs; accuracy by seed. Options: {commands}."
    )


def shared_cost(data: dict[str, Any]) -> str:
    """The step of two networks over that of one, by the number of layers that they share."""
    shared = [str(count) for count in data["arguments"]["shared"]]
    rows = [[method, *(ratio(of[count], 2) for count in shared)] for method, of in data["ratio"].items()]
    header = ["time of two networks / one", *(f"{count} of {data['layers']} layers shared" for count in shared)]
    return table(header, rows) + f"\n\n`{data['command']}`; processor time, median (lowest to highest)."


def install_cost(data: dict[str, Any]) -> str:
    columns = ("median", "lowest", "highest")
    times = [[name, *(f"{row[key]:.3f}" for key in columns)] for name, row in data["imports"].items()]
    sizes = [
        [
            extra,
            f"{row['package'] / 2**20:.1f}",
            f"{(row['all'] - row['torch']) / 2**20:,.0f}",
            f"{row['torch'] / 2**20:,.0f}",
            str(row["distributions"]),
        ]
        for extra, row in data["sizes"].items()
    ]
    header = ["extra", "hf_noisy, MiB", "all but torch, MiB", "torch and CUDA, MiB", "distributions"]
    commands = f"`{data['command']}` (times), `{data['sizes_command']}` (sizes)."
    return "\n\n".join([table(["processor seconds of an import", *columns], times), table(header, sizes), commands])


def serving(data: dict[str, Any]) -> str:
    """Accuracy and cost of each way to serve DyGEN, compared with the posterior in training."""
    names = {
        "plain": "one plain classifier",
        "branches": "stage I",
        "in training": "DyGEN in training",
        "exact": "DyGEN, exact",
        "exact, half": "DyGEN, exact, saved in float16",
        "distilled": "DyGEN, distilled",
    }

    def mean(cells: list[dict[str, Any]], name: str, key: str, form: str) -> str:
        values = [cell["rows"][name].get(key) for cell in cells]
        if values[0] is None:
            return ""
        return format(float(np.mean([v["median"] if isinstance(v, dict) else v for v in values])), form)

    columns = [("megabytes", ".0f"), ("ms", ".1f"), ("ratio", ".1f"), ("largest_difference", ".0e")]
    parts = []
    for title, of in data["cells"].items():
        rows = []
        for name, shown in names.items():
            reached = [percent(np.mean([c["rows"][name][key] for c in of.values()])) for key in ("accuracy", "ece")]
            costs = [mean(list(of.values()), name, *column) for column in columns]
            rows.append([shown, *reached, *([*costs[:3], ""] if name == "in training" else costs)])
        header = [title, "test accuracy, %", "ECE, %", "MB", "ms a row", "time / plain", "largest difference"]
        parts.append(table(header, rows))
    given = data["arguments"]
    seeds = ", ".join(map(str, given["seeds"]))
    chance = 196 * (0.75 * 0.25 / (given["test_rows"] * len(given["seeds"]))) ** 0.5
    return "\n\n".join(parts) + (
        f"\n\n`{data['command']}`: {given['dataset']}, {given['train_rows']} training and {given['test_rows']} test "
        f"rows of up to {given['max_length']} tokens, {given['epochs']} epochs, seeds {seeds}, "
        f"{data['environment']['threads']} thread, processor time (medians, of the ratios too); {data['protocol']}. "
        f"By the choice of test rows alone an accuracy of 75 % is uncertain by {chance:.0f} points (95 % interval). "
        "The largest difference is that of a probability from the posterior of training, which was recorded in "
        "float16."
    )


def scale(data: dict[str, Any]) -> str:
    parts = ("write", "scores", "prior", "vae", "posterior")
    cells = [cell for cell in data["cells"] if set(cell["parts"]) == set(parts)]
    rows = []
    for cell in sorted(cells, key=lambda cell: (cell["projection"], cell["rows"])):
        of, last = cell["parts"], cell["parts"]["posterior"]
        peaks = [max(part[key] for part in of.values()) / 1e9 for key in ("peak_rss_bytes", "peak_private_bytes")]
        rows.append(
            [
                f"{cell['rows']:,}",
                str(cell["projection"] or data["dim"]),
                f"{of['write']['disk_bytes'] / 1e9:.1f}",
                *(f"{of[part]['cpu_s']:.0f}" for part in parts),
                *(f"{peak:.2f}" for peak in peaks),
                *(percent(last[key]) for key in ("label_accuracy_given", "label_accuracy")),
            ]
        )
    header = ["rows", "width", "disk, GB", *(f"{part}, s" for part in parts), "peak resident, GB", "private, GB"]
    header += ["given labels right, %", "posterior right, %"]
    growth = [[name, *(f"{of[part]:.2f}" for part in (*parts, "all"))] for name, of in data["exponents"].items()]
    threads = data["environment"]["threads"]
    note = f"`{data['command']}`; seconds of the processor, {threads} thread, a shared machine."
    grown = [table(["exponent of time by rows", *parts, "all"], growth)] if growth else []
    return "\n\n".join([table(header, rows), *grown, note])


MILLION = 1_000_000


def audit_scale(data: dict[str, Any]) -> str:
    """Seconds of each phase of an audit by number of rows, and those that the smaller number leads to expect."""
    cells = {int(rows): cell for rows, cell in data["cells"].items()}
    sizes, (low, high) = sorted(cells), data["arguments"]["projected_from"]
    largest, one = sizes[-1], data["embedding_of_one"]
    factor = (MILLION - low) / (high - low)

    def seconds(rows: int, phase: str) -> float:
        measured = cells[rows]["phases"].get(phase, {"cpu_seconds": 0.0})
        return one * rows if phase == "embedding" else float(measured["cpu_seconds"])

    names = [name for name in cells[largest]["phases"] if name != "importing"]
    names.insert(names.index("reading") + 1, "embedding")
    after = [name for name in names if name not in ("reading", "embedding")]
    table_of = {name: {rows: seconds(rows, name) for rows in sizes} for name in names}
    table_of["all after embedding"] = {rows: sum(table_of[name][rows] for name in after) for rows in sizes}
    lines = []
    for name, found in table_of.items():
        projected = found[low] + factor * (found[high] - found[low])
        lines.append([name, *(f"{found[rows]:,.1f}" for rows in sizes), f"{projected:,.1f}"])
    lines.append(["peak resident memory, GB", *(f"{cells[rows]['peak_bytes'] / 1e9:.1f}" for rows in sizes), ""])
    header = ["rows", *(f"{rows:,}" for rows in sizes), f"{MILLION:,}, projected from {low:,} and {high:,}"]
    threads = data["environment"]["threads"]
    note = f"`{data['command']}`; seconds of the processor, {threads} thread, a shared machine. "
    note += f"Embedding was measured on {data['arguments']['embedded']:,} texts and scaled."
    return table(header, lines) + f"\n\n{note}"


def neighbours(data: dict[str, Any]) -> str:
    names = {"exact": "exact", "faiss": '`index="faiss"`', "hnsw": "HNSW of the same package"}
    rows = [
        [names[index], *(f"{of[key]:.0f}" for key in ("build_cpu_s", "all_rows_cpu_s")), percent(of["recall"])]
        for index, of in data["results"].items()
    ]
    title = "{k} neighbours of {rows:,} rows of {dim} dimensions".format(**data["arguments"])
    note = f"`{data['command']}`; seconds of the processor, scaled from its queries."
    return table([title, "built, s", "all, s", "found, %"], rows) + f"\n\n{note}"


def cells(data: dict[str, Any]) -> str:
    of = data["clauses"]
    header = [f"{of['rows']:,} clauses of news", "seconds", "nearest rows, %", "near-duplicates, %", "100 farthest, %"]
    found = (percent(of[key]) for key in ("recall", "near_duplicates_found", "outliers_found"))
    rows = [
        ["all rows searched", f"{of['exact_cpu_s']:.1f}", *(percent(1) for _ in range(3))],
        ["default", f"{of['cells_cpu_s']:.1f}", *found],
    ]
    note = (
        f"`{of['command']}`; seconds of the processor, 1 thread; {of['near_duplicates']:,} rows have a near-duplicate."
    )
    return table(header, rows) + f"\n\n{note}"


def branch_cost(data: dict[str, Any]) -> str:
    parts = []
    for backbone, of in data["backbones"].items():
        base, rows = of["memory"]["1 LoRA"], []
        for name, time in of["time"].items():
            if isinstance(time, float):
                continue
            held = of["memory"].get(name)
            memory = ["", ""] if held is None else [f"{held[k] / base[k]:.2f}" for k in ("state_mib", "peak_mib")]
            low, high = time["quartiles"]
            rows.append([name, *memory, f"{time['ratio']:.2f} ({low:.2f} to {high:.2f})"])
        size = "{} rows of {} tokens".format(*of["batch"])
        header = [f"{backbone}, {size}; ratio to 1 LoRA", "weights and optimizer", "peak of a training step", "time"]
        parts.append(table(header, rows))
    where = f"{data['environment']['device']}, {data['environment']['threads']} thread(s)"
    return "\n\n".join([*parts, f"`{data['command']}`; {data['time']}; {where}."])


def audit(data: dict[str, Any]) -> str:
    """Each set of rows: the peer, the audit, and the audit of rows whose features are cached."""
    rows = []
    for name, found in data["sets"].items():
        peer, ours, again = found["runs"][0]

        def middle(side: str, key: str, base: str | None = None, runs: Any = found["runs"]) -> float:
            return float(np.median([run[side][key] / (run[base][key] if base else 1) for run in runs]))

        row = [f"{found['rows']:,} {name}", *(f"{middle(side, 'cpu_s', peer):.2f}" for side in (ours, again))]
        for key, form in _AUDIT_COLUMNS.items():
            row += [form.format(middle(side, key)) for side in (peer, ours)]
        rows.append(row)
    header = ["rows", "ratio", "again", "seconds, peer", "ours", "peak MB, peer", "ours", "AUPRC, peer", "ours"]
    commands = ", ".join(f"`{one}`" for one in dict.fromkeys(found["command"] for found in data["sets"].values()))
    load = np.mean([found["load"] for found in data["sets"].values()])
    where = f"{data['environment']['cores']} virtual cores at a load of {load:.0f} processes"
    return table(header, rows) + f"\n\n{commands}; seconds of the processor, 1 thread, {where}."


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    tables = (
        step_cost,
        step_cost_lists,
        dmlp_speed,
        detection,
        dygen_speed,
        dygen_cost,
        install_cost,
        scale,
        audit_scale,
        neighbours,
    )
    made = {of.__name__: of(load(of.__name__)) for of in (*tables, audit, branch_cost, shared_cost, serving)}
    made |= {"detection_speed": detection_speed(load("detection")), "cells": cells(load("neighbours"))}
    return made | {"speed": speed(load("stage2_speed"), load("recorder_cost"))}
