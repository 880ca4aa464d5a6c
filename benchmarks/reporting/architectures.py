"""Tables of docs/architectures.md, from the result file of benchmarks/architectures.py."""

from typing import Any

from benchmarks.reporting import load, table

COLUMNS = {"cross_entropy": "`cross_entropy`", "nct": "`nct`", "dygen": "recorder and DyGEN", "lora": "LoRA branches"}
YES = "yes"


def blocks() -> dict[str, str]:
    data = load("architectures")
    rows = data["architectures"]
    return {
        "architectures": summary(data),
        "architectures text": of_modality(rows, "text"),
        "architectures image": of_modality(rows, "image"),
    }


def summary(data: dict[str, Any]) -> str:
    rows = data["architectures"]
    counts = [
        [title, *(f"{passed(rows, kind, name)}" for kind in ("text", "image"))] for name, title in COLUMNS.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return table(["architectures that pass", "text", "image"], counts) + f"\n\nWith {versions}."


def passed(rows: list[dict[str, str]], modality: str, name: str) -> str:
    found = [row[name] == YES for row in rows if row["modality"] == modality]
    return f"{sum(found)} of {len(found)}"


def of_modality(rows: list[dict[str, str]], modality: str) -> str:
    chosen = [row for row in rows if row["modality"] == modality]
    return table(
        ["class", *COLUMNS.values()], [[f"`{row['class']}`", *(row[name] for name in COLUMNS)] for row in chosen]
    )
