"""What a command prints, kept without any password from the first byte on."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote

_QUOTED = {" ": ("+",), "'": ("'\\''", "'\"'\"'")}
"""What forms and shells write for a character."""
_LONGEST = 20
"""Most characters that stand for one."""
_MOST = 1 << 16
"""Characters of one line that are held at a time."""
_KEPT = 32 << 20
"""Characters of the output that are kept: what prints without end fills no disk."""

_SECRET = re.compile(
    r"(?!.*(FILE|PATH)$).*(PASSW|_PWD|SECRET|TOKEN|CREDENTIAL|(API|PRIVATE|ACCESS)_?KEY)",
    re.IGNORECASE,
)
"""Names of variables that hold a secret."""
_IN_URL = re.compile(r"://[^\s:/?#@]*:((?:(?!://)[^\s@])+)@")
_IN_QUERY = re.compile(r"[?&;\s]password=([^&;\s]+)", re.IGNORECASE)
_ENCODED = re.compile(r"%(?:%|25)?[0-9A-Fa-f]{2}|\\")
_SHORTEST = 6
"""Shorter values are flags, and stand in ordinary words; a password is one at any length."""


def secrets_in(variables: Mapping[str, str]) -> Iterator[str]:
    """The secrets among variables of an environment: by their names, and passwords in URLs."""
    for name, value in variables.items():
        if _SECRET.match(name):
            least = 1 if name in {"PGPASSWORD", "MYSQL_PWD"} else _SHORTEST
            yield from (line for line in value.splitlines() if len(line) >= least)
        for found in (*_IN_URL.findall(value), *_IN_QUERY.findall(value)):
            yield unquote(found)


class Mask:
    """Puts ``***`` in place of passwords, in whichever form a program may write them."""

    def __init__(self, *passwords: str | None) -> None:
        known = sorted({password for password in passwords if password}, key=len, reverse=True)
        patterns = ("".join(map(_forms, password)) for password in known)
        words = (re.findall("[0-9A-Za-z]+", password) for password in known)
        self._words = [max(found, key=len, default="") for found in words]
        self._pattern = re.compile("|".join(patterns)) if known else None
        self._longest = _LONGEST * len(known[0]) if known else 0
        self._lines = any("\n" in password for password in known)

    def masked(self, text: str) -> str:
        """The text without the passwords."""
        # Letters and digits are themselves where nothing is encoded or escaped; that is looked up
        # a hundred times faster than the pattern is.
        if not _ENCODED.search(text) and not any(word in text for word in self._words):
            return text
        return self._pattern.sub("***", text) if self._pattern else text

    def copy(self, stream: TextIO, path: Path) -> None:
        """Write what comes to ``path``, each line as soon as it is whole, until it ends.

        Of a line that has no end yet only that is written which can be no part of a password.
        Of more than can be kept, the end is.
        """
        held = ""
        size = 0
        with stream, path.open("w", encoding="utf-8") as file:
            while piece := stream.readline(_MOST):
                held = self.masked(held + piece)
                whole = held.endswith("\n") and not self._lines
                end = len(held) if whole else max(len(held) - self._longest, 0)
                if size > _KEPT:
                    file.seek(0)
                    file.truncate()
                    size = file.write("[what it printed before is left out]\n")
                size += file.write(held[:end])
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
