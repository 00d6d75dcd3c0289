"""The figures of one look at production: what PostgreSQL counts, as shares and times."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from migration_assets.core.watch import Baseline, Counters
from migration_assets.postgres import vitals

ROWS_THAT_COUNT = 100
DEAD_ROWS_THAT_COUNT = 10_000
TRANSACTIONS_THAT_COUNT = 100
BLOCKS_THAT_COUNT = 10_000
CALLS_THAT_COUNT = 5
"""What is rarer or smaller than these says nothing."""
_AGAIN = "it takes two looks"
_NAMED = 3

Figure = tuple[float | None, str]
"""A figure, None if there is none, and what it is about."""


def figures(
    cursor: Cursor, schema: str, baseline: Baseline, before: Counters | None
) -> tuple[dict[str, Figure], Counters]:
    """Every figure of one look, by the names of MEASURES.

    Args:
        cursor: of a connection that commits each statement.
        schema: that of production.
        baseline: what went live.
        before: what had been counted at the look before, None at the first.

    Returns:
        The figures, and what has been counted up to now.
    """
    statements = vitals.statements(cursor)
    now = vitals.counters(cursor, schema, statements or [])
    # Another beginning of the count: the server was started anew, or the counts were reset.
    earlier = before if before is not None and before.since == now.since else None
    activity = vitals.activity(cursor)
    hidden = f"{activity.hidden} sessions are hidden from this role" if activity.hidden else ""
    sequences = vitals.sequences(cursor, schema)
    found: dict[str, Figure] = {
        "rows_lost": _rows_lost(vitals.row_counts(cursor, schema, list(baseline.rows)), baseline),
        "sequence_headroom": _headroom(sequences),
        "sequences_behind": _behind(sequences),
        "errors": _errors(now, earlier),
        "rollbacks": _rollbacks(now, earlier),
        "slow_statements": slow(statements, earlier),
        "longest_statement": (activity.statement[0], activity.statement[1] or hidden),
        "idle_in_transaction": (activity.idle[0], activity.idle[1] or hidden),
        "connections": (activity.taken / activity.most, f"{activity.taken} of {activity.most}"),
        "cache_hits": _cache(now, earlier),
        "dead_rows": _dead(cursor, schema),
        "replication_lag": _lag(cursor),
    }
    return found, now


def _rows_lost(counts: dict[str, int], baseline: Baseline) -> Figure:
    gone = {
        table: (rows - counts.get(table, 0)) / rows
        for table, rows in baseline.rows.items()
        if rows >= ROWS_THAT_COUNT
    }
    missing = sorted(table for table in baseline.rows if table not in counts)
    if missing:
        return 1.0, f"no table {_named(missing)} any more"
    grown = sum(counts.values()) - sum(baseline.rows.values())
    total = f"{abs(grown):,} rows {'more' if grown >= 0 else 'fewer'} in all than at the cutover"
    worst = max(gone, key=lambda table: gone[table], default=None)
    if worst is None or gone[worst] <= 0:
        return 0.0, total
    return gone[worst], f'table "{worst}": {counts[worst]:,} of {baseline.rows[worst]:,}; {total}'


def _headroom(sequences: list[vitals.Sequence]) -> Figure:
    fullest = min(sequences, key=lambda sequence: sequence.headroom, default=None)
    if fullest is None:
        return None, "there is no sequence"
    return fullest.headroom, f"{fullest.column or fullest.name} comes to {fullest.following:,}"


def _behind(sequences: list[vitals.Sequence]) -> Figure:
    behind = [s.column or s.name for s in sequences if s.behind]
    return float(len(behind)), _named(behind) if behind else f"{len(sequences)} sequences"


def _errors(now: Counters, before: Counters | None) -> Figure:
    if before is None:
        return None, _AGAIN
    kinds = ("deadlocks", "checksum_failures", "sessions_fatal", "sessions_killed")
    news = {kind: now.database.get(kind, 0) - before.database.get(kind, 0) for kind in kinds}
    told = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in news.items() if count)
    return float(sum(news.values())), told


def _rollbacks(now: Counters, before: Counters | None) -> Figure:
    if before is None:
        return None, _AGAIN
    done = {k: now.database[k] - before.database[k] for k in ("xact_commit", "xact_rollback")}
    if sum(done.values()) < TRANSACTIONS_THAT_COUNT:
        return None, f"only {sum(done.values())} transactions since the last look"
    share = done["xact_rollback"] / sum(done.values())
    return share, f"{done['xact_rollback']:,} of {sum(done.values()):,} transactions"


def slow(statements: list[vitals.Statement] | None, before: Counters | None) -> Figure:
    """Mean milliseconds of the statement that was slowest since the look before, and its text."""
    if statements is None:
        return None, "the extension pg_stat_statements is missing, not loaded, or not for this role"
    if before is None:
        return None, _AGAIN
    slowest, text = 0.0, ""
    for statement in statements:
        calls, spent = before.statements.get(statement.id, (0, 0.0))
        new = statement.calls - calls
        if new >= CALLS_THAT_COUNT and (mean := (statement.milliseconds - spent) / new) > slowest:
            slowest, text = mean, f"{new:,} times: {statement.text}"
    return slowest, text


def _cache(now: Counters, before: Counters | None) -> Figure:
    if before is None:
        return None, _AGAIN
    hit, read = now.blocks_hit - before.blocks_hit, now.blocks_read - before.blocks_read
    if hit + read < BLOCKS_THAT_COUNT:
        return None, f"only {max(hit + read, 0):,} blocks since the last look"
    return hit / (hit + read), f"{hit + read:,} blocks"


def _dead(cursor: Cursor, schema: str) -> Figure:
    found = vitals.dead_rows(cursor, schema, DEAD_ROWS_THAT_COUNT)
    if not found:
        return 0.0, ""
    table, dead, alive = found[0]
    return dead / (dead + alive), f'table "{table}": {dead:,} dead, {alive:,} living'


def _lag(cursor: Cursor) -> Figure:
    found = vitals.standbys(cursor)
    if not found:
        return None, "there is no standby"
    known = [each for each in found if each[1] is not None]
    if not known:
        return None, "this role may not see it: grant it pg_monitor"
    name, seconds, size = max(known, key=lambda each: each[1] or 0.0)
    return seconds, f"{name}: {size or 0:,} bytes"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f'"{name}"' for name in names[:_NAMED]) + more
