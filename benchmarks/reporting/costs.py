"""Tables of what things cost, for docs/performance.md and docs/serving.md."""

import numpy as np

from benchmarks.reporting.markdown import percent, table


def spread(ratio: dict) -> str:
    return f"{ratio['median']:.1f} ({ratio['lowest']:.1f} to {ratio['highest']:.1f})"


def dygen_speed(data: dict) -> str:
    """Ratios of paired runs, and what each phase takes of the straightforward side's time."""
    sides, pairs, cells = list(data["ratio"]), list(data["runs"].values()), []
    rows = [[side, *(spread(data["ratio"][side][kind][clock]) for kind in ("seconds", "whole") for clock in
             ("cpu", "wall"))] for side in sides]  # fmt: skip
    for name in next(iter(pairs[0].values()))["accuracy"]:
        values = ["/".join(percent(pair[side]["accuracy"][name]) for pair in pairs)
                  for side in ("straightforward", *sides)]  # fmt: skip
        cells.append([name, *values])
    phases = {"tokenizing": ("tokenizing",), "training": ("training",), "embedding": ("embedding", "features"),
              "stage II": ("prior", "VAE", "prior and VAE", "posterior")}  # fmt: skip
    shares = [[phase, *(f"{100 * np.median([part(pair, side, names) for pair in pairs]):.1f}" for side in
               ("straightforward", *sides))] for phase, names in phases.items()]  # fmt: skip
    header = ["straightforward / ours, median (lowest to highest)", "processor, as run", "clock, as run",
              "processor, all rows and ten epochs", "clock, all rows and ten epochs"]  # fmt: skip
    return "\n\n".join([
        table(header, rows),
        table(["% of the straightforward total, all rows and ten epochs", "straightforward", *sides], shares),
        table(["test accuracy by seed, %", "straightforward", *sides], cells),
        f"`{data['command']}`; {len(pairs)} pairs, {described(data['arguments'])}.",
    ])  # fmt: skip


def part(pair: dict, side: str, names: tuple[str, ...]) -> float:
    """Share of phases in the whole time of the straightforward side."""
    taken = sum(spent for phase, spent in pair[side]["whole"]["cpu"].items() if phase.split(", ")[0] in names)
    return taken / sum(pair["straightforward"]["whole"]["cpu"].values())


def described(arguments: dict) -> str:
    names = ("dataset", "rows", "test_rows", "epochs", "batch_size", "learning_rate", "num_branches", "max_length")
    return ", ".join(f"{name} {arguments[name]}" for name in names)


def install_cost(data: dict) -> str:
    times = [[name, *(f"{row[key]:.3f}" for key in ("median_s", "lowest_s", "highest_s"))]
             for name, row in data["imports"].items()]  # fmt: skip
    mib = 1024.0**2
    sizes = [[extra, f"{row['package'] / mib:.1f}", f"{(row['all'] - row['torch']) / mib:,.0f}",
              f"{row['torch'] / mib:,.0f}", str(row["distributions"])]
             for extra, row in data["sizes"].items()]  # fmt: skip
    return "\n\n".join([
        table(["processor seconds of an import", "median", "lowest", "highest"], times),
        table(["extra", "hf_noisy, MiB", "all but torch, MiB", "torch and CUDA, MiB", "distributions"], sizes),
        f"`{data['command']}` (times), `{data['sizes_command']}` (sizes).",
    ])  # fmt: skip


def serving(data: dict) -> str:
    """What each way to serve DyGEN reaches and costs, beside the posterior of training itself."""
    names = {"plain": "one plain classifier", "branches": "stage I", "in training": "DyGEN in training",
             "exact": "DyGEN, exact", "exact, half": "DyGEN, exact, saved in float16",
             "distilled": "DyGEN, distilled"}  # fmt: skip

    def mean(cells: list[dict], name: str, key: str) -> float | None:
        values = [cell["rows"][name].get(key) for cell in cells]
        return None if values[0] is None else float(np.mean(values))

    parts = []
    for title, of in data["cells"].items():
        rows, cells = [], list(of.values())
        for name, shown in names.items():
            size, ratio = mean(cells, name, "megabytes"), mean(cells, name, "ratio")
            time = mean(cells, name, "ms")
            away = "" if name == "in training" else f"{mean(cells, name, 'largest_difference'):.0e}"
            rows.append([shown, percent(mean(cells, name, "accuracy")), percent(mean(cells, name, "ece")),
                         "" if size is None else f"{size:.0f}", "" if time is None else f"{time:.1f}",
                         "" if ratio is None else f"{ratio:.1f}", away])  # fmt: skip
        header = [title, "test accuracy, %", "ECE, %", "MB", "ms a row", "time / plain", "largest difference"]
        parts.append(table(header, rows))
    given, seeds = data["arguments"], ", ".join(map(str, data["seeds"]))
    chance = 196 * (0.75 * 0.25 / (given["test_rows"] * len(data["seeds"]))) ** 0.5
    return "\n\n".join(parts) + (
        f"\n\n`{data['command']}`: {given['dataset']}, {given['train_rows']} training and {given['test_rows']} test "
        f"rows of up to {given['max_length']} tokens, {given['epochs']} epochs, seeds {seeds}, "
        f"{data['machine']['threads']} thread, processor time (medians, of the ratios too); {data['protocol']}. By "
        f"the choice of test rows alone an accuracy of 75 % is uncertain by {chance:.0f} points (95 % interval). The "
        "largest difference is that of a probability from the posterior of training, which was recorded in float16."
    )


def scale(data: dict) -> str:
    parts = ("write", "scores", "prior", "vae", "posterior")
    cells = [cell for cell in data["cells"] if set(cell["parts"]) == set(parts)]
    rows = [
        [f"{cell['rows']:,}", str(cell["projection"] or data["dim"]),
         f"{cell['parts']['write']['disk_bytes'] / 1e9:.1f}",
         *(f"{cell['parts'][part]['cpu_s']:.0f}" for part in parts),
         *(f"{max(of[key] for of in cell['parts'].values()) / 1e9:.2f}"
           for key in ("peak_rss_bytes", "peak_private_bytes")),
         percent(cell["parts"]["posterior"]["label_accuracy_given"]),
         percent(cell["parts"]["posterior"]["label_accuracy"])]
        for cell in sorted(cells, key=lambda cell: (cell["projection"], cell["rows"]))
    ]  # fmt: skip
    header = ["rows", "width", "disk, GB", *(f"{part}, s" for part in parts), "peak resident, GB", "private, GB",
              "given labels right, %", "posterior right, %"]  # fmt: skip
    growth = [[name, *(f"{of[part]:.2f}" for part in (*parts, "all"))] for name, of in data["exponents"].items()]
    told = f"`{data['command']}`; seconds of the processor, {data['machine']['threads']} thread, a shared machine."
    grown = [table(["exponent of time by rows", *parts, "all"], growth)] if growth else []
    return "\n\n".join([table(header, rows), *grown, told])


def neighbours(data: dict) -> str:
    names = {"exact": "exact", "faiss": '`index="faiss"`', "hnsw": "HNSW of the same package"}
    rows = [[names[index], *(f"{of[key]:.0f}" for key in ("build_cpu_s", "all_rows_cpu_s")), percent(of["recall"])]
            for index, of in data["results"].items()]  # fmt: skip
    header = [f"{data['k']} neighbours of {data['rows']:,} rows of {data['dim']} dimensions", "built, s", "all, s",
              "found, %"]  # fmt: skip
    return table(header, rows) + f"\n\n`{data['command']}`; seconds of the processor, scaled from its queries."


def branch_cost(data: dict) -> str:
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
    return "\n\n".join([*parts, f"`{data['command']}`; {data['time']}; {data['device']}."])
