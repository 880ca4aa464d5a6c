"""Every public name is on a page of the reference, and every page refers to what exists."""

import inspect
import re
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import hf_noisy
from hf_noisy.methods import METHODS

PAGES = Path(__file__).parents[2] / "docs" / "api"
HOOKS = runpy.run_path(str(PAGES.parent / "hooks.py"))
TEXT = "".join(HOOKS["on_page_markdown"](page.read_text()) for page in PAGES.glob("*.md"))
TARGETS = set(re.findall(r"^::: ([\w.]+)$", TEXT, re.MULTILINE))


def resolve(target: str) -> Any:
    try:
        return import_module(target)
    except ModuleNotFoundError:
        module, _, name = target.rpartition(".")
        return getattr(import_module(module), name)


PUBLIC = [getattr(hf_noisy, name) for name in hf_noisy.__all__] + list(METHODS.values())


@pytest.mark.parametrize("value", PUBLIC, ids=lambda value: value.__name__)
def test_what_is_public_is_documented(value):
    home = value.__name__ if inspect.ismodule(value) else value.__module__
    assert {home, f"{home}.{value.__name__}"} & TARGETS


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_page_refers_to_what_exists(target):
    assert resolve(target).__doc__
