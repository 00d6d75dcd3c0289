"""Verified TLS: what production is reached by over a network."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from migration_assets.errors import InputError

VERIFIED = ("verify-ca", "verify-full")
"""libpq's ``sslmode`` that looks at the server's certificate: PostgreSQL manual, "SSL Support"."""


def is_local(found: Mapping[str, str]) -> bool:
    """True if every host of a connection is a socket of this machine, or its loopback address.

    Args:
        found: libpq parameters; what they lack is looked for in the environment, as libpq does.
    """
    hosts = found.get("hostaddr") or found.get("host")
    if not hosts:
        if found.get("service") or os.environ.get("PGSERVICE"):
            return False  # the service's file may name any host
        hosts = os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or ""
    return all(_is_local(host.strip()) for host in hosts.split(","))


def mode(found: Mapping[str, str]) -> str:
    """The ``sslmode`` of a connection; ``prefer`` where nobody has set one."""
    return found.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"


def require_verified(found: dict[str, str], where: str) -> None:
    """See to it that a connection is local, or encrypted to a server whose certificate is verified.

    Args:
        found: libpq parameters; a way of encryption that has no certificate is closed in them.
        where: host and database, for the message.

    Raises:
        InputError: it would be neither; nothing was sent yet.
    """
    if is_local(found):
        return
    if mode(found) not in VERIFIED:
        raise InputError(
            f"production refuses {where} without verified TLS (sslmode is {mode(found)}): add "
            "sslmode=verify-full, and sslrootcert=FILE with the CA's certificate, to its URL, or "
            "write allow_unverified_tls: true for that target in defs.yaml"
        )
    found["gssencmode"] = "disable"


def _is_local(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
