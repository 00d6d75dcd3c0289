"""The bundled sample: the SQLite database of an application that tracks prices.

Users keep watchlists of instruments; schedules capture prices; a model predicts the next day;
alerts notify; jobs do the work and keep logs and attachments. 18 tables, about 300,000 rows,
the same bytes every time::

    python -m migration_assets.sample.price_tracker price_tracker.db [--rows N]

Like every database that has been in use for years it holds values that its schema does not
promise. They are planted at fixed places (:data:`DIRT` lists the same for the tests):

- ``watchlist_items.note``: a NUL character inside the first row's note.
- ``instruments.name``, id 7: bytes in Latin-1, which are not valid UTF-8.
- ``instruments.external_ref``, declared ``STRING``: SQLite gives that NUMERIC affinity, so
  references made of digits were stored as integers, and lost their leading zeros long ago.
- ``price_captures.volume``, id 1000: the text ``n/a`` in an integer column.
- ``users.display_name``, row 3: trailing spaces; row 5: longer than the declared 40 characters.
- ``notifications.sent_at``: three forms in one column. Most are ``YYYY-MM-DD HH:MM:SS``, every
  50th is ISO 8601 with ``T`` and ``Z``, every 125th is seconds since 1970 as an integer.
- ``notifications.payload``, id 10: a JSON document cut off in the middle.
- ``daily_predictions.error_bound``, rows 11 and 12: Infinity and -Infinity.
- ``alerts.threshold``, row 2: six fraction digits in a DECIMAL(14, 4).
- ``job_logs``: one row of run 999999, which does not exist (an orphan).
- ``settings.value``, typeless: integers, reals and texts side by side.
"""

from __future__ import annotations

import argparse
import sqlite3
from importlib.resources import files
from pathlib import Path

from migration_assets.sample.draw import Draw
from migration_assets.sample.fill import Fill
from migration_assets.sample.market import add_instruments, add_prices
from migration_assets.sample.people import add_alerts, add_items, add_users
from migration_assets.sample.work import add_jobs, add_settings

DEFAULT_ROWS = 300_000
SEED = 20_250_101

DIRT: dict[str, str] = {
    "NUL character": "SELECT count(*) FROM watchlist_items WHERE instr(note, char(0)) > 0",
    "invalid UTF-8": "SELECT count(*) FROM instruments WHERE hex(name) LIKE '%436166E920%'",
    "integers in external_ref": (
        "SELECT count(*) FROM instruments WHERE typeof(external_ref) = 'integer'"
    ),
    "text in volume": "SELECT count(*) FROM price_captures WHERE typeof(volume) = 'text'",
    "trailing spaces": "SELECT count(*) FROM users WHERE display_name LIKE '%  '",
    "too long a name": "SELECT count(*) FROM users WHERE length(display_name) > 40",
    "times with T and Z": "SELECT count(*) FROM notifications WHERE sent_at LIKE '%T%Z'",
    "times as seconds": "SELECT count(*) FROM notifications WHERE typeof(sent_at) = 'integer'",
    "broken JSON": "SELECT count(*) FROM notifications WHERE NOT json_valid(payload)",
    "infinities": "SELECT count(*) FROM daily_predictions WHERE abs(error_bound) > 1e308",
    "too many fraction digits": (
        "SELECT count(*) FROM alerts WHERE threshold <> round(threshold, 4)"
    ),
    "orphans": ("SELECT count(*) FROM job_logs WHERE run_id NOT IN (SELECT id FROM job_runs)"),
}
"""What is planted -> the query that counts it in the generated database."""


def generate(path: Path, rows: int = DEFAULT_ROWS) -> None:
    """Write the sample database to ``path``, replacing what is there.

    Args:
        path: the database file; its folder is made.
        rows: rows of all tables together, about; at least 20,000.

    Raises:
        ValueError: ``rows`` is too small for the planted values to have a place.
    """
    if rows < 20_000:
        raise ValueError("the sample needs at least 20,000 rows")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    connection = sqlite3.connect(part, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_script("tables.sql"))
        connection.execute("BEGIN")
        _fill(Fill(connection, Draw(SEED), rows / DEFAULT_ROWS))
        connection.execute("COMMIT")
        connection.executescript(_script("objects.sql"))
    finally:
        connection.close()
    part.replace(path)


def _fill(fill: Fill) -> None:
    """Write every table, parents first."""
    instruments = add_instruments(fill)
    lists = add_users(fill)
    items = add_items(fill, lists, instruments)
    add_prices(fill, instruments)
    add_alerts(fill, items)
    add_jobs(fill)
    add_settings(fill)


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def main() -> None:
    """Command line: ``PATH [--rows N]``."""
    parser = argparse.ArgumentParser(description="Write the sample application's SQLite database.")
    parser.add_argument("path", type=Path, help="the database file to write")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="rows, about")
    arguments = parser.parse_args()
    generate(arguments.path, arguments.rows)
    print(f"{arguments.path}: {arguments.path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
