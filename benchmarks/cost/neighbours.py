"""CPU time and recall of exact and approximate nearest neighbours: neighbours.json.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.neighbours

Rows are drawn around the centres of classes and of groups within them. All are references, some are queries; time per
query is scaled to all rows. Approximate: the inverted file of `index="faiss"`, and an HNSW graph of faiss.
"""

from dataclasses import dataclass

import faiss
import numpy as np

from benchmarks.cost import harness
from hf_noisy.detection import neighbours


@dataclass
class Arguments(harness.Arguments):
    rows: int = harness.option(100_000, "references")
    queries: int = harness.option(2000, "query rows")
    dim: int = harness.option(384, "width of a row")
    k: int = harness.option(10, "neighbours")
    seed: int = harness.option(0, "of the rows")
    indices: list[str] = harness.option(["exact", "faiss", "hnsw"], "what to time")


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


def measure(arguments: Arguments, report: harness.Report) -> None:
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
