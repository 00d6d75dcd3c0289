"""What a command prints, kept without the target's password from the first byte on."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TextIO

_QUOTED = {" ": ("+",), "'": ("'\\''", "'\"'\"'")}
"""What forms and shells write for a character."""
_LONGEST = 20
"""Most characters that stand for one."""
_MOST = 1 << 16
"""Characters of one line that are held at a time."""


class Mask:
    """Puts ``***`` in place of a password, in whichever form a program may write it."""

    def __init__(self, password: str | None) -> None:
        self._pattern = re.compile("".join(map(_forms, password))) if password else None
        self._longest = _LONGEST * len(password or "")
        self._lines = "\n" in (password or "")

    def masked(self, text: str) -> str:
        """The text without the password."""
        return self._pattern.sub("***", text) if self._pattern else text

    def copy(self, stream: TextIO, path: Path) -> None:
        """Write what comes to ``path``, each line as soon as it is whole, until it ends.

        Of a line that has no end yet only that is written which can be no part of the password.
        """
        held = ""
        with stream, path.open("w", encoding="utf-8") as file:
            while piece := stream.readline(_MOST):
                held = self.masked(held + piece)
                whole = held.endswith("\n") and not self._lines
                end = len(held) if whole else max(len(held) - self._longest, 0)
                file.write(held[:end])
                file.flush()
                held = held[end:]
            file.write(held)


def _forms(character: str) -> str:
    """A pattern of what programs write for a character: plain, encoded, escaped and quoted."""
    # Configuration files double the percent sign, and some encode it again.
    encoded = "".join(f"%(?:%|25)?{byte:02x}" for byte in character.encode())
    units = character.encode("utf-16-be").hex()
    escaped = "".join(rf"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    forms = [f"(?i:{encoded})", f"(?i:{escaped})"]
    forms += [re.escape(form) for form in _QUOTED.get(character, ())]
    forms += [re.escape(repr(character)[1:-1]), re.escape(html.escape(character))]
    # A backslash or more of a shell, of JSON, or of a shell within JSON.
    forms.append(rf"\\{{0,3}}{re.escape(character)}")
    return f"(?:{'|'.join(forms)})"
