"""Text from people made harmless for a terminal: the one place where it is done.

Names, notes, image references and commands are hostile: escape sequences retitle a terminal or
hide what was written, bidirectional overrides make `cancel 7` read as another number, a stack of
combining marks paints over the lines above. What comes out of `plain` is one line of printable
characters. It does not escape markup (`[bold]`): callers render it as plain text, never as markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

ELLIPSIS = "…"
REPLACEMENT = "\ufffd"
"""Stands for what must not be printed but should be seen to have been there (NUL, a lone surrogate)."""

_MAX_MARKS = 3
"""Combining marks kept on one character; living scripts need no more."""

# The bodies exclude every introducer, so that a long run of unterminated ones costs linear time.
_ESCAPES = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movement
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\^_`-~]"  # character sets, single functions
)


def plain(text: str, width: int | None = None) -> str:
    """Return `text` as one safe line, cut with an ellipsis to at most `width` terminal cells.

    Escape sequences and invisible format characters vanish, line breaks and tabs become spaces,
    other control codes, lone surrogates and unassigned code points become U+FFFD. Wide characters
    count two cells, combining marks none.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(_harmless(re.sub(_ESCAPES, "", text)))
    return text if width is None else _cut(text, width)


def cell_width(text: str) -> int:
    """Return how many terminal cells text that went through `plain` takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def change_words(change: str) -> str:
    """Return `with --time 1h or without --gpu-ids` for the `would_start_now` of a waiting job."""
    return " or ".join(map(_one_change_words, change.split(" or ")))


def _one_change_words(change: str) -> str:
    if not change.startswith("without "):
        return f"with {change}"
    word, flag, *more = change.split(" ")
    return f"{word} {flag}" + (f" and with {' '.join(more)}" if more else "")


def quote_command(argv: Sequence[str]) -> str:
    """Return the command as one line that a POSIX shell reads back to the same words.

    Faithful, not harmless: put it through `plain` before a terminal sees it.
    """
    import shlex

    return shlex.join(argv)


def shown_command(argv: Sequence[str]) -> str:
    r"""Return the command as one line to read and to copy: line breaks in a word are written `$'a\nb'`.

    bash, zsh and ksh read that back to the same words (POSIX has it since 2024).
    """
    import shlex

    return " ".join(
        shlex.quote(word) if word.isprintable() else _escaped_word(word) for word in argv
    )


def _escaped_word(word: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}
    return (
        "$'"
        + "".join(
            named.get(char) or (f"\\x{ord(char):02x}" if char < " " or char == "\x7f" else char)
            for char in word
        )
        + "'"
    )


def _harmless(text: str) -> Iterator[str]:
    from unicodedata import category

    marks = 0
    for char in text:
        if char.isascii() and char.isprintable():
            marks = 0
            yield char
            continue
        kind = category(char)
        if kind in ("Mn", "Me"):
            marks += 1
            if marks <= _MAX_MARKS and not _is_variation_selector(char):
                yield char
            continue
        if kind == "Cf":
            continue
        marks = 0
        yield _replaced(char, kind)


def _replaced(char: str, kind: str) -> str:
    """Return what stands for a character beyond ASCII's printable ones."""
    if kind[0] == "Z" or char in "\t\n\v\f\r\x85" or char in _BLANK_LETTERS:
        return " "
    if kind in ("Cc", "Cs", "Cn"):
        return REPLACEMENT
    return char


_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u2800"
"""Letters and symbols that show nothing: a name made of them looks like no name."""


def _is_variation_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _cut(text: str, width: int) -> str:
    if width <= 0:
        return ""
    if cell_width(text) <= width:
        return text
    if text.isascii():
        return text[: width - 1] + ELLIPSIS
    used = 0
    for end, char in enumerate(text):
        used += _cells(char)
        if used > width - 1:
            return text[:end] + ELLIPSIS
    return text


def _cells(char: str) -> int:
    if char.isascii():
        return 1
    from unicodedata import category, east_asian_width

    if category(char) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(char) in ("W", "F") else 1
