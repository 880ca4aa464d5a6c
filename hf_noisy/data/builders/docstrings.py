"""First sentences of the docstrings of installed packages, read from their source without importing them."""

import ast
import contextlib
import gc
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

_MASK = "library"
_NAMES = re.compile(
    r"(?<!\w)(numpy|np|scipy|sp|scikits?[-_ ]?learn|sklearn|pandas|pd|(py)?torch(vision|audio)?|libtorch|transformers"
    r"|hugging ?face([-_ ]?hub)?|hf)(?!\w)|🤗",
    re.IGNORECASE,
)
# The summary ends at a section, a list of arguments, an underline, an example or a directive.
_SECTION = re.compile(
    r"^(args|arguments|parameters|params|returns?|yields?|raises|examples?|inputs?|outputs?|attributes|notes?|shape"
    r"|see also|references|keyword args)\b.{0,30}$|^[-=~^]{3,}$|^(>>>|\.\. |:param|:return|```)|\(.*optional.*\) ?:",
    re.IGNORECASE,
)
_MARKUP = (
    (re.compile(r":\w+(?::\w+)?:`~?\.?([^`<]*?)(?:\s*<[^>]*>)?`"), r"\1"),
    (re.compile(r"\[`?~?([^\]`]+)`?\](?:\([^)]*\))?"), r"\1"),
    (re.compile(r"<?https?://\S+"), ""),
    (re.compile(r"[`*]+"), ""),
    (re.compile(r"[~<>{}|\\]+"), " "),
    (re.compile(r"(?<=[a-z0-9])[._](?=[a-zA-Z])"), " "),
    (re.compile(r"\s+(?=[,.;:)](\s|$))"), ""),
)
_MIN_WORDS, _MAX_WORDS = 5, 40


def stable_hash(text: str) -> int:
    """A hash that is the same in every process, unlike `hash`; used to order, select and split."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def package_versions(distributions: list[str]) -> dict[str, str]:
    """Installed version of each distribution, without importing it."""
    return {name: importlib.metadata.version(name) for name in distributions}


def package_sentences(package: str, enough: int) -> list[str]:
    """First sentences of the public docstrings of a package, names of packages masked."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"package '{package}' is needed for its docstrings but is not installed")
    root = Path(spec.submodule_search_locations[0])
    sentences: dict[str, str] = {}
    with _collection_paused():
        for path in _source_files(root):
            for docstring in _public_docstrings(path):
                sentence = first_sentence(docstring)
                if _MIN_WORDS <= len(sentence.split()) <= _MAX_WORDS:
                    sentences.setdefault(sentence.casefold(), sentence)
            if len(sentences) >= enough:
                break
    return sorted(sentences.values(), key=stable_hash)


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring as plain words, names of packages masked."""
    lines: list[str] = []
    for line in docstring.strip().splitlines():
        stripped = line.strip()
        if not stripped or _SECTION.search(stripped):
            break
        lines.append(stripped)
    text = " ".join(" ".join(lines).split())
    sentence = re.match(r".+?[.!?:](?=\s|$)", text)
    text = sentence.group() if sentence else text
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(_NAMES.sub(_MASK, text).split())


@contextlib.contextmanager
def _collection_paused() -> Iterator[None]:
    # A syntax tree is many objects without cycles; searching it for cycles takes more than half of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _source_files(root: Path) -> list[Path]:
    found = {}
    for folder, subfolders, names in os.walk(root):
        # Pruned while walking: some packages have ten thousand headers in private folders.
        subfolders[:] = [name for name in subfolders if not name.startswith("_") and "test" not in name]
        for name in names:
            if name.endswith(".py") and "test" not in name:
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path
    return [found[name] for name in sorted(found, key=stable_hash)]


def _public_docstrings(path: Path) -> Iterator[str]:
    source = path.read_text(encoding="utf-8", errors="ignore")
    if '"""' not in source:
        return
    with warnings.catch_warnings():
        # Invalid escapes in the files of other packages.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except SyntaxError:
            return
    yield from _walk(tree)


def _walk(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            docstring = ast.get_docstring(child)
            if docstring:
                yield docstring
            if isinstance(child, ast.ClassDef):
                yield from _walk(child)
