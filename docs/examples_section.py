"""For mkdocstrings: `Example:` in a docstring is read as `Examples:`, so that its `>>>` lines are shown as code."""

import re
from typing import Any

from griffe import Extension, Object


class ExamplesSection(Extension):
    """Renames the section before it is parsed."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
