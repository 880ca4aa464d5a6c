"""Nothing that is read can run code, and nothing that is written can."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("hf_noisy", "benchmarks", "examples")
# Reads the pickles that CIFAR was published as; its `find_class` hands out nothing that a file could have called.
RESTRICTED = "hf_noisy/data/builders/cifar_files.py"
# By the names under which they are imported, whether called or handed on.
NEVER = {
    *(
        f"{module}.{name}"
        for module in ("pickle", "dill", "cloudpickle", "marshal", "joblib", "shelve")
        for name in ("load", "loads", "dump", "dumps", "open", "Pickler", "Unpickler")
    ),
    "torch.save",
    "torch.hub.load",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pandas.read_pickle",
    "subprocess.getoutput",
    "os.system",
    "os.popen",
    "runpy.run_module",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}
# Only with certain arguments.
SOMETIMES = {"torch.load", "torch.serialization.load"}
OPTIONS = {"weights_only": "True", "allow_pickle": "False", "trust_remote_code": "False", "shell": "False"}
# These loaders of transformers ask on the terminal whether to run code unless they are told not to; ours never do.
LOADERS = {"from_pretrained", "from_config"}
OURS = {"DyGen", "DyGenForClassification", "BranchedModel"}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """The full name of each name that an import binds, such as `load` for `torch.load`."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def full_name(node: ast.AST, names: dict[str, str]) -> str:
    """The name of a function as it was imported; an empty text for other expressions."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (parent := full_name(node.value, names)):
        return f"{parent}.{node.attr}"
    return ""


def refused(call: ast.Call, name: str) -> bool:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    # The user decides by an option of that name.
    asked = str(given.get("trust_remote_code")).split(".")[-1] == "trust_remote_code"
    wrong = [option for option, value in OPTIONS.items() if given.get(option, value) != value]
    receiver, _, attribute = name.rpartition(".")
    silent = attribute in LOADERS and receiver.split(".")[-1] not in OURS and "trust_remote_code" not in given
    return (
        bool(set(wrong) - ({"trust_remote_code"} if asked else set()))
        or (name in SOMETIMES and given.get("weights_only") != "True")
        or silent
    )


def faults(file: str, text: str) -> list[str]:
    """What runs code that a file holds, or writes such a file."""
    tree = ast.parse(text)
    names, found = imported_names(tree), []
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = full_name(node.func, names) or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
            is_wrong = refused(node, name if "." in name else f".{name}")
            if name == "getattr" and isinstance(node.args[1], ast.Constant):
                is_wrong |= f"{full_name(node.args[0], names)}.{node.args[1].value}" in NEVER | SOMETIMES
        else:
            name = full_name(node, names)
            is_wrong = name in NEVER | BUILTINS or (name in SOMETIMES and id(node) not in called)
        if is_wrong:
            found.append(f"{file}:{node.lineno}: {ast.unparse(node)[:80]}")
    return found


def test_no_file_runs_code():
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    assert [
        fault
        for file in files
        if str(file.relative_to(ROOT)) != RESTRICTED
        for fault in faults(str(file.relative_to(ROOT)), file.read_text("utf-8"))
        # Benchmarks load the models that they name.
        if not (file.is_relative_to(ROOT / "benchmarks") and ".from_" in fault)
    ] == []


def test_the_one_reader_of_pickles_is_the_restricted_one():
    text = (ROOT / RESTRICTED).read_text("utf-8")
    assert [fault.split(": ")[1] for fault in faults(RESTRICTED, text)] == ["pickle.Unpickler"]
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    (reader,) = [node for node in classes if any(ast.unparse(base) == "pickle.Unpickler" for base in node.bases)]
    assert {"find_class", "persistent_load"} <= {
        part.name for part in reader.body if isinstance(part, ast.FunctionDef)
    }


@pytest.mark.parametrize(
    "text",
    [
        "pickle.load(file)",
        "pickle.loads(b'')",
        "from pickle import load\nload(file)",
        "from torch import load\nload(path)",
        "from torch import load as read\nread(path, weights_only=False)",
        "import torch as t\nt.load(path)",
        "functools.partial(torch.load, path)",
        "read = pickle.load",
        "getattr(pickle, 'load')(file)",
        "run = eval",
        "AutoModel.from_pretrained(name)",
        "transformers.AutoConfig.from_pretrained(name)",
        "TASKS[task].auto_class.from_config(config)",
        "type(model).from_pretrained(folder)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "joblib.load(path)",
        "yaml.load(text, Loader)",
        "eval(text)",
        "exec(text)",
        "torch.save(model, path)",
        "pickle.dump(model, file)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_what_would_is_caught(text):
    assert len(faults("planted.py", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path, weights_only=True)",
        "np.load(p)",
        "np.load(p, allow_pickle=False)",
        "from torch import load\nload(path, weights_only=True)",
        "from hf_noisy.core.files import load\nload(path)",
        "AutoModel.from_pretrained(name, trust_remote_code=False)",
        "AutoModel.from_pretrained(name, trust_remote_code=arguments.trust_remote_code)",
        "DyGen.from_pretrained(path)",
        "yaml.safe_load(t)",
        "model.eval()",
    ],
)
def test_what_would_not_passes(text):
    assert faults("planted.py", text) == []
