"""The approval: a person's recorded decision that a cutover may happen."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from migration_assets import gate, history
from migration_assets.assets.keys import GATE, Keys
from migration_assets.core.history import Approval, Change
from migration_assets.errors import InputError, MigrationError
from migration_assets.home import Migration


class AcceptedChange(dg.Config):
    """A change that may happen at the cutover, by the names in the source."""

    rule: str
    table: str
    column: str | None = None
    at_most: int


class ApprovalConfig(dg.Config):
    """What is approved, and by whom."""

    approved_by: str
    rehearsal_run_id: str
    accept_as_rehearsed: bool = False
    accepted: list[AcceptedChange] = []  # noqa: RUF012 - Dagster copies it
    note: str = ""


def approval_asset(migration: Migration) -> dg.AssetsDefinition:
    """The asset that is materialized to approve, in the launchpad or by the command."""
    keys = Keys(migration.name)

    @dg.multi_asset(
        name=f"{migration.name}_approval",
        specs=[
            dg.AssetSpec(
                keys.approval,
                description=(
                    "The decision that a cutover may happen. Materialize it from the launchpad "
                    "with approved_by, rehearsal_run_id, and either accept_as_rehearsed: true or "
                    "the accepted changes with the most that may happen of each."
                ),
                group_name=keys.group(GATE),
                kinds={"json"},
            )
        ],
    )
    def approval_op(
        context: dg.AssetExecutionContext, config: ApprovalConfig
    ) -> Iterator[dg.MaterializeResult[Any]]:
        try:
            approval = approve(migration, context.run.run_id, config)
        except MigrationError as error:
            raise dg.Failure(
                str(error), metadata={"exit_code": error.exit_code}, allow_retries=False
            ) from error
        lacking = gate.missing(migration)
        yield dg.MaterializeResult(
            asset_key=keys.approval,
            metadata={
                "approved_by": approval.approved_by,
                "rehearsal_run_id": approval.rehearsal_run_id,
                "plan": approval.plan_digest,
                "accepted": _table(approval.accepted),
                "note": approval.note or "none",
                "still_missing": dg.MetadataValue.md(
                    "\n".join(f"- {line}" for line in lacking) or "nothing: the cutover may begin"
                ),
            },
        )

    return approval_op


def approval_job(migration: Migration) -> Any:
    """The job of the asset, by which the command line materializes it."""
    keys = Keys(migration.name)
    return dg.define_asset_job(
        keys.approve,
        selection=dg.AssetSelection.assets(keys.approval),
        description=f"Record that a cutover of {migration.name} may happen; changes nothing else.",
        executor_def=dg.in_process_executor,
        tags={"migration": migration.name},
    )


def approve(migration: Migration, run_id: str, config: ApprovalConfig) -> Approval:
    """Keep the approval of a rehearsal.

    Raises:
        InputError: the rehearsal can not be approved, or changed what is not accepted.
    """
    person = " ".join(config.approved_by.split())
    if not person:
        raise InputError("approved_by must name a person")
    rehearsal = gate.approvable(migration, config.rehearsal_run_id)
    accepted = tuple(
        Change(rule=item.rule, table=item.table, column=item.column, count=item.at_most)
        for item in config.accepted
    )
    if config.accept_as_rehearsed:
        named = {change.place for change in accepted}
        accepted += tuple(item for item in rehearsal.ledger if item.place not in named)
    approval = Approval(
        id=run_id,
        approved_by=person,
        approved_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        rehearsal_run_id=rehearsal.run_id,
        plan_digest=rehearsal.plan_digest or "",
        accepted=accepted,
        note=config.note.strip() or None,
    )
    lines = gate.unaccepted(approval, rehearsal.ledger, f"rehearsal {rehearsal.run_id}")
    if problems := list(lines):
        raise InputError(
            f"{'; '.join(problems)}: accept them with the most that may happen of each, or set "
            "accept_as_rehearsed"
        )
    history.write_approval(migration, approval)
    return approval


def _table(accepted: Sequence[Change]) -> dg.MetadataValue[Any]:
    records = [
        dg.TableRecord(
            {"rule": c.rule, "table": c.table, "column": c.column or "", "at_most": c.count}
        )
        for c in accepted
    ]
    columns = [dg.TableColumn(name) for name in ("rule", "table", "column")]
    columns.append(dg.TableColumn("at_most", "int"))
    return dg.MetadataValue.table(records, dg.TableSchema(columns))
