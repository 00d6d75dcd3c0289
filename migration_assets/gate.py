"""The gate before production: everything that a cutover needs, and what of it is missing.

It is asked before anything is touched, and again by the swap, whichever way that was started: a
sensor, a schedule or a check of an earlier run is no gate, because anything can be started by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from migration_assets import history
from migration_assets.core.config import MigrationConfig
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.history import Approval, Change, Outcome
from migration_assets.errors import InputError
from migration_assets.home import Migration
from migration_assets.state import State


def missing(
    migration: Migration, today: date | None = None, run_id: str | None = None
) -> list[str]:
    """What a cutover lacks now, before anything of it has happened.

    Args:
        migration: the migration.
        today: the day it is, in UTC; None to look.
        run_id: the cutover that asks: the approval that it has used up itself stands.

    Returns:
        one line each, that says what to do; empty if it may begin.
    """
    if PRODUCTION not in migration.config.targets:
        return [
            f"{migration.defs_yaml} has no targets: {PRODUCTION}: name the database to go live in"
        ]
    digest = current_plan(migration)
    rehearsals = history.rehearsals(migration)
    approval = standing_approval(migration, run_id)
    lines = [] if digest else ["the source was never read: run a rehearsal first"]
    lines += _rehearsed(migration.config, rehearsals, digest)
    lines += _checked(migration.config, rehearsals, today or datetime.now(UTC).date())
    lines += _approved(migration, approval, rehearsals, digest)
    return lines


def missing_of_run(
    migration: Migration, run_id: str, plan_digest: str | None, found: Collection[Change]
) -> list[str]:
    """What forbids that a cutover's own tables go live, which only its own extract can say.

    Args:
        migration: the migration.
        run_id: the cutover.
        plan_digest: the plan that the run follows.
        found: all that it changed or set aside.
    """
    approval = standing_approval(migration, run_id)
    if approval is None:
        return [_NO_APPROVAL.format(name=migration.name)]
    lines = []
    if plan_digest != approval.plan_digest:
        lines.append(
            f"this run follows plan {plan_digest}, plan {approval.plan_digest} was approved: the "
            "source or defs.yaml has changed; rehearse and approve again"
        )
    lines += unaccepted(approval, found, "this run")
    return lines


def standing_approval(migration: Migration, run_id: str | None = None) -> Approval | None:
    """The newest approval, unless a cutover other than ``run_id`` has gone live by it."""
    approvals = history.approvals(migration)
    used = {c.approval_id for c in history.cutovers(migration) if c.run_id != run_id}
    return approvals[0] if approvals and approvals[0].id not in used else None


def current_plan(migration: Migration) -> str | None:
    """Digest of the plan that source and configuration lead to, as they were last looked at."""
    try:
        state = State.read(migration.state)
    except FileNotFoundError:
        return None
    return state.plan(migration.config.plan).digest if state.profile else None


def proven_in_a_row(rehearsals: Sequence[Outcome], digest: str | None) -> list[Outcome]:
    """The newest rehearsals up to the first that was not proven or of another plan."""
    row: list[Outcome] = []
    for rehearsal in rehearsals:
        if not rehearsal.proven or not rehearsal.swapped or rehearsal.plan_digest != digest:
            break
        row.append(rehearsal)
    return row


def approvable(migration: Migration, run_id: str) -> Outcome:
    """The rehearsal that is to be approved.

    Args:
        migration: the migration.
        run_id: its id, or the beginning of it; ``latest`` for the newest.

    Raises:
        InputError: there is none, it was not proven, or it followed another plan than would now.
    """
    rehearsals = history.rehearsals(migration)
    if not rehearsals:
        raise InputError(f"there was no rehearsal of {migration.name} yet: run one first")
    chosen = (
        rehearsals[:1]
        if run_id == "latest"
        else [
            rehearsal for rehearsal in rehearsals if run_id and rehearsal.run_id.startswith(run_id)
        ]
    )
    if len(chosen) != 1:
        known = ", ".join(rehearsal.run_id for rehearsal in rehearsals[:3])
        what = "is no" if not chosen else "is the beginning of more than one"
        raise InputError(f'"{run_id}" {what} rehearsal of {migration.name}; the newest are {known}')
    if not chosen[0].proven:
        raise InputError(
            f"rehearsal {chosen[0].run_id} was not proven: {'; '.join(chosen[0].reasons[:2])}"
        )
    digest = current_plan(migration)
    if chosen[0].plan_digest != digest:
        raise InputError(
            f"rehearsal {chosen[0].run_id} followed plan {chosen[0].plan_digest}, the plan is "
            f"{digest} now: rehearse again, then approve that"
        )
    return chosen[0]


def _rehearsed(
    config: MigrationConfig, rehearsals: Sequence[Outcome], digest: str | None
) -> Iterator[str]:
    row = proven_in_a_row(rehearsals, digest)
    wanted, by_days = config.gate.rehearsals, config.gate.distinct == "days"
    counted = len({_day(item) for item in row}) if by_days else len(row)
    if counted >= wanted:
        return
    kind = " on distinct days" if by_days else ""
    line = f"{counted} of {wanted} proven rehearsals in a row{kind} of plan {digest or '(none)'}"
    if len(row) < len(rehearsals):
        last = rehearsals[len(row)]
        why = (
            f"followed plan {last.plan_digest}"
            if last.proven and last.swapped
            else f"was not proven: {'; '.join(last.reasons[:1])}"
        )
        line += f"; the one before them ({last.run_id}) {why}"
    yield line


def _checked(config: MigrationConfig, rehearsals: Sequence[Outcome], today: date) -> Iterator[str]:
    names = [check.name for check in config.app_checks if STAGING in check.environments]
    if not names or not rehearsals:
        return
    for name in names:
        if not rehearsals[0].app_checks.get(name):
            word = "failed" if name in rehearsals[0].app_checks else "did not run"
            yield f'application check "{name}" {word} in the last rehearsal, {rehearsals[0].run_id}'
    days = config.gate.app_checks_days
    green, day = 0, max(_day(rehearsals[0]), today - timedelta(days=1))
    while green < days:
        of_day = [item for item in rehearsals if _day(item) == day]
        if not of_day or not all(item.app_checks.get(n) for item in of_day for n in names):
            break
        green, day = green + 1, day - timedelta(days=1)
    if green < days:
        yield f"the application checks passed on {green} of {days} days in a row"


_NO_APPROVAL = (
    "no approval that was not used yet: look at a rehearsal's report, then materialize the asset "
    "{name}/approval or run migration-assets approve {name}"
)


def _approved(
    migration: Migration,
    approval: Approval | None,
    rehearsals: Sequence[Outcome],
    digest: str | None,
) -> Iterator[str]:
    if approval is None:
        yield _NO_APPROVAL.format(name=migration.name)
        return
    if approval.plan_digest != digest:
        yield (
            f"plan {approval.plan_digest} was approved, the plan is {digest} now: the source or "
            "defs.yaml has changed; rehearse and approve again"
        )
    looked_at = next((r for r in rehearsals if r.run_id == approval.rehearsal_run_id), None)
    if looked_at is None:
        yield f"the rehearsal that was approved, {approval.rehearsal_run_id}, is not in the history"
    elif not looked_at.proven:
        yield f"the rehearsal that was approved, {looked_at.run_id}, is not proven any more"
    if rehearsals:
        yield from unaccepted(approval, rehearsals[0].ledger, f"rehearsal {rehearsals[0].run_id}")


def unaccepted(approval: Approval, found: Collection[Change], where: str) -> Iterator[str]:
    """A line for each change that the approval does not cover.

    Args:
        approval: the approval.
        found: changes that happened.
        where: in which run.
    """
    accepted = {change.place: change.count for change in approval.accepted}
    for change in found:
        most = accepted.get(change.place)
        if most is None:
            yield f"not accepted: {change} ({where})"
        elif change.count > most:
            yield f"more than the {most:,} accepted: {change} ({where})"


def _day(outcome: Outcome) -> date:
    return datetime.fromisoformat(outcome.finished_at).astimezone(UTC).date()
