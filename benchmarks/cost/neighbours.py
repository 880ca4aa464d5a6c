"""Exact neighbours against approximate ones: processor time and how many are found.

    OMP_NUM_THREADS=1 python -m benchmarks.cost.neighbours --output benchmarks/results/neighbours.json

Rows about centres of classes and of groups within them. All rows are references, some of them queries: what takes time
by query is scaled to all rows in the table. The inverted file of `index="faiss"`, and a graph (HNSW) of that package.
"""

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np

from hf_noisy.core.files import write_atomically
from hf_noisy.detection import neighbours
from hf_noisy.detection.neighbours import nearest


def rows_of_groups(args: argparse.Namespace) -> np.ndarray:
    rng = np.random.default_rng(args.seed)
    centres = rng.standard_normal((10, args.dim), np.float32)
    groups = centres[np.arange(200) % 10] + 0.7 * rng.standard_normal((200, args.dim), np.float32)
    return groups[rng.integers(0, 200, args.rows)] + rng.standard_normal((args.rows, args.dim), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--indices", nargs="+", default=["exact", "faiss", "hnsw"])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/neighbours.json"))
    args = parser.parse_args()
    faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rows = rows_of_groups(args)
    own, few = np.arange(args.queries), min(8, args.queries)
    results: dict[str, dict[str, float]] = {}
    found: dict[str, np.ndarray] = {}

    def search(index: str, count: int) -> np.ndarray:
        return nearest(rows[:count], rows, args.k, own=own[:count], index=index)[1]

    for index in args.indices:
        begin = time.process_time()
        if index == "hnsw":
            graph = faiss.IndexHNSWFlat(args.dim, 32)
            graph.hnsw.efConstruction = 40
            graph.add(rows)
            built = time.process_time() - begin
            graph.hnsw.efSearch = 64
            begin = time.process_time()
            raw = graph.search(rows[: args.queries], args.k + 1)[1]
            found[index] = np.stack([line[line != at][: args.k] for at, line in enumerate(raw)])
            searched = time.process_time() - begin
        else:
            if index == "faiss":
                inverted = neighbours._inverted_file(rows)
                neighbours._inverted_file = lambda _, inverted=inverted: inverted
            else:
                search(index, few)  # what does not grow with the queries is what a few of them take
            built = time.process_time() - begin
            begin = time.process_time()
            found[index] = search(index, args.queries)
            searched = time.process_time() - begin - (built if index == "exact" else 0.0)
        hits = [len(set(a) & set(b)) / args.k for a, b in zip(found["exact"], found[index], strict=True)]
        results[index] = {
            "build_cpu_s": built,
            "search_cpu_s": searched,
            "all_rows_cpu_s": built + searched * args.rows / (args.queries - few),
            "recall": float(np.mean(hits)),
        }
        print(index, results[index], flush=True)
        content = {
            "command": " ".join(["python -m benchmarks.cost.neighbours", *sys.argv[1:]]),
            "rows": args.rows, "queries": args.queries, "dim": args.dim, "k": args.k, "seed": args.seed,
            "results": results,
            "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                        "shared": True, "threads": os.environ.get("OMP_NUM_THREADS", "1"),
                        "load": os.getloadavg()[0]},
            "versions": {name: version(name) for name in ("torch", "numpy", "faiss-cpu")},
        }  # fmt: skip
        write_atomically(args.output, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
