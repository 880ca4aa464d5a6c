"""The columns of a source under the names of this package: `text`, `image`, `label` and `clean_label`."""

import logging
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Image, Value

from hf_noisy.core.columns import CLEAN_LABEL, IMAGE, LABEL, TEXT, TEXT_PAIR, TOKENS, stored_column
from hf_noisy.data.flat_labels import TaskName
from hf_noisy.data.reading.class_names import with_classes
from hf_noisy.data.reading.image_columns import as_images, without_unreadable
from hf_noisy.data.reading.label_lists import one_hot_lists, with_label_lists
from hf_noisy.data.reading.places import Places
from hf_noisy.data.reading.raw_rows import holds_numbers
from hf_noisy.data.reading.source_task import task_of_source
from hf_noisy.data.reading.wanted import Wanted
from hf_noisy.data.records import record_left_out
from hf_noisy.data.replace_column import with_column

logger = logging.getLogger(__name__)

_UNUSED_IMAGE = "image_path"  # new name of a column 'image' beside the texts that holds no images


class _Role(NamedTuple):
    argument: str  # as a user names it
    column: str  # in the source
    name: str  # in this package


def standard_columns(splits: dict[str, Dataset], places: dict[str, Places], wanted: Wanted) -> DatasetDict:
    """The splits with their columns renamed, texts as strings, images that can be read, and labels as classes."""
    task, wanted = task_of_source(splits, wanted)
    if wanted.label_columns:
        for split, rows in splits.items():
            splits[split] = one_hot_lists(rows, wanted.label_columns, places[split])
    roles = _roles(splits, wanted, task)
    _check_roles(roles, splits, places)
    _check_feature_columns(wanted.feature_columns, roles, splits, places)
    for split, rows in splits.items():
        rows = _renamed(rows, roles)
        if LABEL not in rows.column_names:  # a test set without labels
            rows = with_column(rows, LABEL, pa.nulls(len(rows)), Value("string"))
        for role in roles:
            if role.name in (TEXT, TEXT_PAIR):
                rows = _with_texts(rows, places[split], role)
            elif role.name == IMAGE:
                every = len(rows)
                rows = as_images(rows, places[split], role.column, wanted.allow_outside)
                rows, places[split] = without_unreadable(rows, places[split], wanted.skip_unreadable)
                rows = record_left_out(rows, every - len(rows)) if every > len(rows) else rows
        splits[split] = rows
    if task != "one-label":
        return DatasetDict(with_label_lists(splits, places, wanted, task))
    return DatasetDict(with_classes(splits, places, wanted))


def _roles(splits: dict[str, Dataset], wanted: Wanted, task: TaskName) -> list[_Role]:
    columns = {name: feature for rows in splits.values() for name, feature in rows.features.items()}
    labels = [("label_column", wanted.label, LABEL), ("clean_column", wanted.clean_column, CLEAN_LABEL)]
    if task == "tokens":
        if len(wanted.text_columns) > 1 or wanted.image_column or wanted.feature_columns:
            raise ValueError("tokens are read from one column of lists of words; pass text_column alone")
        labels.insert(0, ("text_column", (*wanted.text_columns, TOKENS)[0], TOKENS))
        return [_Role(argument, column, name) for argument, column, name in labels if column is not None]
    texts, image = wanted.text_columns, wanted.image_column
    if not texts and image is None:
        if IMAGE in columns and (TEXT not in columns or isinstance(columns[IMAGE], Image)):
            image = IMAGE
        if TEXT in columns or (image is None and not wanted.feature_columns):
            texts = (TEXT,)
    if len(texts) == 1 and TEXT_PAIR in columns:
        texts = (*texts, TEXT_PAIR)
        if wanted.text_columns:
            logger.warning(f"the column '{TEXT_PAIR}' is read as the second text of each row; rename it if it is not")
    roles = [_Role("text_column", column, name) for column, name in zip(texts, (TEXT, TEXT_PAIR), strict=False)]
    others = [("image_column", image, IMAGE), *labels]
    return roles + [_Role(argument, column, name) for argument, column, name in others if column is not None]


def _check_roles(roles: list[_Role], splits: dict[str, Dataset], places: dict[str, Places]) -> None:
    asked = [role.column for role in roles]
    if len(set(asked)) < len(asked):
        arguments = list(dict.fromkeys(role.argument for role in roles))
        raise ValueError(
            f"{', '.join(arguments[:-1])} and {arguments[-1]} must be different columns, got {', '.join(asked)}"
        )
    for role in roles:
        lacking = [split for split, rows in splits.items() if role.column not in rows.column_names]
        may_lack = role.name in (LABEL, CLEAN_LABEL) and len(lacking) < len(splits)
        if lacking and not may_lack:
            columns = ", ".join(_reachable(splits[lacking[0]]))
            raise ValueError(
                f"{role.argument} must be one of {columns} ({places[lacking[0]].name}), got '{role.column}'"
                + ("; feature_columns names columns of numbers, to audit and purify" if role.column == TEXT else "")
            )
    for rows in splits.values():
        for role in roles:
            if role.name != role.column and role.name in set(rows.column_names) - set(asked):
                raise ValueError(
                    f"{role.argument}='{role.column}' cannot be renamed to '{role.name}', a column of that name "
                    "exists; rename or remove it"
                )


def _check_feature_columns(
    columns: tuple[str, ...], roles: list[_Role], splits: dict[str, Dataset], places: dict[str, Places]
) -> None:
    """Refuse columns of numbers that are not there, or that hold labels, under their names in the source."""
    for split, rows in splits.items():
        if lost := [f"'{name}'" for name in columns if name not in rows.column_names]:
            raise ValueError(
                f"feature_columns must be among {', '.join(rows.column_names)} ({places[split].name}), got "
                f"{', '.join(lost)}"
            )
    of_labels = [role.column for role in roles if role.name in (LABEL, CLEAN_LABEL)]
    if labels := [f"'{name}'" for name in columns if name in of_labels]:
        raise ValueError(f"feature_columns must not hold labels, got {', '.join(labels)}; leave them out")


def _reachable(rows: Dataset) -> list[str]:
    """The names of the columns, dotted for what is in objects."""
    objects = {name: feature for name, feature in rows.features.items() if isinstance(feature, dict)}
    return [one for name in rows.column_names for one in [f"{name}.{key}" for key in objects.get(name, ())] or [name]]


def _renamed(rows: Dataset, roles: list[_Role]) -> Dataset:
    new = {role.column: role.name for role in roles if role.column in rows.column_names}
    if IMAGE in rows.column_names and IMAGE not in new.values() and not isinstance(rows.features[IMAGE], Image):
        new[IMAGE] = _UNUSED_IMAGE
        logger.warning(f"the column '{IMAGE}' beside the texts is kept as '{_UNUSED_IMAGE}'")
    new = {old: name for old, name in new.items() if old != name}
    return rows.rename_columns(new) if new else rows


def _with_texts(rows: Dataset, places: Places, role: _Role) -> Dataset:
    """The texts as strings; rows without a text are reported, a column without any is refused."""
    column = role.column
    feature, values = rows.features[role.name], stored_column(rows, role.name)
    what = f"text_column '{column}' of {places.name}"
    if not isinstance(feature, Value):
        inner = f"; name one of {', '.join(f'{column}.{key}' for key in feature)}" if isinstance(feature, dict) else ""
        raise ValueError(f"{what} must hold one text per row, got {values.type}{inner}")
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        raise ValueError(f"{what} holds bytes, no texts")
    texts = values.cast(pa.string()).fill_null("")
    if len(texts) and (not is_text or holds_numbers(texts)):
        logger.warning(f"{what} holds {'numbers' if holds_numbers(texts) else values.type}, which are read as texts")
    empty = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0).to_numpy()
    if empty.all() and len(texts):
        raise ValueError(f"{what} holds no text, all {len(texts):,} are empty; name another column")
    if empty.any():
        logger.warning(f"{int(empty.sum()):,} of {len(texts):,} texts are empty: {places.of(empty.nonzero()[0])}")
    if feature == Value("string") and not values.null_count:
        return rows
    return with_column(rows, role.name, texts.combine_chunks(), Value("string"))
