"""``schema_command``: the application's own migration command makes its tables in our schema."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg2 import sql

from migration_assets.core.results import SchemaCommandResult
from migration_assets.errors import InputError
from migration_assets.existing.output import Mask
from migration_assets.postgres.connect import Target, parameters, session
from migration_assets.run_folder import RunFolder

OUTPUT = "schema_command.log"
"""What it printed, in the run's folder."""
KEPT_CHARACTERS = 4_000
"""The end of its output that goes into the evidence."""
LEFT_SECONDS = 2
"""Time for the rest of the output, where something else still has the command's pipe."""

STRAY = """
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND c.oid::bigint > %s ORDER BY c.oid LIMIT 1
"""


def run_command(
    command: str, target: Target, schema: str, seconds: int, place: Path, folder: RunFolder
) -> None:
    """Run a command of the application against an empty schema.

    It finds ``DATABASE_URL`` (names without a schema are looked for, and made, in ``schema``),
    ``DATABASE_SCHEMA`` and ``PGOPTIONS`` in its environment. Its output and exit code are kept in
    the run's folder.

    Args:
        command: for the shell.
        target: the database.
        schema: it is there, and empty.
        seconds: that it may take.
        place: the folder that it runs in.
        folder: takes output and result.

    Raises:
        InputError: it failed, took too long, or made no table.
    """
    newest = _newest(target)
    mask = Mask(parameters(target).get("password") or os.environ.get("PGPASSWORD"))
    started = time.monotonic()
    path = folder.write_text(OUTPUT, "")
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=place,
        env={**os.environ, **environment(target, schema)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None, "it is a pipe"
    copying = threading.Thread(
        target=mask.copy, args=(process.stdout, path), name=OUTPUT, daemon=True
    )
    copying.start()
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        if process.poll() is None:
            # What it started goes with it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # What it left running in the background may print on, and is not waited for.
        copying.join(LEFT_SECONDS)
    text = path.read_text(encoding="utf-8")
    took = time.monotonic() - started
    result = SchemaCommandResult(mask.masked(command), code, took, text[-KEPT_CHARACTERS:])
    folder.write_result("schema_command", "all", result)
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    said = f": {last}" if last else ", and said nothing"
    if code is None:
        raise InputError(
            f"schema_command took longer than {seconds} s and was ended{said}; mend it, or raise "
            "schema_command_timeout in defs.yaml"
        )
    if code != 0:
        raise InputError(f"schema_command ended with exit code {code}{said}")
    _check_made(target, schema, newest)


def environment(target: Target, schema: str) -> dict[str, str]:
    """The variables by which a command finds a schema of the target."""
    found = parameters(target)
    options = f"-csearch_path={_escaped(sql.Identifier(schema))}"
    if found.get("options"):
        options = f"{found['options']} {options}"
    host = found.pop("host", "")
    user, password = quote(found.pop("user", ""), safe=""), found.pop("password", None)
    secret = f":{quote(password, safe='')}" if password else ""
    port = f":{found.pop('port')}" if found.get("port") else ""
    database = quote(found.pop("dbname", ""), safe="")
    # A socket's folder is no host of a URL; most drivers want one there, and look at the query.
    socket = host.startswith("/")
    query = {**found, "options": options, **({"host": host} if socket else {})}
    place = "localhost" if socket or not host else host
    at = f"{user}{secret}@" if user else ""
    url = f"postgresql://{at}{place}{port}/{database}?{urlencode(query, quote_via=quote)}"
    return {"DATABASE_URL": url, "DATABASE_SCHEMA": schema, "PGOPTIONS": options}


def _escaped(name: sql.Identifier) -> str:
    """A name as a value among libpq's ``options``, whose words are parted by spaces."""
    quoted = '"' + name.strings[0].replace('"', '""') + '"'
    return quoted.replace("\\", "\\\\").replace(" ", "\\ ")


def _newest(target: Target) -> int:
    with (
        session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT coalesce(max(oid::bigint), 0) FROM pg_class")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _check_made(target: Target, schema: str, newest: int) -> None:
    """Raise InputError if the command made no table in the schema that it was given."""
    with (
        session(target, "the look at the target") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relkind IN ('r', 'p'))",
            (schema,),
        )
        row = cursor.fetchone()
        if row and row[0]:
            return
        cursor.execute(STRAY, (newest,))
        stray = cursor.fetchone()
    where = f"; it made {stray[0]}" if stray else ""
    raise InputError(
        f'schema_command made no table in schema "{schema}"{where}; let it use DATABASE_URL as it '
        "is, whose options set the search_path, or DATABASE_SCHEMA"
    )
