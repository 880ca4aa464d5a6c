"""For mkdocs: links to files outside the site become paths, a marker the reference of all methods, formulas MathML."""

import re
from html import unescape
from typing import Any

_OUTSIDE = re.compile(r"\[[^\]]+\]\((?:\.\./)+((?:benchmarks|examples|tests|hf_noisy|CONTRIBUTING)[^)]*)\)")
_FORMULA = re.compile(r'class="arithmatex">\\([(\[])(.*?)\\[)\]]<', re.DOTALL)  # of pymdownx.arithmatex
_METHODS = "<!-- every method by name -->"


def methods_reference() -> str:
    """Directives of mkdocstrings for every method and loss by name."""
    from hf_noisy.methods import METHODS

    homes = (f"{kind.__module__}.{kind.__qualname__}" for kind in METHODS.values())
    return "\n\n".join(f"::: {home}\n    options: {{members: false}}" for home in homes)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page before it is rendered."""
    if _METHODS in markdown:
        markdown = markdown.replace(_METHODS, methods_reference())
    return _OUTSIDE.sub(r"`\1`", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs for each rendered page."""
    from latex2mathml.converter import convert

    display = {"(": "inline", "[": "block"}
    return _FORMULA.sub(
        lambda found: f'class="arithmatex">{convert(unescape(found[2]), display=display[found[1]])}<', html
    )
