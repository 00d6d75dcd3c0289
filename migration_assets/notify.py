"""Tell somebody that a run failed: a webhook, a command, or both."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from migration_assets import commands
from migration_assets.command_output import Mask, secrets_in
from migration_assets.core.cutover_config import NotifyConfig
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.core.results import StepFailure
from migration_assets.errors import BrokenOffError
from migration_assets.home import Migration
from migration_assets.passwords import known_passwords
from migration_assets.run_folder import RunFolder

SECONDS = 10
"""That a webhook, or the command, may take."""
_REASONS = 20


def failed_run(
    migration: Migration,
    folder: RunFolder,
    run_id: str,
    job: str,
    began: datetime,
    said: StepFailure,
    retried: bool,
) -> dict[str, Any]:
    """The document about a run that failed; nothing secret is in it.

    Args:
        migration: whose run it was.
        folder: the folder that it worked in.
        run_id: Dagster's id of it.
        job: name of its job.
        began: when it was started, with a time zone.
        said: what Dagster says of the failure, for a run that left no evidence.
        retried: True if the rest of it will be done again.
    """
    evidence = _evidence(folder, began)
    reasons: Sequence[str] = evidence.run.reasons if evidence else ()
    code = evidence.run.exit_code if evidence else said.exit_code
    lost = code == BrokenOffError.exit_code
    verdict = Verdict.BROKEN_OFF if lost else Verdict.NOT_PROVEN
    known = known_passwords(migration.config, migration.folder)
    mask = Mask(*known, *secrets_in(os.environ))
    return {
        "event": "run_failed",
        "migration": migration.name,
        "environment": evidence.target.name if evidence else None,
        "job": job,
        "run_id": run_id,
        "verdict": (evidence.run.verdict if evidence else verdict).value,
        "exit_code": code,
        "reasons": [mask.masked(reason) for reason in reasons or [said.message]][:_REASONS],
        "started_at": began.isoformat(timespec="seconds"),
        "retried": retried,
        "report": str(folder.report) if evidence else None,
        "host": socket.gethostname(),
    }


def send(config: NotifyConfig, document: dict[str, Any], place: Path) -> list[str]:
    """Send a document to whoever is to be told.

    Args:
        config: who that is.
        document: for JSON.
        place: the migration's folder.

    Returns:
        what went wrong, a line each; a failure to tell of a failure is none of the run.
    """
    problems = []
    text = json.dumps(document, ensure_ascii=False)
    if config.webhook:
        problem = _post(config.webhook, text)
        problems += [problem] if problem else []
    if config.command:
        command = commands.Command(
            "notify.command",
            config.command.command,
            min(config.command.timeout, SECONDS),
            place,
            {"MIGRATION_NAME": place.name},
        )
        try:
            result = commands.run(command, place / "history" / "notify.log", given=text)
        except OSError as error:
            problems.append(f"notify.command can not be run: {error.strerror}")
        else:
            problems += [] if result.passed else [result.problem]
    return problems


def _post(address: str, text: str) -> str | None:
    """Send by POST; returns what went wrong, without the address, which may hold a secret."""
    host = urlsplit(address).hostname
    request = urllib.request.Request(
        address,
        data=text.encode(),
        headers={"Content-Type": "application/json", "User-Agent": "migration-assets"},
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"notify.webhook at {host} answered {error.code}"
    except urllib.error.URLError as error:
        reason = error.reason
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        return f"notify.webhook at {host} can not be reached: {said}"
    except (OSError, HTTPException, ValueError) as error:
        return f"notify.webhook at {host} did not answer: {type(error).__name__}"


def _evidence(folder: RunFolder, began: datetime) -> Evidence | None:
    """The evidence of this attempt; that of an earlier one says nothing of how it ended."""
    if not folder.evidence.exists():
        return None
    found = Evidence.from_json(folder.evidence.read_bytes())
    finished = datetime.fromisoformat(found.run.finished_at)
    return found if finished >= began.astimezone(UTC) else None
