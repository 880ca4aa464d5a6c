"""For mkdocstrings: `Example:` in a docstring is read as `Examples:`, and [`name`] becomes a link to what it names."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from griffe import Extension, Module, Object

_EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
_NAMED = re.compile(r"\[`(~?)([\w.]+)`\](?:\[\])?(?![\[(])")  # with `~` the last part is shown


class Docstrings(Extension):
    """Changes the docstrings before they are parsed."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        objects = list(_objects(pkg))
        homes: dict[str, str] = {}
        for obj in sorted(objects, key=lambda one: not one.path.startswith("hf_noisy.cli.")):  # commands do not count
            if obj.parent is not None and obj.parent.is_module and not obj.is_module:
                homes[obj.name] = obj.path
        for obj in objects:
            if obj.docstring is not None:
                text = _EXAMPLE.sub("Examples:", obj.docstring.value)
                own = obj.module.members if not obj.is_module else obj.members
                here = {name: one.path for name, one in own.items() if not one.is_alias}
                obj.docstring.value = _NAMED.sub(partial(_link, homes | here), text)


def _objects(parent: Object) -> Iterator[Object]:
    """What is defined here and below, without what is imported."""
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from _objects(member)  # type: ignore[arg-type]


def _link(homes: dict[str, str], found: re.Match[str]) -> str:
    """A link, which is left out where the site does not show its target."""
    name, _, member = found[2].partition(".")
    path = f"{homes.get(name, name)}.{member}".rstrip(".")
    shown = found[2].rpartition(".")[2] if found[1] else found[2]
    return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'
