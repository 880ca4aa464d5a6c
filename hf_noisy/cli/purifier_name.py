"""The purifier that a command names."""

from hf_noisy.purification import PURIFIERS


def purifier_name(given: str, *, has_checked: bool = True) -> str:
    """A known purifier of features; `dmlp` without checked rows takes rows that it trusts."""
    known = sorted(name for name, one in PURIFIERS.items() if one.needs_features)
    if given not in known:
        raise ValueError(f"--purifier must be one of {', '.join(known)}, got '{given}'")
    return "dmlp_trusted" if given == "dmlp" and not has_checked else given
