"""Tables of what the package has: named data sets, and the recipes of the papers with the figures that they report."""

import re
from pathlib import Path

from benchmarks.reporting import ROOT, table
from hf_noisy.data import list_noisy_datasets
from hf_noisy.data.load import dataset_builder

RECIPES = ROOT / "examples" / "recipes"
PAPERS = ("dal", "nrd", "nct", "dygen")
_FIRST_LINE = re.compile(
    r"# \w+ \([^)]*\) on (?P<setting>[^.;]+)[.;](?: Reported: (?P<reported>[\d.]+) %.*\((?P<source>[^)]*)\))?"
)


def recipes(paper: str) -> str:
    """One row a recipe: the setting, the figure of the paper with its source, and the file."""
    rows = [_recipe(path) for path in sorted(RECIPES.glob(f"{paper}_*.yaml"), key=_natural)]
    return table(["setting", "reported", "source", "recipe"], rows)


def _recipe(path: Path) -> list[str]:
    found = _FIRST_LINE.match(path.read_text().splitlines()[0])
    assert found is not None, path
    source = (found["source"] or "").split(",")[0]
    return [found["setting"], found["reported"] or "", source, f"[{path.stem}](../examples/recipes/{path.name})"]


def _natural(path: Path) -> list[str]:
    return [part.zfill(5) for part in re.split(r"(\d+)", path.stem)]


def data_sets() -> str:
    """One row a named data set."""
    rows = []
    for name in list_noisy_datasets():
        builder = dataset_builder(name)
        configs = sorted(builder.BUILDER_CONFIGS, key=lambda config: config.name != builder.DEFAULT_CONFIG_NAME)
        elsewhere = (
            f", else `{builder.HUB_ID}`" if builder.HUB_ID else ", else scikit-learn" if builder.FETCHED else ""
        )
        source = f"a folder{elsewhere}" if builder.MARKERS else "installed packages"
        shown = f"[`{name}`]({builder.HOMEPAGE})" if builder.HOMEPAGE else f"`{name}`"
        names = ", ".join(f"`{config.name}`" for config in configs)
        rows.append([shown, builder.DESCRIPTION, names, source, builder.LICENSE])
    header = ["name", "what", "configurations, the default first", "read from", "licence, as the source states it"]
    return table(header, rows)


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    return {"data_sets": data_sets()} | {f"recipes_{paper}": recipes(paper) for paper in PAPERS}
