"""Tell the application its new database: one variable of its env file, and the way back."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from migration_assets.core import results
from migration_assets.core.results import SwitchResult
from migration_assets.errors import InputError
from migration_assets.postgres.connect import redact

_ASSIGNMENT = re.compile(
    r"""^(?P<head>(?:\xef\xbb\xbf)?[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][\w.]*)[ \t]*=[ \t]*)
    (?P<value>'[^']*'|"(?:[^"\\]|\\.)*"|[^\r\n]*?)
    (?P<tail>[ \t]+\#[^\r\n]*|[ \t]*)(?=\r?(?:\n|\Z))""",
    re.ASCII | re.DOTALL | re.MULTILINE | re.VERBOSE,
)
"""A value in quotes may go over several lines."""
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./?~\[\]\x80-\xff-]*")
"""What needs no quotes in a file that a shell may read."""


@dataclass(frozen=True)
class FormerValue:
    """What stood in the file before, for the way back.

    Attributes:
        file, variable: where.
        values: as they stood there, quotes included: one for each line, none if there was none.
        written: what took their place.
    """

    file: str
    variable: str
    values: tuple[str, ...]
    written: str


def kept_path(migration: Path, run_id: str) -> Path:
    """Where a migration keeps what stood in the file before a run switched it."""
    return migration / "secrets" / f"switch_env.{run_id}.json"


def check(file: Path) -> None:
    """Look whether the file could be switched; changes nothing.

    Raises:
        InputError: it could not; says what to do.
    """
    real = file.resolve()
    if not real.is_file():
        raise InputError(f"switch_env: there is no file {file}; make it, or mend its path")
    found = real.stat()
    if not os.access(real, os.R_OK | os.W_OK) or not os.access(real.parent, os.W_OK | os.X_OK):
        raise InputError(
            f"switch_env: {file} and its folder must be writable; grant it, or use a command "
            "instead of a file"
        )
    groups = {os.getegid(), *os.getgroups()}
    if os.geteuid() != 0 and (found.st_uid != os.geteuid() or found.st_gid not in groups):
        raise InputError(
            f"switch_env: {file} belongs to another user or group and would not stay theirs; run "
            "as its owner, or use a command instead of a file"
        )


def value(file: Path, variable: str) -> str | None:
    """The variable's value, None if there is none; of several lines the last one's.

    Raises:
        InputError: the file can not be read.
    """
    found = _values(_read(file), variable)
    return _unquoted(found[-1]["value"]) if found else None


def switch(file: Path, variable: str, new: str, kept: Path) -> SwitchResult:
    """Give the variable a new value; all else in the file stays as it is, byte for byte.

    May be taken again: what stood there first is still what is kept.

    Args:
        file: of ``NAME=value`` lines, as a shell, Docker, systemd or a dotenv library reads them.
        variable: its name; a line is added where there is none.
        new: the new value.
        kept: takes the former value, readable by the owner only.

    Raises:
        InputError: the file is not there or can not be written, or no line can hold the value.
    """
    check(file)
    text = _read(file)
    found = _values(text, variable)
    before = _unquoted(found[-1]["value"]) if found else None
    done = bool(found) and all(_unquoted(match["value"]) == new for match in found)
    if not done or not kept.exists():
        values = tuple(match["value"] for match in found)
        _keep(kept, FormerValue(str(file.absolute()), variable, values, new))
    if not done:
        pieces = [_quoted(new, match["value"], file) for match in found]
        if found:
            text = _replaced(text, found, pieces)
        else:
            text = _added(text, f"{variable}={_quoted(new, '', file)}")
        _write(file, text)
    return SwitchResult(str(file), variable, _shown(before), _shown(new), not done)


def restore(kept: Path) -> SwitchResult:
    """Give the variable its former value back, whatever it is now.

    Raises:
        InputError: nothing was kept, or the file can not be written.
    """
    if not kept.exists():
        raise InputError(f"no former value is kept at {kept}: nothing was switched by this run")
    former = results.from_json(FormerValue, kept.read_bytes())
    file = Path(former.file)
    check(file)
    text = _read(file)
    found = _values(text, former.variable)
    now = tuple(match["value"] for match in found)
    if now != former.values:
        if not former.values:
            restored = _without(text, found)
        elif not found:
            restored = _added(text, f"{former.variable}={former.values[-1]}")
        elif len(found) == len(former.values):
            restored = _replaced(text, found, list(former.values))
        else:
            restored = _replaced(text, found, [former.values[-1]] * len(found))
        _write(file, restored)
    current = _unquoted(now[-1]) if now else None
    return SwitchResult(
        former.file,
        former.variable,
        _shown(current),
        _shown(_unquoted(former.values[-1]) if former.values else None),
        now != former.values,
        meanwhile=now != former.values and current != former.written,
    )


def _values(text: str, variable: str) -> list[re.Match[str]]:
    return [match for match in _ASSIGNMENT.finditer(text) if match["name"] == variable]


def _replaced(text: str, found: list[re.Match[str]], values: list[str]) -> str:
    for match, one in reversed(list(zip(found, values, strict=True))):
        text = text[: match.start("value")] + one + text[match.end("value") :]
    return text


def _without(text: str, found: list[re.Match[str]]) -> str:
    for match in reversed(found):
        end = text.find("\n", match.end())
        text = text[: match.start()] + (text[end + 1 :] if end >= 0 else "")
    return text


def _added(text: str, line: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    return f"{text}{end if text and not text.endswith(chr(10)) else ''}{line}{end}"


def _quoted(new: str, old: str, file: Path) -> str:
    """The value as it is written, in the quotes of the old one if they do."""
    text = new.encode().decode("latin-1")
    in_double = not set(text) & set('\\"$`')
    if not set(text) & set("\r\n\0"):
        if not old.startswith(("'", '"')) and _PLAIN.fullmatch(text):
            return text
        if old.startswith('"') and in_double:
            return f'"{text}"'
        if "'" not in text:
            return f"'{text}'"
        if in_double:
            return f'"{text}"'
    raise InputError(
        f"switch_env: no line of {file} can hold the new value; write its special characters "
        "percent-encoded"
    )


def _unquoted(written: str) -> str:
    if len(written) > 1 and written[0] == written[-1] and written[0] in "'\"":
        inner = written[1:-1]
        written = re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if written[0] == '"' else inner
    return written.encode("latin-1").decode("utf-8", "replace")


def _shown(found: str | None) -> str | None:
    """Which database a value names, and nothing of it that may be secret."""
    if found is None:
        return None
    return redact(found).partition("?")[0] if "://" in found else "***"


def _read(file: Path) -> str:
    """The file, each byte as one character, so that those of any encoding stay what they are."""
    try:
        return file.read_bytes().decode("latin-1")
    except OSError as error:
        raise InputError(f"switch_env: {file} can not be read: {error.strerror}") from None


def _keep(path: Path, former: FormerValue) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    _fill(descriptor, results.to_json(former).encode())
    part.replace(path)


def _write(file: Path, text: str) -> None:
    """Replace the file, or the one that a link leads to: its owner, mode and attributes stay."""
    real = file.resolve()
    found = real.stat()
    part: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
        part = Path(name)
        _fill(descriptor, text.encode("latin-1"))
        made = part.stat()
        if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
            os.chown(part, found.st_uid, found.st_gid)
        if hasattr(os, "listxattr"):  # of Linux alone
            for attribute in os.listxattr(real):
                os.setxattr(part, attribute, os.getxattr(real, attribute))
        part.chmod(stat.S_IMODE(found.st_mode))
        part.replace(real)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise InputError(
            f"switch_env: {file} can not be replaced: {error.strerror}; use a command instead of "
            "a file"
        ) from error


def _fill(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
