"""Tables, pictures and cards from benchmarks/results; shared helpers to read results and to write tables."""

import json
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"

Cells = dict[tuple[str, int, str], dict[str, Any]]  # by setting, seed and method


def load(name: str) -> dict[str, Any]:
    """A result file of benchmarks/cost."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def read_cells(path: Path) -> Cells:
    cells = [json.loads(line) for line in path.read_text().splitlines()]
    return {(f"{cell['dataset']} {cell['noise']}".strip(), cell["seed"], cell["method"]): cell for cell in cells}


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, its first column on the left."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float, decimals: int | None = None) -> str:
    """A share in percent, optionally rounded first."""
    return f"{100 * (value if decimals is None else round(value, decimals)):.1f}"


def mean_of(values: list[float], decimals: int | None = None) -> str:
    """Mean in percent; the means of DyGEN and DMLP are first rounded to four decimals."""
    return percent(float(np.mean(values)), decimals) if values else ""


def spread_of(values: list[float], decimals: int | None = None) -> str:
    """Mean and standard deviation over seeds, in percent."""
    spread = f" ± {percent(float(np.std(values, ddof=1)), decimals)}" if len(values) > 1 else ""
    return mean_of(values, decimals) + spread
