"""The rules that keep the package readable: who may import whom, how large things may grow, what names mean."""

import ast
import importlib
import inspect
import json
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_noisy"

# Room -> the rooms that it may import besides itself, floor by floor. A room that is not named here may not exist.
CORE = {"core"}
ROWS = CORE | {"losses", "data"}
MODELS = ROWS | {"models"}
RECORDS = MODELS | {"detection", "dynamics", "metrics"}
METHODS = RECORDS | {"dygen", "methods"}
CORRECTION = METHODS | {"purification"}
RESULTS = CORRECTION | {"hub", "reports"}
MAY_IMPORT = {
    "core": set(),
    "losses": CORE,
    "data": CORE,
    "metrics": CORE,
    "models": ROWS,
    "detection": MODELS,
    "dynamics": MODELS,
    "dygen": RECORDS,
    "methods": RECORDS | {"dygen"},
    "purification": METHODS,
    "hub": CORRECTION,
    "reports": CORRECTION,
    "training": RESULTS,
    "cli": RESULTS | {"training"},
}
# Slow to import, and not needed by every user: imported where used, inside the function that uses them.
HEAVY = {
    "evaluate": {"metrics"},
    "jinja2": {"reports"},
    "matplotlib": {"reports"},
    "peft": {"models.adapters"},
    "faiss": {"detection.neighbours"},
    "lightly": {"models.simclr"},
    "sklearn": {"data.builders.digits", "data.builders.docstrings", "data.builders.newsgroups"}
    | {"data.noise.row_features", "detection", "dygen", "metrics", "purification"},
    "torchvision": {"data", "models.simclr"},
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
MAX_PUBLIC_NAMES = 25
MAX_IMPORT_SHARE = 0.15  # of the time that the libraries below take


class Import(NamedTuple):
    module: str  # the module that imports, without the package: "models.adapters"
    target: str  # the full dotted name of what is imported
    line: int
    deferred: bool  # inside a function
    typing: bool  # under `if TYPE_CHECKING:`


def modules(package: Path) -> dict[str, ast.Module]:
    """Syntax trees by dotted name without the package; the package itself is ""."""
    trees = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        trees[".".join(part for part in parts if part != "__init__")] = ast.parse(file.read_text(encoding="utf-8"))
    return trees


def imports(module: str, tree: ast.Module, all_modules: set[str]) -> Iterator[Import]:
    def visit(node: ast.AST, deferred: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, deferred, typing)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: import by full name, not relatively"
            for alias in node.names:
                # `from hf_noisy.data import noise` imports the module data.noise, not a name out of data.
                full = f"{node.module}.{alias.name}"
                is_module = full.removeprefix("hf_noisy.") in all_modules
                yield Import(module, full if is_module else node.module, node.lineno, deferred, typing)
        deferred = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for field, value in ast.iter_fields(node):
            under_check = isinstance(node, ast.If) and field == "body" and "TYPE_CHECKING" in ast.unparse(node.test)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, deferred, typing or under_check)

    yield from visit(tree, deferred=False, typing=False)


def within(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def direction_faults(package: Path) -> list[str]:
    """Imports inside the package that run the wrong way, and any of what stands outside it."""
    trees, faults = modules(package), []
    for module, tree in trees.items():
        room = module.split(".")[0]
        if room and room not in MAY_IMPORT:
            faults.append(f"{module}: room {room!r} has no rule; add it to MAY_IMPORT")
            continue
        for found in imports(module, tree, set(trees)):
            top, _, target = found.target.partition(".")
            if top in {"benchmarks", "examples", "tests"}:
                faults.append(f"{module}:{found.line}: imports {found.target}, which is no part of the package")
            # The package itself gathers the public names of every room, so a room that imports it runs in a circle.
            elif room and top == "hf_noisy" and not within(target, MAY_IMPORT[room] | {room}):
                faults.append(f"{module}:{found.line}: {room} may not import {found.target}")
    return faults


def heavy_faults(package: Path) -> list[str]:
    """Heavy packages imported in a room that should not know them, or before they are needed."""
    trees, faults = modules(package), []
    for module, tree in trees.items():
        for found in imports(module, tree, set(trees)):
            top = found.target.split(".")[0]
            if top not in HEAVY or found.typing:
                continue
            if not within(module, HEAVY[top]):
                faults.append(f"{module}:{found.line}: {top} belongs to {', '.join(sorted(HEAVY[top]))}")
            elif not found.deferred:
                faults.append(f"{module}:{found.line}: import {top} inside the function that uses it")
    return faults


def size_faults(package: Path) -> list[str]:
    """Files and functions that grew past what one reads in one go; docstrings are not counted in functions."""
    faults = []
    for file in sorted(package.rglob("*.py")):
        text, name = file.read_text(encoding="utf-8"), file.relative_to(package)
        if (lines := len(text.splitlines())) > MAX_FILE_LINES:
            faults.append(f"{name}: {lines} lines, at most {MAX_FILE_LINES}; does it hold one idea?")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                documented = ast.get_docstring(node) is not None
                doc_lines = first.end_lineno - first.lineno + 1 if documented else 0
                if (lines := node.end_lineno - node.lineno + 1 - doc_lines) > MAX_FUNCTION_LINES:
                    faults.append(f"{name}:{node.lineno}: {node.name} has {lines} lines, at most {MAX_FUNCTION_LINES}")
    return faults


def name_faults(package: Path) -> list[str]:
    """Modules or classes that share their name with another one."""
    places: dict[str, list[str]] = {}
    for module, tree in modules(package).items():
        if (name := module.rpartition(".")[2]) and not (package / Path(*module.split("."))).is_dir():
            places.setdefault(f"module {name}", []).append(module)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(f"class {node.name}", []).append(module)
    return [f"{name}: {', '.join(where)}" for name, where in places.items() if len(where) > 1]


def unformatted_faults(folders: list[Path]) -> list[str]:
    """Lines that are kept from the formatter."""
    return [
        f"{file.name}:{number}: break or shorten the line, and let it be formatted"
        for folder in folders
        for file in sorted(folder.rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"# fmt: (skip|off)", line)
    ]


def dependency_faults(package: Path, declared: set[str]) -> list[str]:
    """Third-party packages that are imported but not declared, so that they are there by luck only."""
    trees, faults = modules(package), []
    for module, tree in trees.items():
        for found in imports(module, tree, set(trees)):
            top = found.target.split(".")[0]
            if top not in declared | sys.stdlib_module_names | {"hf_noisy"}:
                faults.append(f"{module}:{found.line}: {top} is not among the dependencies in pyproject.toml")
    return faults


def declared_packages() -> set[str]:
    """The import names of the run-time dependencies, and of those that are imported where they are asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + project["optional-dependencies"]["vision"]
    requirements += project["optional-dependencies"]["faiss"] + project["optional-dependencies"]["excel"]
    names = {requirement.split(">=")[0].strip() for requirement in requirements}
    imported = {"faiss-cpu": "faiss", "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
    return {imported.get(name, name.replace("-", "_")) for name in names}


def test_imports_run_one_way():
    assert direction_faults(PACKAGE) == []


def test_heavy_packages_are_imported_where_they_are_used():
    assert heavy_faults(PACKAGE) == []


def test_files_and_functions_stay_small():
    assert size_faults(PACKAGE) == []


def test_modules_and_classes_have_names_of_their_own():
    assert name_faults(PACKAGE) == []


def test_all_code_is_formatted():
    assert unformatted_faults([ROOT / name for name in ("hf_noisy", "examples", "benchmarks", "tests")]) == []


def test_what_is_imported_is_declared():
    assert dependency_faults(PACKAGE, declared_packages()) == []


@pytest.fixture
def plant(tmp_path):
    """Write a package of the given modules and their text."""

    def write(files: dict[str, str]) -> Path:
        for module, text in files.items():
            file = tmp_path / "hf_noisy" / Path(*module.split(".")).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / "hf_noisy"

    return write


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("losses.dal", "from hf_noisy.models.ema import EMA"),
        ("losses.dal", "from hf_noisy import models"),
        ("losses.dal", "import hf_noisy.training.trainer"),
        ("losses.dal", "def loss():\n    from hf_noisy.methods import Method"),
        ("metrics.calibration", "if True:\n    from hf_noisy.models import BranchedModel"),
        ("metrics.calibration", "import hf_noisy"),
        ("data.noise", "from hf_noisy.dynamics.scores import centroids"),
        ("models.embed", "from hf_noisy.detection import find_wrong_labels"),
        ("dynamics.scores", "from hf_noisy.methods.nct import NCT"),
        ("dygen.vae", "from hf_noisy.methods.nct import NCT"),
        ("dygen.pipeline", "from hf_noisy.training.trainer import NoisyTrainer"),
        ("training.trainer", "from examples.run_dygen import main"),
        ("helpers.strings", "import os"),
    ],
)
def test_a_wrong_direction_is_caught(plant, module, text):
    package = plant({module: text, "models.branches": "", "models.ema": "", "models.heads": "", "core.columns": ""})
    assert len(direction_faults(package)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("models.adapters", "import peft"),
        ("models.adapters", "try:\n    from peft import LoraConfig\nexcept ImportError:\n    pass"),
        ("models.branches", "def wrap():\n    from peft import LoraConfig"),
        ("reports.figures", "import matplotlib.pyplot as plt"),
        ("dynamics.scores", "def scores():\n    import sklearn.metrics"),
        ("trainer", "class Trainer:\n    import torchvision"),
    ],
)
def test_a_heavy_import_is_caught(plant, module, text):
    assert len(heavy_faults(plant({module: text}))) == 1


def test_what_is_allowed_passes(plant):
    package = plant(
        {
            "__init__": "from hf_noisy.models.branches import BranchedModel",
            "models.heads": "",
            "models.branches": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from peft import LoraConfig",
            "models.adapters": "def adapt():\n    import peft",
            "dynamics.recorder": "from hf_noisy.models.heads import find_heads\nimport hf_noisy.core.columns",
            "dygen.vae": "import numpy\nfrom hf_noisy.models import BranchedModel\nfrom hf_noisy.dygen.prior import b",
        }
    )
    assert direction_faults(package) == heavy_faults(package) == size_faults(package) == []
    assert dependency_faults(package, {"numpy", "peft"}) == []


def test_size_is_caught(plant):
    body = "    x = 1\n"
    faults = size_faults(plant({"rng": "\n" * 401, "columns": "def long():\n" + body * 80}))
    assert [fault.split(":")[0] for fault in faults] == ["columns.py", "rng.py"]
    assert (
        size_faults(plant({"rng": "\n" * 400, "columns": 'def f():\n    """' + "\n" * 30 + '"""\n' + body * 79})) == []
    )


def test_a_shared_name_is_caught(plant):
    files = {"data.checks": "class Noise: pass", "core.checks": "", "core.rng": "class Noise: pass\nclass Other: pass"}
    assert sorted(fault.split(":")[0] for fault in name_faults(plant(files))) == ["class Noise", "module checks"]


def test_a_line_kept_from_the_formatter_is_caught(plant):
    package = plant({"core.rng": "x = {1: 2,\n     3: 4}  # fmt: " + "skip"})
    assert len(unformatted_faults([package])) == 1


def test_an_undeclared_dependency_is_caught(plant):
    assert len(dependency_faults(plant({"rng": "import os, requests\nimport numpy.linalg"}), {"numpy"})) == 1


def public_faults(module: object) -> list[str]:
    """What is wrong with the public names of a module."""
    names, faults = list(module.__all__), []
    if names != sorted(set(names), key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
        faults.append("__all__ is not sorted, or a name stands in it twice")
    if len(names) > MAX_PUBLIC_NAMES:
        faults.append(f"{len(names)} public names, at most {MAX_PUBLIC_NAMES}")
    for name in names:
        value = getattr(module, name, None)
        if value is None:
            faults.append(f"{name} is exported but does not exist")
        elif inspect.isclass(value) or inspect.isroutine(value):
            faults += [f"{name} {fault}" for fault in docstring_faults(value)]
    ours = {name for name, value in vars(module).items() if getattr(value, "__module__", "").startswith("hf_noisy.")}
    if missing := {name for name in ours if not name.startswith("_")} - set(names):
        faults.append(f"imported but not exported: {', '.join(sorted(missing))}")
    return faults


def docstring_faults(value: Any) -> list[str]:
    """What the docstring of a public class or function lacks."""
    if not _own_docstring(value):
        return ["has no docstring"]
    doc, signature = inspect.getdoc(value), inspect.signature(value)
    named = [name for name, given in signature.parameters.items() if given.kind is not given.VAR_KEYWORD]
    named = [name for name in named if not name.startswith("_") and name != "args"]
    faults = [f"has no line on {name}" for name in named if not re.search(rf"^ +\**{name}: ", doc, flags=re.MULTILINE)]
    if named and inspect.isroutine(value) and signature.return_annotation is not None and "\nReturns:" not in doc:
        faults.append("does not say what it returns")
    return faults


def _own_docstring(value: object) -> bool:
    # A class inherits the docstring of its base through inspect.getdoc, and a dataclass writes its signature into one.
    doc = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    return bool(doc) and not doc.startswith(f"{value.__name__}(")


def test_public_names_are_sorted_documented_and_complete():
    assert public_faults(importlib.import_module("hf_noisy")) == []


@pytest.mark.parametrize("room", ["losses", "methods", "data", "metrics", "detection"])
def test_what_a_room_exports_is_documented(room):
    module = importlib.import_module(f"hf_noisy.{room}")
    exported = {name: getattr(module, name) for name in getattr(module, "__all__", [])}
    documented = {
        name: value for name, value in exported.items() if inspect.isclass(value) or inspect.isroutine(value)
    }
    assert {name: faults for name, value in documented.items() if (faults := docstring_faults(value))} == {}


def test_an_incomplete_docstring_is_caught():
    def described(rows: int, rate: float) -> int:
        """One line.

        Args:
            rows: How many.
        """

    assert docstring_faults(described) == ["has no line on rate", "does not say what it returns"]


def test_public_faults_are_caught():
    class Bare(ValueError):
        __module__ = "hf_noisy.planted"

    module = type(sys)("planted")
    module.b, module.A, module.extra = Bare, Bare, Bare
    module.__all__ = ["b", "A", "gone"]
    faults = public_faults(module)
    assert [fault.split(" ")[0] for fault in faults] == ["__all__", "b", "A", "gone", "imported"]


# Processor time within one process, after what the user has loaded anyway: two noisy totals would tell nothing.
MEASURE_IMPORT = """
import json, sys, time
{base}
before, started = set(sys.modules), time.process_time()  # so long the base took, with the start of Python
{statement}
seconds = time.process_time() - started
print(json.dumps([seconds / started, sorted({{name.split(".")[0] for name in set(sys.modules) - before}})]))
"""
TRAINER = "import datasets; from transformers import AutoModelForSequenceClassification, Trainer"
EVERY_NAME = "import hf_noisy; [getattr(hf_noisy, name) for name in hf_noisy.__all__]"


def cost_of_import(statement: str, base: str, runs: int = 3) -> tuple[float, set[str]]:
    """Processor time against that of the base (median of runs), and the packages loaded; each in a new process."""
    command = [sys.executable, "-c", MEASURE_IMPORT.format(statement=statement, base=base)]
    results = []
    for _ in range(runs):
        output = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
        results.append(json.loads(output.splitlines()[-1]))
    return statistics.median(share for share, _ in results), set(results[0][1])


@pytest.mark.slow
@pytest.mark.parametrize(("statement", "base"), [("import hf_noisy", "import transformers"), (EVERY_NAME, TRAINER)])
def test_the_package_is_quick_to_import(statement, base):
    share, loaded = cost_of_import(statement, base)
    assert share <= MAX_IMPORT_SHARE
    assert "hf_noisy" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.slow
def test_a_slow_import_is_caught():
    slow = "import evaluate\nwhile time.process_time() - started < 0.3 * started: pass"
    share, loaded = cost_of_import(slow, "import transformers", runs=1)
    assert share > MAX_IMPORT_SHARE
    assert loaded & set(HEAVY)
