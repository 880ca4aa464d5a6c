import gc
import sys
import textwrap

import pytest

from hf_noisy.data.builders import docstrings


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "a_package_of_the_test"
    for folder in ("", "tests", "_private"):
        (root / folder).mkdir()
        (root / folder / "module.py").write_text(
            textwrap.dedent(f'''
            def public():
                """The function of folder {folder or "root"} is public here."""

            def _private():
                """The private function must not be seen."""

            class Shape:
                """The class of folder {folder or "root"} is public.

                Second paragraphs are not read.
                """

                def area(self):
                    """Too short."""

                async def load(self):
                    """The function of folder {folder or "root"} is PUBLIC here."""
            ''')
        )
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    (root / "broken.py").write_text('def f(:\n    """This file cannot be parsed at all."""')
    monkeypatch.syspath_prepend(tmp_path)
    return root.name


def test_public_sentences_are_read_without_import(package):
    found = docstrings.sentences([package])
    assert sorted(set(found)) == [
        "The class of folder root is public.",
        "The function of folder root is PUBLIC here.",
        "The function of folder root is public here.",
    ]
    assert package not in sys.modules
    assert gc.isenabled()


def test_modules_of_the_standard_library_come_before_files_of_the_same_name(tmp_path, monkeypatch):
    expected = docstrings.sentences(["code", "email"])
    (tmp_path / "code.py").write_text('def f():\n    """A file of the user with this name."""')
    monkeypatch.syspath_prepend(tmp_path)
    assert docstrings.sentences(["code", "email"]) == expected
    assert any("message" in sentence for sentence in expected)


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.inner", "email.no_such_folder"])
def test_an_absent_module_is_named(module):
    with pytest.raises(ModuleNotFoundError, match=f"module '{module}' is needed"):
        docstrings.sentences([module])


def test_near_duplicates_are_dropped():
    texts = [
        "Return the number of nodes in the given graph.",
        "return the number of the nodes in the given graph",
        "Return the number of nodes in a given directed graph.",
        "Return the length of paths in the given tree.",
        "Return the number of nodes in the given graph.",
    ]
    kept = docstrings.without_near_duplicates(texts)
    assert len(kept) == 2
    assert texts[3] in kept
    assert kept == sorted(kept, key=docstrings.stable_hash)


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("One line. Another.", "One line."),
        ("Wrapped\n    over lines\n\n    Rest.", "Wrapped over lines"),
        ("Load a `networkx.Graph`, or a :class:`~sympy.core.Expr`.", "Load a library, or a library."),
        ("See [`AutoModel`] and [the guide](https://a.b/c).", "See AutoModel and the guide."),
        ("Convert to NetworkX via nx.path_graph for SymPy.", "Convert to library via library for library."),
        ("From sympy.physics import CPython's units.", "From library import library's units."),
        ("The body.send of a pythonic to_python stays.", "The body send of a pythonic to library stays."),
        ("Args:\n    x: A row.", ""),
        ("Title\n=====\nText.", "Title"),
        ("size (`int`, *optional*): The size.", ""),
    ],
)
def test_first_sentence(docstring, expected):
    assert docstrings.first_sentence(docstring) == expected


def test_the_hash_depends_on_the_text_alone():
    # SHA-256 of "a", first 8 bytes.
    assert docstrings.stable_hash("a") == 0xCA978112CA1BBDCA
