"""Escape user text, and merge our section into an existing card."""

import os
import re
from typing import Any

import yaml  # type: ignore[import-untyped]
from huggingface_hub import RepoCard

BEGIN = "<!-- hf-noisy: begin; a later push replaces this section -->"
END = "<!-- hf-noisy: end -->"
REPOSITORY = "<repository>"  # in the code of a card, until the repository is known
TAGS = ["hf_noisy", "label-noise", "noisy-labels"]

# Characters that can begin Markdown, HTML or a formula; underscores within a word cannot.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>|~$#&]|(?<!\w)_|_(?!\w)")
_PATH = re.compile(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")


def escape(text: object) -> str:
    """User text, such as the name of a class, on one line and escaped for Markdown and HTML."""
    flat = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(flat.split()))


def code(text: object) -> str:
    """A name as code, or escaped if it is not a plain word."""
    return f"`{text}`" if re.fullmatch(r"[\w.-]+", str(text), re.ASCII) else escape(text)


def named_values(values: dict[str, Any]) -> str:
    """Arguments of a method or a purifier, to follow its name."""
    return " with " + ", ".join(f"{code(key)} = {escape(value)}" for key, value in values.items()) if values else ""


def public_name(name: str) -> str:
    """The name of a dataset or a model; for a path only its last part, without local folders."""
    if is_path(name):
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or "data"
    return name


def without_folders(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a run in which local paths are only file names, as in [`public_name`]."""
    return {name: public_name(value) if isinstance(value, str) else value for name, value in arguments.items()}


def is_path(name: str) -> bool:
    """Whether a name is a local path rather than an id on the Hub."""
    return _PATH.match(name) is not None or name.count("/") > 1 or os.path.exists(name)


def placed(card: RepoCard, repo_id: str, revision: str | None = None) -> RepoCard:
    """The card, with the name of the repository filled into its code."""
    place = f'"{repo_id}"' if revision is None else f'"{repo_id}", revision="{revision}"'
    return type(card)(card.content.replace(REPOSITORY, place))


def merged(existing: str, card: RepoCard) -> str:
    """An existing card with ours merged in: our section and results are replaced, missing metadata is added."""
    # RepoCard reads an empty metadata block as text.
    existing = re.sub(r"\A\s*---(\r?\n)---", r"---\1\1---", existing)
    try:
        result = RepoCard(existing if existing.lstrip().startswith("---") else f"---\n\n---\n{existing}")
    except (TypeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the existing card has metadata that cannot be read ({reason}); correct it") from None
    added: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
    for key, value in added.items():
        present = result.data.get(key)
        if present is None:
            result.data[key] = value
        elif key == "tags":
            present = [present] if isinstance(present, str) else list(present)
            result.data[key] = present + [tag for tag in value if tag not in present]
        elif key == "model-index" and isinstance(present, list):
            result.data[key] = _merged_index(present, value)
    result.text = _with_section(result.text, card.text)
    return str(result.content)


def _with_section(existing: str, text: str) -> str:
    if not existing.strip():
        return text
    before, mark, rest = text.partition(BEGIN)
    section = f"{BEGIN}{rest.partition(END)[0]}{END}" if mark else f"{BEGIN}\n{before.strip()}\n{END}"
    if "\r\n" in existing:
        section = section.replace("\n", "\r\n")
    start = existing.find(BEGIN)
    stop = existing.find(END, start)
    if start < 0 or stop < 0:  # half a section is no longer ours
        line = "\r\n" if "\r\n" in existing else "\n"
        return f"{existing.rstrip()}{line}{line}{section}{line}"
    return existing[:start] + section + existing[stop + len(END) :]


def _merged_index(present: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of both; ours replace those with the same metric, model, task and data."""

    def key(model: dict[str, Any], result: dict[str, Any], metric: dict[str, Any]) -> str:
        which = [model.get("name"), result.get("task"), result.get("dataset"), metric.get("type"), metric.get("name")]
        return repr(which)

    new = {key(model, result, metric) for model in ours for result in model["results"] for metric in result["metrics"]}
    models = []
    for model in present:
        kept = []
        for result in model.get("results", []):
            metrics = [metric for metric in result.get("metrics", []) if key(model, result, metric) not in new]
            kept += [{**result, "metrics": metrics}] if metrics else []
        added = [result for other in ours if other["name"] == model.get("name") for result in other["results"]]
        models.append({**model, "results": kept + added})
    names = [model.get("name") for model in present]
    return models + [model for model in ours if model["name"] not in names]
