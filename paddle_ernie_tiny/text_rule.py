"""What a text may hold: one rule for arguments, files, standard input, HTTP and Python.

- No text holds NUL or half a surrogate pair (and none is other than UTF-8, which `files.utf8_lines` and the JSON reader
  see to): these are the marks of a damaged file, or of no text at all.
- A text that is to be answered holds no other control character either, but for tab and line ends: they are dropped
  before the model sees them, and act on terminals and logs. Training data and corpora may hold them, since published
  data sets do (U+0008 in XNLI, TNEWS, CoLA); there they are dropped.
- A text has at least one character that can be seen.
"""

from __future__ import annotations

import re

from .errors import InputError

# All three are the insides of regular expressions' brackets, for Python, for Rust and for JSON schemas.
CONTROL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_BROKEN = r"\x00\ud800-\udfff"
# Unicode's category Cf: no width, no ink, such as U+200B (written out, so that it is the same under every Python)
INVISIBLE = (
    r"\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064"
    r"\u2066-\u206f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f"
)
PATTERN = rf"^[^{CONTROL}]*[^\s{CONTROL}{INVISIBLE}][^{CONTROL}]*$"  # of a text to be answered, for JSON schemas
DAMAGED_REMEDY = "restore the file: text holds none; it was cut or is no text"
_REFUSED = {True: re.compile(f"[{_BROKEN}]"), False: re.compile(f"[{_BROKEN}{CONTROL}]")}
_VISIBLE = re.compile(rf"[^\s{CONTROL}{INVISIBLE}]")


def refused_character(text: str, data: bool = False) -> str | None:
    """What is wrong with the first character that the rule refuses, and its position from 0; None: there is none.

    data: by the rule of training data, which takes control characters other than NUL.
    """
    found = _REFUSED[data].search(text)
    if found is None:
        return None
    code = ord(found.group())
    name = "half a surrogate pair" if 0xD800 <= code <= 0xDFFF else "control character"
    return f"{name} U+{code:04X} at position {found.start()}"


def is_blank(text: str) -> bool:
    """Is there nothing to be seen in the text: blanks, controls and characters without width alone, or nothing?"""
    return _VISIBLE.search(text) is None


def text_fault(text: str) -> tuple[str, str] | None:
    """(what is wrong, the remedy) of a text that is to be answered; None: nothing is."""
    if what := refused_character(text):
        return what, "take it out"
    return ("the text is empty", "give a text with characters in it") if is_blank(text) else None


def require_text(text: str, where: str) -> None:
    """Raises InputError, naming `where`, for a text that the rule refuses to answer."""
    if fault := text_fault(text):
        raise InputError(fault[0], where, fault[1])
