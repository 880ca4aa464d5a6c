"""Bytes of a text file as text: the encoding is found by looking, and a guess is reported."""

import codecs
import logging

from charset_normalizer import CharsetMatches, from_bytes

logger = logging.getLogger(__name__)

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Encodings that are told apart by looking; others must be named.
_GUESSED = ["cp1252", "cp1251", "cp1250", "shift_jis", "gb18030", "big5", "euc_kr"]
_LOOKED_AT = 200_000  # bytes


def decode(data: bytes, name: str, encoding: str | None = None, remedy: str = "pass encoding=") -> str:
    """The text of a file: in UTF-8, by its byte order mark, in the named encoding, or in one that is guessed."""
    used = encoding or next((found for mark, found in _MARKS if data.startswith(mark)), None)
    if used is None:
        used = "utf-8" if _is_utf8(data, name) else _guess(data, name, remedy)
    try:
        text = data.decode(used)
    except LookupError:
        raise ValueError(f"encoding='{used}' is not among those that Python knows, such as cp1252") from None
    except UnicodeDecodeError as error:
        line = _line(data, error.start)
        raise ValueError(
            f"line {line} of '{name}' is not in the encoding {used}; pass encoding= with another"
        ) from None
    if "\0" in text:
        line = _line(text.encode("utf-8", "replace"), text.encode("utf-8", "replace").index(b"\0"))
        raise ValueError(
            f"line {line} of '{name}' holds a null character, so it is no text, or not in the encoding {used}; pass "
            "encoding=, such as encoding=utf-16"
        )
    return text.removeprefix("\ufeff")


def _is_utf8(data: bytes, name: str) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        replaced = data.decode("utf-8", "replace")
        damaged = replaced.count("\ufffd")
        valid = sum(char > "\x7f" for char in replaced) - damaged
        if valid > 2 * damaged:  # UTF-8 with damage: a guess would garble all other lines
            raise ValueError(
                f"line {_line(data, error.start)} of '{name}' is not UTF-8, but other lines are; repair it, or pass "
                "encoding= to read the file in another encoding"
            ) from None
        return False
    return True


def _guess(data: bytes, name: str, remedy: str) -> str:
    matches = from_bytes(data[:_LOOKED_AT], cp_isolation=_GUESSED)
    best = matches.best()
    guesses = ["cp1252" if best is None else best.encoding, "latin-1"]
    guess = next(one for one in guesses if _decodes(data, one))
    if _decodes(data, "cp1252") and (data.decode("cp1252") == data.decode(guess) or _ties(matches)):
        guess = "cp1252"  # the most frequent of those that are as likely
    line = _line(data, next(position for position, byte in enumerate(data) if byte > 127))
    logger.warning(
        f"'{name}' is not UTF-8 and was read as {guess}; if letters look wrong, such as those of line {line}, {remedy}"
    )
    return guess


def _ties(matches: CharsetMatches) -> bool:
    """Whether the text in cp1252 is as orderly and as much like a language as in the best encoding."""
    best = matches.best()
    western = next((match for match in matches if match.encoding == "cp1252"), None)
    return bool(best and western and western.chaos <= best.chaos and western.coherence >= best.coherence)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1
