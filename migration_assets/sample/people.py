"""The people of the sample: users, what they watch, and what they are told."""

from __future__ import annotations

import numpy as np

from migration_assets.sample.draw import FIRST_SECOND, days, decimals, times
from migration_assets.sample.fill import Fill


def add_users(fill: Fill) -> list[str]:
    """Fill users, keys and watchlists; returns the ids of the watchlists."""
    draw, count = fill.draw, fill.count(2_000)
    users = draw.uuids(count)
    hashes = draw.octets(32, count)
    created = draw.below(150 * 86_400, count)
    seen = times(created + draw.below(100 * 86_400, count), draw.below(10**6, count))
    themes = draw.pick(["light", "dark"], count)
    names = draw.pick(["Ada", "Björn", "Chloé", "Dmitri", "Eun-ji", "فاطمة"], count)
    names[2], names[4] = "Grace  ", "Maximiliane Wilhelmina von Hohenstaufen-Babenberg"
    fill.insert(
        "users",
        "id, email, display_name, password_hash, is_active, preferences, created_at, last_seen_at",
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
                    times(created),
                    (text if i % 6 else None for i, text in enumerate(seen)),
                    strict=True,
                )
            )
        ),
    )
    keys = draw.octets(32, count)
    fill.insert(
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
            for i, (key, at) in enumerate(zip(keys, times(created), strict=True))
        ),
    )
    lists = draw.uuids(2 * count)
    fill.insert(
        "watchlists",
        "id, user_id, name, is_default, created_at",
        (
            (name, users[i // 2], ("Main", "Later…")[i % 2], 1 - i % 2, at)
            for i, (name, at) in enumerate(zip(lists, times(np.repeat(created, 2)), strict=True))
        ),
    )
    return lists


def add_items(fill: Fill, lists: list[str], instruments: int) -> list[tuple[str, int]]:
    """Fill the watchlists; returns the keys of the items."""
    draw, count = fill.draw, fill.count(16_000)
    notes = draw.pick(["", "buy below support", "watch — earnings soon", "ask José"], count)
    notes[0] = "copied\x00from a terminal"
    added = days(draw.below(300, count))
    size = len(lists)
    items = [(lists[i % size], (i * 37 + i // size) % instruments + 1) for i in range(count)]
    items = list(dict.fromkeys(items))
    fill.insert(
        "watchlist_items",
        "watchlist_id, instrument_id, position, note, added_on",
        (
            (*item, i // size + 1, note or None, day)
            for i, (item, note, day) in enumerate(zip(items, notes, added, strict=False))
        ),
    )
    return items


def add_alerts(fill: Fill, items: list[tuple[str, int]]) -> None:
    """Fill alerts and notifications."""
    draw, count = fill.draw, fill.count(4_000)
    alerts = draw.uuids(count)
    thresholds = decimals(draw.below(9_000_000, count), 4)
    thresholds[1] = 12.345678
    created = times(draw.below(200 * 86_400, count))
    fill.insert(
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
            for i, (alert, price, at) in enumerate(zip(alerts, thresholds, created, strict=True))
        ),
    )
    count = fill.count(12_000)
    seconds = np.sort(draw.below(200 * 86_400, count))
    sent: list[str | int] = [*times(seconds)]
    for i in range(0, count, 50):
        sent[i] = str(sent[i]).replace(" ", "T") + "Z"
    for i in range(0, count, 125):
        sent[i] = int(seconds[i]) + FIRST_SECOND
    payloads = [f'{{"attempt": {i % 3 + 1}, "price": {i / 8}}}' for i in range(count)]
    payloads[9] = '{"attempt": 1, "pri'
    fill.insert(
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
