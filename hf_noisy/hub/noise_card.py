"""The card of a dataset with noisy labels: where it comes from, what its columns are, how many labels are wrong."""

from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict
from huggingface_hub import DatasetCard, DatasetCardData

from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, LABEL, TEXT, VOTES
from hf_noisy.data.records import noise_record
from hf_noisy.hub.text import code, escape

_MEANING = {
    TEXT: "what is classified",
    IMAGE: "what is classified",
    LABEL: "the given label, right or wrong",
    CLEAN_LABEL: "the true label",
    VOTES: "votes of labelling rules, -1 where a rule is silent",
}
_TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

{{ description }}

## Columns

| column | type | meaning |
|---|---|---|
{% for column in columns -%}
| {{ column.name }} | {{ column.type }} | {{ column.meaning }} |
{% endfor %}
Classes: {{ classes }}.

## Rows and noise

Measured between `clean_label` and `label`, on the rows with both.

| split | rows | wrong given labels | where given labels come from |
|---|---|---|---|
{% for split in splits -%}
| {{ split.name }} | {{ split.rows }} | {{ split.wrong }} | {{ split.kind }} |
{% endfor %}
## Source and licence

{{ homepage or "No page of its own." }}

Licence: {{ licence or "not stated" }}.
{% if citation %}
## Citation

```bibtex
{{ citation }}
```
{% endif %}"""


def dataset_card(splits: DatasetDict, title: str, **metadata: Any) -> DatasetCard:
    """The card of prepared splits, with what their info says of source, licence and citation.

    Its metadata names the files as `push_to_hub` does (`data/<split>-*`), so it can take the place of the card that
    `push_to_hub` writes, and stand beside the files of `to_parquet`.

    Args:
        splits: What `load_noisy_dataset` returned, with noise or without.
        title: Name of the dataset.
        **metadata: More fields of `huggingface_hub.DatasetCardData`, such as `language`.

    Returns:
        The card; `card.save(path)` and `card.push_to_hub(repo_id)` publish it.

    Raises:
        ValueError: If there is no split.

    Example:
        >>> rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1], "clean_label": [0, 0]})
        >>> card = dataset_card(DatasetDict({"train": rows}), "Letters")
        >>> "| train | 2 | 50.00 % | not recorded |" in card.text
        True
    """
    if not splits:
        raise ValueError("splits must hold at least one split, got none; pass what load_noisy_dataset returned")
    first = next(iter(splits.values()))
    files = [{"split": name, "path": f"data/{name}-*"} for name in splits]
    data = DatasetCardData(
        pretty_name=title,
        # What the sources say is seldom one of the Hub's licences: the text of the card tells it.
        **{"license": "other", "tags": ["label-noise"], **metadata},
        configs=[{"config_name": "default", "data_files": files}],
    )
    feature = first.features[LABEL]
    card: DatasetCard = DatasetCard.from_template(
        data,
        template_str=_TEMPLATE,
        title=escape(title),
        description="\n\n".join([*_description(first), *_injected(splits)]),
        columns=[_column(name, kind) for name, kind in first.features.items()],
        classes=", ".join(map(escape, feature.names)) if isinstance(feature, ClassLabel) else "numbers",
        splits=[_split(name, split) for name, split in splits.items()],
        homepage=first.info.homepage,
        licence=first.info.license,
        citation=first.info.citation,
    )
    return card


def _description(split: Dataset) -> list[str]:
    """Lines for people; the others are records such as that of the noise, which the table tells."""
    return [line for line in split.info.description.splitlines() if not line.startswith("{")]


def _injected(splits: DatasetDict) -> list[str]:
    """What noise was put in after the description was written, which may say that the labels are true."""
    records = {name: noise_record(split) for name, split in splits.items()}
    # Only noise that somebody asked for has a rate asked, be it None.
    parts = [
        f"`{name}` ({', '.join(f'{key} {record[key]}' for key in ('kind', 'rate_asked', 'seed') if key in record)})"
        for name, record in records.items()
        if record and "rate_asked" in record
    ]
    return [f"Noise was put into these labels afterwards: {', '.join(parts)}."] if parts else []


def _column(name: str, kind: Any) -> dict[str, str]:
    detail = f" of {kind.num_classes}" if isinstance(kind, ClassLabel) else ""
    return {"name": code(name), "type": f"{type(kind).__name__}{detail}", "meaning": _MEANING.get(name, "")}


def _split(name: str, split: Dataset) -> dict[str, Any]:
    row = {"name": name, "rows": len(split), "wrong": "not known", "kind": "true labels"}
    if CLEAN_LABEL not in split.column_names:
        return {**row, "kind": "not recorded"}
    table = split.select_columns([LABEL, CLEAN_LABEL]).with_format("arrow")[:]
    given, true = (table.column(column).to_pandas().fillna(-1).to_numpy() for column in (LABEL, CLEAN_LABEL))
    known = (given >= 0) & (true >= 0)
    if known.any():
        row["wrong"] = f"{100 * np.mean(given[known] != true[known]):.2f} %"
    if not known.all() or (given != true).any():
        record = noise_record(split)
        row["kind"] = record["kind"] if record else "not recorded"
    return row
