"""For mkdocs: links to files of the repository that are no pages become their paths; the site has no such files."""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[[^\]]+\]\((?:\.\./)+((?:benchmarks|examples|tests|hf_noisy|CONTRIBUTING)[^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page before it is rendered."""
    return _OUTSIDE.sub(r"`\1`", markdown)
