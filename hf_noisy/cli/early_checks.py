"""Options, paths and pushes that can be refused before anything else is imported."""

from typing import Any

from hf_noisy.core.file_names import (
    refuse_missing_checked,
    refuse_missing_decisions,
    refuse_missing_source,
    refuse_missing_votes,
)

# Kinds of noise for one label a row, for tags and for sets of classes.
NOISES = {
    "one-label": ("symmetric", "pair", "asymmetric", "instance"),
    "tokens": ("entity",),
    "multi-label": ("missing",),
}
# A test compares them with what the library knows. Purifiers are missing: users register their own.
CHOICES: dict[str, tuple[str, ...]] = {
    "policy": ("relabel", "drop", "soft", "weight", "flag"),
    "strategy": ("random", "informative"),
    "file_format": ("page", "label-studio", "argilla"),
    "noise_type": tuple(name for names in NOISES.values() for name in names),
    "task": ("one-label", "tokens", "multi-label"),
    "test_labels": ("given", "true"),
    "vote_method": ("model", "dawid_skene", "weighted", "majority"),
    "dtype": ("auto", "float32", "bfloat16"),
}
_SHOWN = {"noise_type": f"{', '.join(NOISES['one-label'])}, for tags entity, for sets of classes missing"}
_OPTIONS = {"file_format": "--format", "vote_method": "--method"}  # of other names than their arguments


def check_early(options: dict[str, Any]) -> None:
    """Refuse unknown values, missing files and pushes that cannot work among the options of a command."""
    for name, choices in CHOICES.items():
        value = options.get(name)
        if value is not None and value not in choices:
            option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
            shown = _SHOWN.get(name, ", ".join(choices))
            raise ValueError(f"{option} must be one of {shown}, got '{value}'")
    if options.get("decisions") is not None:
        refuse_missing_decisions(options["decisions"])
    if options.get("push_to_hub") is not None:
        from hf_noisy.hub.errors import refuse_push  # slow

        refuse_push(options["push_to_hub"])
    refuse_missing_source(options["source"])
    if options.get("test_file") is not None:
        refuse_missing_source(options["test_file"])
    if options.get("votes") is not None:
        refuse_missing_votes(options["votes"])
    if options.get("checked") is not None:
        refuse_missing_checked(options["checked"])
