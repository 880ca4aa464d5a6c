"""First sentences of the docstrings of installed modules, read from their source without importing them."""

import ast
import contextlib
import gc
import hashlib
import importlib.util
import re
import sysconfig
import warnings
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np

_MASK = "library"
# With the modules of a path such as sympy.physics.units, which would give the subject away.
_NAMES = re.compile(r"(?<![^\W_])(c?python|sympy|networkx|nx)([._]\w+)*(?!\w)", re.IGNORECASE)
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
_NEAR = 0.8  # share of common words from which two texts are near duplicates


def stable_hash(text: str) -> int:
    """A hash that is the same in every process, unlike `hash`; used to order, select and split."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def sentences(modules: list[str]) -> list[str]:
    """First sentences of the public docstrings of modules and packages, names of packages masked."""
    with _collection_paused():
        found = [
            first_sentence(docstring)
            for module in modules
            for path in _source_files(_location(module))
            for docstring in _public_docstrings(path)
        ]
    return [sentence for sentence in found if _MIN_WORDS <= len(sentence.split()) <= _MAX_WORDS]


def without_near_duplicates(texts: list[str]) -> list[str]:
    """Texts in the order of their hash, without those that share most of their words with an earlier one."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = sorted(set(texts), key=stable_hash)
    words = CountVectorizer(binary=True, dtype=np.int32).fit_transform(texts)
    sizes, shared = np.asarray(words.sum(1)).ravel(), (words @ words.T).tocoo()
    union = sizes[shared.row] + sizes[shared.col] - shared.data
    similar = (shared.data >= _NEAR * union) & (shared.col < shared.row)
    dropped: set[int] = set()
    for later, earlier in sorted(zip(shared.row[similar], shared.col[similar], strict=True)):
        if earlier not in dropped:
            dropped.add(later)
    return [text for row, text in enumerate(texts) if row not in dropped]


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
    # Before dots become spaces.
    text = _NAMES.sub(_MASK, sentence.group() if sentence else text)
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


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


def _location(module: str) -> Path:
    """File or folder of a module, which is not imported."""
    top, *inner = module.split(".")
    # First in the standard library, since a file such as `code.py` may lie in the current folder.
    spec = PathFinder.find_spec(top, [sysconfig.get_path("stdlib")]) or importlib.util.find_spec(top)
    location = Path(spec.origin) if spec and spec.origin else None
    if spec and location and spec.submodule_search_locations:
        location = location.parent.joinpath(*inner)
    if location is None or not location.exists():
        raise ModuleNotFoundError(f"module '{module}' is needed for its docstrings but is not installed")
    return location


def _source_files(location: Path) -> list[Path]:
    if location.is_file():
        return [location]
    files = sorted(path.relative_to(location) for path in location.rglob("*.py"))
    return [location / file for file in files if not re.search(r"test|(^|/)_[^/]*/", file.as_posix())]


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
