"""Words of others in a card, and a section of ours in a card of others."""

import os
import re
from typing import Any

import yaml  # type: ignore[import-untyped]
from huggingface_hub import RepoCard

BEGIN = "<!-- hf-noisy: begin; a later push replaces what stands up to the end -->"
END = "<!-- hf-noisy: end -->"
REPOSITORY = "<repository>"  # in the code of a card, until it is known where the card goes
TAGS = ["hf_noisy", "label-noise", "noisy-labels"]

# What Markdown, HTML or a formula may begin with; an underscore within a word begins nothing.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>|~$#&]|(?<!\w)_|_(?!\w)")
_PATH = re.compile(r"[/~\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]")


def escape(text: object) -> str:
    r"""Words of others, such as names of classes, on one line and as they are, whatever stands in them.

    Args:
        text: Anything with a `str`.

    Returns:
        Text for a paragraph, a heading or the cell of a table.

    Example:
        >>> escape("a|b\n---\n<b>bold</b> snake_case")
        'a&#124;b --- &#60;b&#62;bold&#60;/b&#62; snake_case'
    """
    flat = "".join(sign if sign.isprintable() else " " for sign in str(text))
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(flat.split()))


def code(text: object) -> str:
    """A name as code, or escaped where it is no plain word.

    Example:
        >>> code("label_given"), code("a`b")
        ('`label_given`', 'a&#96;b')
    """
    return f"`{text}`" if re.fullmatch(r"[\w.-]+", str(text), re.ASCII) else escape(text)


def public_name(name: str) -> str:
    """The name of a dataset or a model, without the folders of a machine.

    Args:
        name: A name, an id on the Hub, or a path.

    Returns:
        The last part of a path, anything else as it is.

    Example:
        >>> public_name("/data/private/rows.csv"), public_name("owner/rows")
        ('rows.csv', 'owner/rows')
    """
    if is_path(name):
        return re.split(r"[/\\]", name.rstrip("/\\"))[-1] or "data"
    return name


def is_path(name: str) -> bool:
    """Whether a name means something on this machine, rather than on the Hub."""
    return _PATH.match(name) is not None or name.count("/") > 1 or os.path.exists(name)


def placed(card: RepoCard, repo_id: str, revision: str | None = None) -> RepoCard:
    r"""The card, with the name of the repository in its code.

    Example:
        >>> placed(RepoCard("---\ntags: [a]\n---\nload_dataset(<repository>)"), "owner/rows").text
        'load_dataset("owner/rows")'
    """
    place = f'"{repo_id}"' if revision is None else f'"{repo_id}", revision="{revision}"'
    return type(card)(card.content.replace(REPOSITORY, place))


def merged(existing: str, card: RepoCard) -> str:
    r"""A card that is there already, with a card of ours in it.

    Its text stays; the section between our marks is replaced, or stands at the end. Its metadata stays; keys and tags
    are added, and figures of the same metric on the same data are renewed.

    Args:
        existing: Content of the card that is there.
        card: Card to put in; without marks, all of its text is taken.

    Returns:
        Content of the card of both.

    Raises:
        ValueError: If the metadata of the existing card cannot be read.

    Example:
        >>> print(merged("---\nlicense: mit\n---\nMine.\n", RepoCard("---\ntags: [noisy]\n---\nOurs.")))
        ---
        license: mit
        tags:
        - noisy
        ---
        Mine.
        <BLANKLINE>
        <!-- hf-noisy: begin; a later push replaces what stands up to the end -->
        Ours.
        <!-- hf-noisy: end -->
        <BLANKLINE>
    """
    # A block without a line in it is none for the class, which would take its marks for text.
    existing = re.sub(r"\A\s*---(\r?\n)---", r"---\1\1---", existing)
    try:
        result = RepoCard(existing if existing.lstrip().startswith("---") else f"---\n\n---\n{existing}")
    except (TypeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the card that is there has metadata that cannot be read ({reason}); mend it") from None
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
    if start < 0 or stop < 0:  # half a section is not ours any more
        line = "\r\n" if "\r\n" in existing else "\n"
        return f"{existing.rstrip()}{line}{line}{section}{line}"
    return existing[:start] + section + existing[stop + len(END) :]


def _merged_index(present: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures of both, ours where both have the same metric of the same model, task and data."""

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
