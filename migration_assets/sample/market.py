"""The market of the sample: instruments and their prices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from migration_assets.sample.draw import days, decimals, times
from migration_assets.sample.fill import Fill


def add_instruments(fill: Fill) -> int:
    """Fill currencies, exchanges and instruments; returns how many instruments there are."""
    draw, count = fill.draw, fill.count(400)
    fill.insert(
        "currencies",
        "code, name, minor_units",
        [
            ("CHF", "Swiss franc", 2),
            ("EUR", "Euro", 2),
            ("JPY", "円 (yen)", 0),
            ("USD", "US dollar", 2),
        ],
    )
    fill.insert(
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
    listed = days(draw.below(9000, count) - 9000)
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

    fill.insert(
        "instruments",
        "id, exchange_code, symbol, name, kind, currency_code, tick_size, listed_on,"
        " is_tracked, external_ref, successor_id, attributes",
        rows(),
    )
    fill.connection.execute(
        "UPDATE instruments SET name = CAST(? AS TEXT) WHERE id = 7", (b"Caf\xe9 Holding",)
    )
    return count


def add_prices(fill: Fill, instruments: int) -> None:
    """Fill schedules, captured and daily prices, and predictions."""
    draw = fill.draw
    fill.insert(
        "capture_schedules",
        "id, instrument_id, cron, is_enabled, retries, next_run_at, config",
        (
            (i + 1, i + 1, "*/15 * * * *", int(i % 12 > 0), i % 4, None, '{"timeout": 2.50}')
            for i in range(instruments)
        ),
    )
    count = fill.count(150_000)
    which = draw.below(instruments, count) + 1
    seconds = np.arange(count, dtype=np.int64) * (200 * 86_400 // count)
    volumes: list[int | str] = draw.below(2_000_000, count).tolist()
    volumes[999] = "n/a"
    fill.insert(
        "price_captures",
        "id, instrument_id, schedule_id, captured_at, price, spread, volume, is_suspect, provider",
        zip(
            range(1, count + 1),
            which.tolist(),
            (i if i % 11 else None for i in which.tolist()),
            times(seconds, draw.below(10**6, count)),
            decimals(which * 25_000 + draw.below(40_000, count), 4),
            (draw.below(1_000, count) / 3e5).tolist(),
            volumes,
            (draw.below(500, count) == 0).astype(np.int64).tolist(),
            draw.pick(["primary", "primary", "backup", "manual"], count),
            strict=True,
        ),
    )
    _add_days(fill, instruments)


def _add_days(fill: Fill, instruments: int) -> None:
    draw, length = fill.draw, 130
    count = instruments * length
    which = np.repeat(np.arange(1, instruments + 1), length)
    day = np.tile(np.arange(length), instruments)
    day_texts = days(day)
    opened = which * 25_000 + draw.below(40_000, count)
    closed = opened + draw.below(4_000, count) - 2_000
    high = np.maximum(opened, closed) + draw.below(900, count)
    low = np.minimum(opened, closed) - draw.below(900, count)
    fill.insert(
        "daily_prices",
        "instrument_id, day, open, high, low, close, volume",
        zip(
            which.tolist(),
            day_texts,
            *(decimals(units, 4) for units in (opened, high, low, closed)),
            (draw.below(2**31, count) * 7).tolist(),
            strict=True,
        ),
    )
    predicted = decimals(closed + draw.below(2_000, count), 4)
    confidence = (draw.below(10_001, count) / 10_000).tolist()
    bounds: list[float | None] = (draw.below(900, count) / 7).tolist()
    bounds[13] = None
    bounds[20], bounds[22] = float("inf"), float("-inf")
    fill.insert(
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
