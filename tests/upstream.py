"""Private and undocumented parts of transformers, accelerate, datasets and peft that this package builds on.

`python -m tests.upstream` stores the digests of the functions anew, after their changes were read.
"""

import ast
import functools
import hashlib
import importlib
import inspect
import json
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import accelerate
import datasets
import peft
import transformers
from packaging.version import Version
from peft.tuners.lora import LoraModel

import hf_noisy

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".md")
DIGESTS = Path(__file__).with_suffix(".json")
LIBRARIES = ("transformers", "accelerate", "datasets", "peft")
CLASSES = {
    "Accelerator": accelerate.Accelerator,
    "AutoModel": transformers.AutoModel,
    "Dataset": datasets.Dataset,
    "GeneratorBasedBuilder": datasets.GeneratorBasedBuilder,
    "LoraModel": LoraModel,
    "PeftModel": peft.PeftModel,
    "PreTrainedConfig": transformers.PreTrainedConfig,
    "PreTrainedModel": transformers.PreTrainedModel,
    "Trainer": transformers.Trainer,
    "TrainerState": transformers.TrainerState,
}
# Without an underscore, and yet not in the documentation, or not meant to be used like this.
UNDOCUMENTED = (
    "PreTrainedModel.all_tied_weights_keys",
    "PreTrainedModel.get_expanded_tied_weights_keys",
    "PreTrainedModel.init_weights",
    "PreTrainedModel.tie_weights",
    "Trainer.callback_handler",
    "Trainer.get_tp_size",
    "Trainer.is_in_train",
    "Trainer.label_names",
    "Trainer.loss_is_scaled_for_ga",
    "Trainer.model_accepts_loss_kwargs",
    "Trainer.model_wrapped",
    "TrainerState.stateful_callbacks",
)

# Neither overridden nor called: what they do, and in which order, is relied on.
RELIED_ON = (
    "Trainer._finalize_training",
    "Trainer._inner_training_loop",
)
# Names of ours, or of another class of the table, that these happen to have too.
OTHERS = {"Dataset._info", "Dataset._split", "PeftModel._no_split_modules"}


def upstream_classes(kind: type) -> list[type]:
    """The classes of the libraries that a class is made of."""
    return [base for base in kind.__mro__ if base.__module__.split(".")[0] in LIBRARIES]


@functools.cache
def attributes(kind: type) -> frozenset[str]:
    """Names of a class, and what its methods read or set on `self`."""
    names: set[str] = set()
    for base in upstream_classes(kind):
        names |= {*vars(base), *vars(base).get("__annotations__", {})}
        names |= {*re.findall(r"\bself\.([A-Za-z_]\w*)", inspect.getsource(base))}
    return frozenset(names)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def mentioned() -> set[str]:
    """Private names that the package takes as attributes of anything, or holds as strings."""
    names: set[str] = set()
    for path in sorted((ROOT / "hf_noisy").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
                names |= {alias.name for alias in node.names}
                assert not any(is_private(part) for part in (node.module or "").split(".")), node.module
    return {name for name in names if is_private(name)}


def our_classes() -> Iterator[type]:
    """Every class of the package that derives from one of the libraries."""
    for module in pkgutil.walk_packages(hf_noisy.__path__, "hf_noisy."):
        found = vars(importlib.import_module(module.name)).values()
        yield from (one for one in found if inspect.isclass(one) and one.__module__ == module.name)


def overridden() -> set[str]:
    """Private names of the libraries that a class of ours defines anew, and all such names of `Trainer`."""
    names: set[str] = set()
    for ours in our_classes():
        for label, kind in CLASSES.items():
            if issubclass(ours, kind) and ours.__module__.startswith("hf_noisy"):
                theirs = attributes(kind)
                public = label == "Trainer"
                again = {name for name in vars(ours) if name in theirs and not name.startswith("__")}
                names |= {f"{label}.{name}" for name in again if public or is_private(name)}
    return names


def used() -> set[str]:
    """All that the table has to name."""
    names = overridden() | {*UNDOCUMENTED, *RELIED_ON}
    private = mentioned()
    for label, kind in CLASSES.items():
        names |= {f"{label}.{name}" for name in private & attributes(kind)}
    return names - OTHERS


def table() -> dict[str, tuple[str, str]]:
    """Rows of the table: how a name is used, and why."""
    rows = re.findall(r"^\| `([A-Za-z]+\.\w+)` \| ([^|]+) \| ([^|]+) \|$", TABLE.read_text("utf-8"), re.MULTILINE)
    return {name: (how.strip(), why.strip()) for name, how, why in rows}


def digest_of(source: str) -> str:
    """Digest of what a function does: without docstrings, comments and layout."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.FunctionDef)
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:] or [ast.Pass()]
    # Versions of Python write quotes and parentheses of the same tree differently.
    return hashlib.sha256(re.sub(r"[\s'\"()\\]", "", ast.unparse(tree)).encode()).hexdigest()[:16]


def digests() -> dict[str, str]:
    """Digest of every function in the table."""
    found: dict[str, str] = {}
    for name in sorted(table()):
        label, _, attribute = name.partition(".")
        function = inspect.getattr_static(CLASSES[label], attribute, None)
        function = getattr(function, "fget", None) or getattr(function, "__func__", function)
        if inspect.isfunction(function):
            found[name] = digest_of(inspect.getsource(inspect.unwrap(function)))
    return found


def stored() -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the libraries, and the digests of their functions, when these were last read."""
    kept = json.loads(DIGESTS.read_text("utf-8"))
    return kept["versions"], kept["digests"]


def are_older() -> bool:
    """Whether a library is older than when its functions were last read."""
    return any(Version(version(name)) < Version(known) for name, known in stored()[0].items())


if __name__ == "__main__":
    now = {"versions": {name: version(name) for name in LIBRARIES}, "digests": digests()}
    DIGESTS.write_text(json.dumps(now, indent=1) + "\n", "utf-8")
