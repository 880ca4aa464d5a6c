"""CPU time and recall of exact and approximate nearest neighbours: neighbours.json.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.neighbours

Rows are drawn around the centres of classes and of groups within them. All are references, some are queries; time per
query is scaled to all rows. Approximate: the inverted file of `index="faiss"`, and an HNSW graph of faiss.

`--indices cells` measures what audits of more than 20,000 rows search by default, on the embedded clauses of audit.py,
and needs HF_NOISY_DATA_DIR. The results of indices that are not measured are kept.
"""

from dataclasses import dataclass

import faiss
import numpy as np
from datasets import Dataset
from scipy.stats import spearmanr

from benchmarks.cost import audit, harness
from hf_noisy.cli.source import add_features
from hf_noisy.core.columns import FEATURES, column_vectors
from hf_noisy.detection import neighbours
from hf_noisy.detection.duplicates import duplicates_among
from hf_noisy.detection.outliers import outliers_among
from hf_noisy.detection.surroundings import surroundings

FARTHEST = 100  # rows that are compared as outliers


@dataclass
class Arguments(harness.Arguments):
    rows: int = harness.option(100_000, "references")
    queries: int = harness.option(2000, "query rows")
    dim: int = harness.option(384, "width of a row")
    k: int = harness.option(10, "neighbours")
    seed: int = harness.option(0, "of the rows")
    indices: list[str] = harness.option(["exact", "faiss", "hnsw"], "what to time; cells: see above")
    clauses: int = harness.option(50_000, "rows of the clauses")


def rows_of_groups(arguments: Arguments) -> np.ndarray:
    rng, dim = np.random.default_rng(arguments.seed), arguments.dim
    centres = rng.standard_normal((10, dim), np.float32)
    groups = centres[np.arange(200) % 10] + 0.7 * rng.standard_normal((200, dim), np.float32)
    return groups[rng.integers(0, 200, arguments.rows)] + rng.standard_normal((arguments.rows, dim), np.float32)


def search_graph(rows: np.ndarray, arguments: Arguments, clock: harness.Clock) -> np.ndarray:
    with clock("build"):
        graph = faiss.IndexHNSWFlat(arguments.dim, 32)
        graph.hnsw.efConstruction = 40
        graph.add(rows)
    with clock("search"):
        graph.hnsw.efSearch = 64
        raw = graph.search(rows[: arguments.queries], arguments.k + 1)[1]
        return np.stack([line[line != at][: arguments.k] for at, line in enumerate(raw)])


def search(index: str, rows: np.ndarray, arguments: Arguments, clock: harness.Clock) -> np.ndarray:
    def nearest(count: int) -> np.ndarray:
        own = np.arange(count)
        return neighbours.nearest(rows[:count], rows, arguments.k, own=own, index=index)[1]

    with clock("build"):
        if index == "faiss":
            inverted = neighbours._inverted_file(rows)
            neighbours._inverted_file = lambda _: inverted
        else:
            nearest(min(8, arguments.queries))  # the fixed cost: a search for a few queries
    with clock("search"):
        found = nearest(arguments.queries)
    if index == "exact":
        clock.seconds["cpu"]["search"] -= clock.seconds["cpu"]["build"]
    return found


def cells_of_clauses(arguments: Arguments) -> dict[str, float]:
    """What the default search of many rows finds of the exact one."""
    texts, given, _ = zip(*audit.clauses()[: arguments.clauses], strict=True)
    rows = add_features(Dataset.from_dict({"text": texts}), None).rows
    features, labels, clock = column_vectors(rows, FEATURES), np.array(given), harness.Clock()
    around = {}
    for index in ("exact", "auto"):
        with clock(index):
            around[index] = surroundings(features, index)
    exact, cells = around["exact"], around["auto"]
    hits = [len(set(a) & set(b)) / len(a) for a, b in zip(exact.neighbours, cells.neighbours, strict=True)]
    members = [
        {(row, group.exact) for group in duplicates_among(labels, one) for row in group.rows.tolist()}
        for one in (exact, cells)
    ]
    far, also_far = (set(np.argsort(-outliers_among(one).distance)[:FARTHEST].tolist()) for one in (exact, cells))
    near = {one for one in members[0] if not one[1]}
    return {
        "rows": len(features),
        "exact_cpu_s": clock.seconds["cpu"]["exact"],
        "cells_cpu_s": clock.seconds["cpu"]["auto"],
        "recall": float(np.mean(hits)),
        "near_duplicates": len(near),
        "near_duplicates_found": len(near & members[1]) / len(near),
        "outliers_found": len(far & also_far) / FARTHEST,
        "outlier_rank_correlation": float(spearmanr(*(outliers_among(one).distance for one in (exact, cells)))[0]),
    }


def measure(arguments: Arguments, report: harness.Report) -> None:
    earlier = report.earlier()
    if "cells" in arguments.indices:
        report["clauses"] = {"command": report["command"], **cells_of_clauses(arguments)}
        print(report["clauses"])
        report.update({key: value for key, value in earlier.items() if key != "clauses"})
        return
    report["clauses"] = earlier.get("clauses")
    faiss.omp_set_num_threads(1)
    rows, few = rows_of_groups(arguments), min(8, arguments.queries)
    exact, report["results"] = None, {}
    for index in arguments.indices:
        clock = harness.Clock()
        found = search_graph(rows, arguments, clock) if index == "hnsw" else search(index, rows, arguments, clock)
        exact = found if exact is None else exact
        built, searched = (clock.seconds["cpu"][phase] for phase in ("build", "search"))
        hits = [len(set(a) & set(b)) / arguments.k for a, b in zip(exact, found, strict=True)]
        report["results"][index] = {
            "build_cpu_s": built,
            "search_cpu_s": searched,
            "all_rows_cpu_s": built + searched * arguments.rows / (arguments.queries - few),
            "recall": float(np.mean(hits)),
        }
        print(index, report["results"][index], flush=True)
        report.save()


if __name__ == "__main__":
    harness.run(__file__, Arguments, measure, "numpy", "faiss-cpu")
