"""TLS before a server that speaks none: certificates, and a front that hands on what is inside."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""PostgreSQL manual, "Message Formats"."""


def make_certificate(folder: Path, name: str) -> Path:
    """Write ``<name>.crt``, signed by itself for 127.0.0.1, and ``<name>.key``; returns the first.

    It is made by the ``openssl`` command.
    """
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        f" -keyout {name}.key -out {name}.crt -subj /CN={name} -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder / f"{name}.crt"


@contextmanager
def tls_front(certificate: Path, server: str) -> Iterator[int]:
    """Listen on 127.0.0.1 with TLS for PostgreSQL's clients; gives the port.

    Args:
        certificate: of :func:`make_certificate`.
        server: the Unix socket of the server behind.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=_serve, args=(client, context, server)).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def _serve(client: socket.socket, context: ssl.SSLContext, server: str) -> None:
    while (asked := client.recv(8)) != SSL_REQUEST:
        if not asked:
            return
        client.sendall(b"N")  # encryption of another kind
    client.sendall(b"S")
    with (
        suppress(OSError),  # the client does not like the certificate, or has gone
        context.wrap_socket(client, server_side=True) as outside,
        socket.socket(socket.AF_UNIX) as inside,
    ):
        inside.connect(server)
        back = threading.Thread(target=_hand_on, args=(inside, outside))
        back.start()
        _hand_on(outside, inside)
        back.join()


def _hand_on(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
