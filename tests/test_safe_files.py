"""Nothing that is read can run code, and nothing that is written can."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("hf_noisy", "benchmarks", "examples")
# Reads the pickles that CIFAR was published as; its `find_class` hands out nothing that a file could have called.
RESTRICTED = "hf_noisy/data/builders/cifar_files.py"
# Calls by their last two names. What may be safe under a condition has a rule of its own below.
NEVER = {
    *(
        f"{module}.{name}"
        for module in ("pickle", "dill", "cloudpickle", "marshal", "joblib", "shelve")
        for name in ("load", "loads", "dump", "dumps", "open", "Pickler", "Unpickler")
    ),
    "torch.save",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "subprocess.getoutput",
    "os.system",
    "os.popen",
    "runpy.run_module",
}
BUILTINS = {"eval", "exec", "compile", "__import__"}


def faults(name: str, text: str) -> list[str]:
    """Calls that run what a file says, or write what would."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module in {"pickle", "marshal", "joblib", "dill", "cloudpickle"}:
            found.append(f"{name}:{node.lineno}: imports a name out of {node.module}")
        if not isinstance(node, ast.Call):
            continue
        called = ".".join(ast.unparse(node.func).split(".")[-2:])
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        unsafe = (
            called in NEVER
            or (called in BUILTINS)
            or (called in ("torch.load", "torch.serialization.load") and given.get("weights_only") != "True")
            or given.get("weights_only") == "False"
            or given.get("allow_pickle", "False") != "False"
            or given.get("trust_remote_code", "False") != "False"
            or (given.get("shell", "False") != "False")
        )
        if unsafe:
            found.append(f"{name}:{node.lineno}: {ast.unparse(node)[:80]}")
    return found


def test_no_file_runs_code():
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    assert [
        fault
        for file in files
        if str(file.relative_to(ROOT)) != RESTRICTED
        for fault in faults(str(file.relative_to(ROOT)), file.read_text("utf-8"))
    ] == []


def test_the_one_reader_of_pickles_is_the_restricted_one():
    text = (ROOT / RESTRICTED).read_text("utf-8")
    assert faults(RESTRICTED, text) == []
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
        "from pickle import load",
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
        "yaml.safe_load(t)",
        "model.eval()",
    ],
)
def test_what_would_not_passes(text):
    assert faults("planted.py", text) == []
