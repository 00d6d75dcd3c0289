"""The work of the sample: jobs, their runs, logs and attachments, and the settings."""

from __future__ import annotations

import numpy as np

from migration_assets.sample.draw import times
from migration_assets.sample.fill import Fill


def add_jobs(fill: Fill) -> None:
    """Fill jobs, runs, logs and attachments."""
    draw, count = fill.draw, fill.count(5_000)
    jobs = ["capture_prices", "close_day", "predict", "send_alerts", "clean_up"]
    fill.insert(
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
    fill.insert(
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
                times(started),
                times(started + millis // 1000),
                draw.below(5_000, count).tolist(),
                (millis / 1000).tolist(),
                strict=True,
            )
        ),
    )
    levels = draw.pick(["info"] * 18 + ["warning", "error"], count * 6)
    stamps = times(np.repeat(started, 6), draw.below(10**6, count * 6))
    fill.insert(
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
    fill.insert(
        "job_logs",
        "run_id, line, level, message, logged_at",
        [(999_999, 1, "error", "the run of this line was deleted", "2025-02-28 23:59:59")],
    )
    files_kept = count // 20
    contents = draw.octets(700, files_kept)
    fill.insert(
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
            for i, (key, octets) in enumerate(zip(draw.uuids(files_kept), contents, strict=True))
            for content in [octets[: i * 13 % 701]]
        ),
    )


def add_settings(fill: Fill) -> None:
    """Fill the settings."""
    fill.insert(
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
