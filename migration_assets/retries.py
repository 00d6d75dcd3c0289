"""Rehearsals that nobody waits for: Dagster's daemon does their rest again, if that may help."""

from __future__ import annotations

from typing import Any

from migration_assets.errors import BrokenOffError

MOST = "dagster/max_retries"
STRATEGY = "dagster/retry_strategy"
AFTER_STEPS = "dagster/retry_on_asset_or_op_failure"


def retry_tags(retries: int) -> dict[str, str]:
    """The tags of a run that a schedule or a sensor starts.

    Such a run is retried when its process is lost. When one of its steps fails, it depends on what
    :func:`note_failure` says. Runs without these tags, as those of a person, are not retried.

    Args:
        retries: how often, 0 for never.
    """
    if not retries:
        return {}
    return {MOST: str(retries), STRATEGY: "FROM_ASSET_FAILURE", AFTER_STEPS: "false"}


def note_failure(context: Any, exit_code: int) -> None:
    """Let a failed run be retried if source or target were lost, and only then.

    What was bad input or could not be proven would be so again.

    Args:
        context: that of the op which failed.
        exit_code: of what failed.
    """
    if MOST in context.run.tags:
        worth = exit_code == BrokenOffError.exit_code
        context.instance.add_run_tags(context.run.run_id, {AFTER_STEPS: str(worth).lower()})


def refuse(context: Any) -> None:
    """Let a run that could not begin not be retried: what is in its way stays for a while.

    Args:
        context: that of the run's resource.
    """
    if MOST in context.run.tags:
        context.instance.add_run_tags(context.run.run_id, {MOST: "0"})
