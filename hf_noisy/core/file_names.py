"""Files of rows by their names, and files that are not there; nothing here is slow to import."""

from pathlib import Path

STANDARD_INPUT = "-"
MANIFEST = ".hf_noisy.json"  # in the output folder of a command
CONLL_ENDINGS = (".conll", ".conll2003", ".bio", ".iob", ".iob2")
ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", *CONLL_ENDINGS)


def ending(path: Path) -> str:
    """The ending of a file name in lower case, without `.gz`."""
    return next((suffix for suffix in reversed([one.lower() for one in path.suffixes]) if suffix != ".gz"), "")


def is_readable(path: Path) -> bool:
    """Whether the ending is that of a file that can be read."""
    return ending(path) in ENDINGS


def refuse_missing_source(name: str) -> None:
    """Refuse the name of a file of rows that is not there; other names may be those of data sets."""
    if is_readable(Path(name)) and not Path(name).exists():
        raise FileNotFoundError(f"name '{name}' looks like a file but there is none; check the path")


def refuse_missing_checked(path: str | Path) -> None:
    """Refuse a file of checked rows that is not there."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"file of checked rows '{path}' is missing; download it from the page, or check the path"
        )


def refuse_missing_votes(path: str | Path) -> None:
    """Refuse a file of votes that is not there."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"file of votes '{path}' is missing; check the path")


def refuse_missing_decisions(path: str | Path) -> None:
    """Refuse a file of decisions that is not there."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"file of decisions '{path}' is missing; download it from the report")
