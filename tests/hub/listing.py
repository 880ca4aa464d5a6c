"""The Hub's rules for files: how to upload them, how they are listed, and which metadata of cards it refuses."""

import hashlib
from dataclasses import dataclass
from typing import Any

import yaml

_LFS = (".arrow", ".bin", ".h5", ".model", ".parquet", ".pt", ".safetensors", ".zip")


@dataclass(frozen=True)
class File:
    """A path in a commit; `lfs` is the sha256 of a large file."""

    blob: str
    size: int
    lfs: str | None = None


def upload_mode(wanted: dict[str, Any], tree: dict[str, File]) -> dict[str, Any]:
    there = tree.get(wanted["path"])
    mode = "lfs" if wanted["path"].endswith(_LFS) or wanted["size"] > 10 << 20 else "regular"
    oid = None if there is None else there.lfs or there.blob
    return {"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}


def entries(tree: dict[str, File]) -> list[dict[str, Any]]:
    """Files and their folders, as a listing names them."""
    folders = {path[:end] for path in tree for end in range(len(path)) if path[end] == "/"}
    found: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0}
        for folder in folders
    ]
    for path, file in tree.items():
        lfs = {} if file.lfs is None else {"lfs": {"oid": file.lfs, "size": file.size, "pointerSize": 130}}
        found.append({"type": "file", "path": path, "oid": file.blob, "size": file.size, **lfs})
    return sorted(found, key=lambda entry: entry["path"])


def metadata_errors(content: str) -> list[str]:
    """Errors that the Hub would report for the metadata of a card, for the fields that our cards use."""
    if not content.startswith("---\n"):
        return []
    try:
        metadata = yaml.safe_load(content[4:].split("\n---", 1)[0])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    if not isinstance(metadata, dict):
        return ["metadata must be an object"]
    errors = []
    for key in ("tags", "task_categories", "datasets", "metrics"):
        value = metadata.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            errors.append(f'"{key}" must be an array of strings')
    for model in metadata.get("model-index", []):
        for result in model["results"]:
            if not (result["task"]["type"] and result["dataset"]["name"] and result["dataset"]["type"]):
                errors.append('"model-index" lacks a task or a dataset')
            errors += [f"metric {m} lacks a value" for m in result["metrics"] if "type" not in m or "value" not in m]
    return errors
