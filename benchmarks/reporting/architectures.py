"""Tables of docs/architectures.md, from the result file of benchmarks/architectures.py."""

from typing import Any

from benchmarks.reporting import load, table

COLUMNS = {"cross_entropy": "`cross_entropy`", "nct": "`nct`", "dygen": "recorder and DyGEN", "lora": "LoRA branches"}
YES = "yes"


def blocks() -> dict[str, str]:
    """The content between the markers of the documents, by marker."""
    data = load("architectures")
    rows = data["architectures"]
    failed = [row for row in rows if any(row[name] != YES for name in COLUMNS)]
    return {
        "architectures": summary(data),
        "architectures_failed": listed(failed),
        "architectures_text": listed([row for row in rows if row["modality"] == "text"]),
        "architectures_image": listed([row for row in rows if row["modality"] == "image"]),
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


def listed(rows: list[dict[str, str]]) -> str:
    return table(
        ["class", *COLUMNS.values()], [[f"`{row['class']}`", *(row[name] for name in COLUMNS)] for row in rows]
    )
