"""The Dagster UI on a migration home: webserver, daemon, and the embedded target kept running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import psutil

from migration_assets import home as homes
from migration_assets.errors import InputError
from migration_assets.postgres import embedded

PORT = 3000
HOST = "127.0.0.1"
START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Ui:
    """A UI that answers: its address and its processes."""

    url: str
    webserver: subprocess.Popen[bytes]
    daemon: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Return when one of the two has ended.

        Raises:
            InputError: it ended by itself; its log is named.
        """
        while self.webserver.poll() is None and self.daemon.poll() is None:
            time.sleep(_LOOK_EVERY)


def serve(home: Path, port: int | None = None, say: Callable[[str], None] = print) -> None:
    """Open the UI and keep it open until Ctrl-C or SIGTERM; to be called by the main thread.

    Args:
        home: the migration home.
        port: the port on 127.0.0.1, None for PORT or the next free one.
        say: shows one line to the user.

    Raises:
        InputError: the port is taken, or one of the processes ended; its log is named.
    """
    # A supervisor's way to stop it is Ctrl-C's.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running(home, port) as ui:
        say(f"Dagster UI: {ui.url}  (Ctrl-C stops it)")
        try:
            ui.wait()
        except KeyboardInterrupt:
            say("Stopping")
            return
    raise InputError(f"the UI ended by itself; see {_log(home, 'webserver')} and the daemon's log")


@contextmanager
def running(home: Path, port: int | None = None) -> Iterator[Ui]:
    """Run webserver and daemon while the block runs; it begins when the UI answers.

    The embedded PostgreSQL of the home is started if a migration loads into it, and is not
    stopped: applications may be reading from it.
    """
    chosen = free_port(port)
    folder = homes.dagster_home(home)
    if _uses_embedded(home):
        embedded.start(home)
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(folder),
        homes.VARIABLE: str(home),
        # The package may be in the working folder only.
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    workspace = ["-w", str(resources.files("migration_assets").joinpath("workspace.yaml"))]
    web = [*_tool("dagster_webserver"), "-h", HOST, "-p", str(chosen), *workspace]
    daemon = [*_tool("dagster._daemon"), "run", *workspace]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        url = f"http://{HOST}:{chosen}"
        processes.append(_start(web, environment, _log(home, "webserver")))
        _wait_until_up(url, processes[0], _log(home, "webserver"))
        # Only now: both load all definitions, and the UI is what somebody waits for.
        processes.append(_start(daemon, environment, _log(home, "daemon")))
        yield Ui(url, *processes)
    finally:
        _stop(processes)


def free_port(port: int | None) -> int:
    """The port to listen on.

    Raises:
        InputError: the one asked for is taken.
    """
    for candidate in [port] if port else [*range(PORT, PORT + 20), 0]:
        with socket.socket() as probe:
            try:
                # A port left in TIME_WAIT is free for a server.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((HOST, candidate))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise InputError(f"port {port} of {HOST} is taken; choose another one with --port")


def _uses_embedded(home: Path) -> bool:
    return any(
        target.url == "embedded"
        for name in homes.migration_names(home)
        for target in homes.load(home, name).config.targets.values()
    )


def _tool(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _log(home: Path, name: str) -> Path:
    return homes.dagster_home(home) / f"{name}.log"


def _start(arguments: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches it from here, in good order.
            start_new_session=True,
        )


def _wait_until_up(url: str, webserver: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if webserver.poll() is not None:
                raise InputError(f"the webserver does not start; see {log}") from None
            if time.monotonic() > deadline:
                raise InputError(
                    f"the webserver does not answer after {START_SECONDS:.0f} s; see {log}"
                ) from None
            time.sleep(_LOOK_EVERY)


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the processes and what they started, politely first."""
    below = [child for process in processes for child in _children(process.pid)]
    for process in processes:
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # Code servers; left alone they would notice a minute later that nobody needs them.
    for child in below:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(below, timeout=5)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
