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


def test_public_sentences_are_read_once_without_import(package):
    found = docstrings.package_sentences(package, 100)
    assert sorted(found) == ["The class of folder root is public.", "The function of folder root is public here."]
    assert found == sorted(found, key=docstrings.stable_hash)
    assert package not in sys.modules
    assert gc.isenabled()


def test_an_absent_package_is_named():
    with pytest.raises(ModuleNotFoundError, match="package 'no_such_package' is needed"):
        docstrings.package_sentences("no_such_package", 1)


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("One line. Another.", "One line."),
        ("Wrapped\n    over lines\n\n    Rest.", "Wrapped over lines"),
        ("Load a `pandas.DataFrame`, or a :class:`~torch.Tensor`.", "Load a library DataFrame, or a library Tensor."),
        ("See [`AutoModel`] and [the guide](https://a.b/c).", "See AutoModel and the guide."),
        ("Convert to PyTorch via np.array for scikit-learn.", "Convert to library via library array for library."),
        ("Upload to the Hugging Face Hub with huggingface_hub.", "Upload to the library with library."),
        ("A transformer, a numpydoc and a spike stay.", "A transformer, a numpydoc and a spike stay."),
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
