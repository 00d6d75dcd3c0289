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
import json
import sqlite3
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DEFAULT_ROWS = 300_000
FIRST_SECOND = 1_735_689_600  # 2025-01-01T00:00:00Z
FIRST_DAY = np.datetime64("2025-01-01", "D")

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

_Ints = npt.NDArray[np.int64]


class _Draw:
    """Reproducible draws: only raw bits of PCG64, whose stream NumPy keeps from version to version.

    No logarithm or other function whose last bit depends on the machine is used.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def below(self, limit: int, count: int) -> _Ints:
        """``count`` integers in [0, limit)."""
        raw = self._bits.random_raw(count) >> np.uint64(33)
        return (raw % np.uint64(limit)).astype(np.int64)

    def octets(self, size: int, count: int) -> list[bytes]:
        """``count`` byte strings of ``size`` bytes."""
        raw = self._bits.random_raw((size * count + 7) // 8).astype("<u8").tobytes()
        return [raw[i : i + size] for i in range(0, size * count, size)]

    def uuids(self, count: int) -> list[str]:
        """``count`` version 4 UUIDs in canonical lower-case text."""
        digits = (octets.hex() for octets in self.octets(16, count))
        return [f"{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-{d[20:]}" for d in digits]

    def pick(self, choices: Sequence[str], count: int) -> list[str]:
        """``count`` of ``choices``."""
        return [choices[i] for i in self.below(len(choices), count).tolist()]


def _times(seconds: _Ints, micros: _Ints | None = None) -> list[str]:
    """Seconds after FIRST_SECOND as ``YYYY-MM-DD HH:MM:SS``, with microseconds if given."""
    stamps = (seconds + FIRST_SECOND).astype("datetime64[s]")
    if micros is not None:
        stamps = stamps.astype("datetime64[us]") + micros.astype("timedelta64[us]")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps).tolist()]


def _days(days: _Ints) -> list[str]:
    """Days after FIRST_DAY as ``YYYY-MM-DD``."""
    texts: list[str] = np.datetime_as_string(FIRST_DAY + days.astype("timedelta64[D]")).tolist()
    return texts


def _decimals(units: _Ints, scale: int) -> list[float]:
    """Whole units of 10**-scale as the doubles nearest to them."""
    values: list[float] = (units / 10**scale).tolist()
    return values


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
        _Sample(connection, rows / DEFAULT_ROWS).fill()
        connection.execute("COMMIT")
        connection.executescript(_script("objects.sql"))
    finally:
        connection.close()
    part.replace(path)


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


class _Sample:
    """Fills the tables, parents first; ``scale`` 1 makes DEFAULT_ROWS rows."""

    def __init__(self, connection: sqlite3.Connection, scale: float) -> None:
        self._connection = connection
        self._scale = scale
        self._draw = _Draw(20_250_101)

    def fill(self) -> None:
        """Write every table."""
        instruments = self._instruments()
        lists = self._users()
        items = self._watchlist_items(lists, instruments)
        self._prices(instruments)
        self._alerts(items)
        self._jobs()
        self._settings()

    def _count(self, rows: int) -> int:
        return max(int(rows * self._scale), 20)

    def _insert(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Insert ``rows``; ``table`` and ``columns`` are constants of this module."""
        marks = ", ".join("?" * (columns.count(",") + 1))
        statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # constants only
        self._connection.executemany(statement, rows)

    def _instruments(self) -> int:
        draw, count = self._draw, self._count(400)
        self._insert(
            "currencies",
            "code, name, minor_units",
            [
                ("CHF", "Swiss franc", 2),
                ("EUR", "Euro", 2),
                ("JPY", "円 (yen)", 0),
                ("USD", "US dollar", 2),
            ],
        )
        self._insert(
            "exchanges",
            "code, name, country, time_zone, opens_at, closes_at",
            [
                ("XNAS", "Nasdaq", "US", "America/New_York", "09:30:00", "16:00:00"),
                ("XPAR", "Euronext Paris", "FR", "Europe/Paris", "09:00:00", "17:30:00"),
                (
                    "XSWX",
                    "SIX Swiss Exchange — Zürich",
                    "CH",
                    "Europe/Zurich",
                    "09:00:00",
                    "17:30:00",
                ),
                ("XTKS", "東京証券取引所", "JP", "Asia/Tokyo", "09:00:00", "15:30:00"),
            ],
        )
        places = [("XNAS", "USD"), ("XPAR", "EUR"), ("XSWX", "CHF"), ("XTKS", "JPY")]
        kinds = draw.pick(["share", "share", "fund", "bond", "currency"], count)
        listed = _days(draw.below(9000, count) - 9000)
        sectors = draw.pick(["energy", "health", "chips", "mobilité", "food"], count)
        weights = draw.below(10_000, count).tolist()

        def rows() -> Iterable[Sequence[Any]]:
            for i in range(count):
                place, currency = places[i % 4]
                # STRING has NUMERIC affinity: the digits of every third become an integer.
                ref = f"{i * 7919:09d}" if i % 3 == 0 else f"REF-{i:05d}"
                attributes = {
                    "sector": sectors[i],
                    "weights": [weights[i] / 1e4, weights[i] / 3],
                    "esg": {"score": weights[i] % 100, "rated": i % 2 == 0},
                }
                yield (
                    i + 1,
                    place,
                    f"SYM{i:04d}",
                    f"{sectors[i].title()} Holding {i} 🏭" if i % 40 == 0 else f"Holding {i}",
                    kinds[i],
                    currency,
                    0.0001 if i % 10 == 0 else 0.01,
                    listed[i] if i % 25 else None,
                    int(i % 9 > 0),
                    ref,
                    i if i % 50 == 49 else None,
                    json.dumps(attributes, ensure_ascii=i % 2 == 0),
                )

        self._insert(
            "instruments",
            "id, exchange_code, symbol, name, kind, currency_code, tick_size, listed_on,"
            " is_tracked, external_ref, successor_id, attributes",
            rows(),
        )
        self._connection.execute(
            "UPDATE instruments SET name = CAST(? AS TEXT) WHERE id = 7", (b"Caf\xe9 Holding",)
        )
        return count

    def _users(self) -> list[str]:
        draw, count = self._draw, self._count(2_000)
        users = draw.uuids(count)
        hashes = draw.octets(32, count)
        created = draw.below(150 * 86_400, count)
        seen = _times(created + draw.below(100 * 86_400, count), draw.below(10**6, count))
        themes = draw.pick(["light", "dark"], count)
        names = draw.pick(["Ada", "Björn", "Chloé", "Dmitri", "Eun-ji", "فاطمة"], count)
        names[2], names[4] = "Grace  ", "Maximiliane Wilhelmina von Hohenstaufen-Babenberg"
        self._insert(
            "users",
            "id, email, display_name, password_hash, is_active, preferences, created_at,"
            " last_seen_at",
            (
                (user, f"user{i}@example.org", name, hashed, int(i % 17 > 0), preferences, at, last)
                for i, (user, name, hashed, preferences, at, last) in enumerate(
                    zip(
                        users,
                        names,
                        hashes,
                        (
                            f'{{"theme": "{t}", "rows": {25 * (i % 4 + 1)}}}'
                            for i, t in enumerate(themes)
                        ),
                        _times(created),
                        (text if i % 6 else None for i, text in enumerate(seen)),
                        strict=True,
                    )
                )
            ),
        )
        keys = draw.octets(32, count)
        self._insert(
            "api_keys",
            "user_id, label, key_hash, scopes, is_revoked, created_at, expires_at",
            (
                (
                    users[i * 7 % count],
                    f"key {i}",
                    key,
                    '["read", "write"]',
                    int(i % 5 == 0),
                    at,
                    None,
                )
                for i, (key, at) in enumerate(zip(keys, _times(created), strict=True))
            ),
        )
        lists = draw.uuids(2 * count)
        self._insert(
            "watchlists",
            "id, user_id, name, is_default, created_at",
            (
                (name, users[i // 2], ("Main", "Later…")[i % 2], 1 - i % 2, at)
                for i, (name, at) in enumerate(
                    zip(lists, _times(np.repeat(created, 2)), strict=True)
                )
            ),
        )
        return lists

    def _watchlist_items(self, lists: list[str], instruments: int) -> list[tuple[str, int]]:
        draw, count = self._draw, self._count(16_000)
        notes = draw.pick(["", "buy below support", "watch — earnings soon", "ask José"], count)
        notes[0] = "copied\x00from a terminal"
        added = _days(draw.below(300, count))
        size = len(lists)
        items = [(lists[i % size], (i * 37 + i // size) % instruments + 1) for i in range(count)]
        items = list(dict.fromkeys(items))
        self._insert(
            "watchlist_items",
            "watchlist_id, instrument_id, position, note, added_on",
            (
                (*item, i // size + 1, note or None, day)
                for i, (item, note, day) in enumerate(zip(items, notes, added, strict=False))
            ),
        )
        return items

    def _prices(self, instruments: int) -> None:
        draw = self._draw
        self._insert(
            "capture_schedules",
            "id, instrument_id, cron, is_enabled, retries, next_run_at, config",
            (
                (i + 1, i + 1, "*/15 * * * *", int(i % 12 > 0), i % 4, None, '{"timeout": 2.50}')
                for i in range(instruments)
            ),
        )
        count = self._count(150_000)
        which = draw.below(instruments, count) + 1
        seconds = np.arange(count, dtype=np.int64) * (200 * 86_400 // count)
        volumes: list[int | str] = draw.below(2_000_000, count).tolist()
        volumes[999] = "n/a"
        self._insert(
            "price_captures",
            "id, instrument_id, schedule_id, captured_at, price, spread, volume,"
            " is_suspect, provider",
            zip(
                range(1, count + 1),
                which.tolist(),
                (i if i % 11 else None for i in which.tolist()),
                _times(seconds, draw.below(10**6, count)),
                _decimals(which * 25_000 + draw.below(40_000, count), 4),
                (draw.below(1_000, count) / 3e5).tolist(),
                volumes,
                (draw.below(500, count) == 0).astype(np.int64).tolist(),
                draw.pick(["primary", "primary", "backup", "manual"], count),
                strict=True,
            ),
        )
        self._daily(instruments)

    def _daily(self, instruments: int) -> None:
        draw, days = self._draw, 130
        count = instruments * days
        which = np.repeat(np.arange(1, instruments + 1), days)
        day = np.tile(np.arange(days), instruments)
        day_texts = _days(day)
        opened = which * 25_000 + draw.below(40_000, count)
        closed = opened + draw.below(4_000, count) - 2_000
        high = np.maximum(opened, closed) + draw.below(900, count)
        low = np.minimum(opened, closed) - draw.below(900, count)
        self._insert(
            "daily_prices",
            "instrument_id, day, open, high, low, close, volume",
            zip(
                which.tolist(),
                day_texts,
                *(_decimals(units, 4) for units in (opened, high, low, closed)),
                (draw.below(2**31, count) * 7).tolist(),
                strict=True,
            ),
        )
        predicted = _decimals(closed + draw.below(2_000, count), 4)
        confidence = (draw.below(10_001, count) / 10_000).tolist()
        bounds: list[float | None] = (draw.below(900, count) / 7).tolist()
        bounds[13] = None
        bounds[20], bounds[22] = float("inf"), float("-inf")
        self._insert(
            "daily_predictions",
            "instrument_id, day, model, predicted, confidence, error_bound, features",
            (
                (i, d, "trend-2", p, c, b, f'{{"lag": {n % 9}, "beta": {c}}}')
                for n, (i, d, p, c, b) in enumerate(
                    zip(which.tolist(), day_texts, predicted, confidence, bounds, strict=True)
                )
                if n % 2 == 0
            ),
        )

    def _alerts(self, items: list[tuple[str, int]]) -> None:
        draw, count = self._draw, self._count(4_000)
        alerts = draw.uuids(count)
        thresholds = _decimals(draw.below(9_000_000, count), 4)
        thresholds[1] = 12.345678
        created = _times(draw.below(200 * 86_400, count))
        self._insert(
            "alerts",
            "id, watchlist_id, instrument_id, direction, threshold, is_active, created_at",
            (
                (
                    alert,
                    *items[i * 3 % len(items)],
                    ("above", "below")[i % 2],
                    price,
                    int(i % 8 > 0),
                    at,
                )
                for i, (alert, price, at) in enumerate(
                    zip(alerts, thresholds, created, strict=True)
                )
            ),
        )
        count = self._count(12_000)
        seconds = np.sort(draw.below(200 * 86_400, count))
        sent: list[str | int] = [*_times(seconds)]
        for i in range(0, count, 50):
            sent[i] = str(sent[i]).replace(" ", "T") + "Z"
        for i in range(0, count, 125):
            sent[i] = int(seconds[i]) + FIRST_SECOND
        payloads = [f'{{"attempt": {i % 3 + 1}, "price": {i / 8}}}' for i in range(count)]
        payloads[9] = '{"attempt": 1, "pri'
        self._insert(
            "notifications",
            "alert_id, channel, sent_at, is_delivered, payload",
            zip(
                (alerts[i * 5 % len(alerts)] for i in range(count)),
                draw.pick(["mail", "push", "webhook"], count),
                sent,
                draw.below(2, count).tolist(),
                payloads,
                strict=True,
            ),
        )

    def _jobs(self) -> None:
        draw, count = self._draw, self._count(5_000)
        jobs = ["capture_prices", "close_day", "predict", "send_alerts", "clean_up"]
        self._insert(
            "job_definitions",
            "name, description, cron, timeout_seconds, parameters",
            [
                (job, f"Runs {job.replace('_', ' ')}", "0 * * * *", 60 * 5, '{"retry": true}')
                for job in jobs
            ],
        )
        started = np.sort(draw.below(200 * 86_400, count))
        millis = draw.below(600_000, count)
        states = draw.pick(["succeeded"] * 17 + ["failed", "running", "queued"], count)
        self._insert(
            "job_runs",
            "job_name, status, started_at, finished_at, rows_written, seconds",
            (
                (
                    job,
                    state,
                    at,
                    *((end, n, s) if state in ("succeeded", "failed") else (None,) * 3),
                )
                for job, state, at, end, n, s in zip(
                    draw.pick(jobs, count),
                    states,
                    _times(started),
                    _times(started + millis // 1000),
                    draw.below(5_000, count).tolist(),
                    (millis / 1000).tolist(),
                    strict=True,
                )
            ),
        )
        levels = draw.pick(["info"] * 18 + ["warning", "error"], count * 6)
        stamps = _times(np.repeat(started, 6), draw.below(10**6, count * 6))
        self._insert(
            "job_logs",
            "run_id, line, level, message, logged_at",
            (
                (
                    i // 6 + 1,
                    i % 6 + 1,
                    level,
                    f"step {i % 6}: {i * 31 % 977} rows\ttook {i % 89} ms",
                    at,
                )
                for i, (level, at) in enumerate(zip(levels, stamps, strict=True))
            ),
        )
        self._insert(
            "job_logs",
            "run_id, line, level, message, logged_at",
            [(999_999, 1, "error", "the run of this line was deleted", "2025-02-28 23:59:59")],
        )
        files_kept = count // 20
        contents = draw.octets(700, files_kept)
        self._insert(
            "attachments",
            "id, run_id, file_name, media_type, content, size",
            (
                (
                    key,
                    i * 20 + 1,
                    f"run-{i * 20 + 1}.bin",
                    "application/octet-stream",
                    content,
                    len(content),
                )
                for i, (key, octets) in enumerate(
                    zip(draw.uuids(files_kept), contents, strict=True)
                )
                for content in [octets[: i * 13 % 701]]
            ),
        )

    def _settings(self) -> None:
        self._insert(
            "settings",
            "name, value, updated_at",
            [
                ("capture.minutes", 15, "2025-01-01 00:00:00"),
                ("capture.tolerance", 0.1 + 0.2, "2025-01-01 00:00:00"),
                ("mail.sender", "prices@example.org", None),
                ("predictions.enabled", 1, "2025-03-30 02:30:00"),
                ("theme.accent", "#0a7", None),
            ],
        )


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
