"""Gather what the steps of a run left in its folder into the evidence, and decide the verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import TypeAdapter

from migration_assets.core import evidence as ev
from migration_assets.core.catalog import UNREADABLE, SkippedObject
from migration_assets.core.config import MigrationConfig
from migration_assets.core.plan import Plan
from migration_assets.core.results import (
    CommandResult,
    Finding,
    Manifest,
    ObjectCount,
    PlanResult,
    SourceResult,
    StageResult,
    StatementResult,
    StepFailure,
    SwapResult,
    TargetResult,
    rule_and_column,
)
from migration_assets.evidence import tables
from migration_assets.evidence.app_checks import APP_CHECK, app_check_evidence, as_check
from migration_assets.evidence.environment import environment, tool
from migration_assets.evidence.going_live import cutover_evidence, step_reasons
from migration_assets.postgres.connect import redact
from migration_assets.run_folder import RunFolder
from migration_assets.verify.agreement import views_of

T = TypeVar("T")

STAGES = ("extract", "load", "content", "values", "constraints", "structure", "swap")
"""What a whole run must have done; a verification of a loaded database does fewer."""

STAGE_ORDER = ("snapshot", "extract", "load", "checks", *STAGES[2:], "report")

_STATEMENTS: TypeAdapter[tuple[StatementResult, ...]] = TypeAdapter(tuple[StatementResult, ...])
_COUNTS: TypeAdapter[tuple[ObjectCount, ...]] = TypeAdapter(tuple[ObjectCount, ...])
_FINDINGS: TypeAdapter[tuple[Finding, ...]] = TypeAdapter(tuple[Finding, ...])


def build_evidence(
    folder: RunFolder,
    config: MigrationConfig,
    target_name: str,
    run_id: str,
    job: str,
    started_at: datetime,
    finished_at: datetime,
    failure: str | None = None,
    broken_off: bool = False,
    planned: Collection[str] = STAGES,
) -> ev.Evidence:
    """Gather the evidence of a run from whatever its steps left behind.

    A stage of ``planned`` that did not happen keeps the run from being proven, and is named.

    Args:
        folder: the run's folder.
        config: the migration.
        target_name: the target environment.
        run_id: the run's id.
        job: the name of its job.
        started_at: start of the run, with a time zone.
        finished_at: its end, with a time zone.
        failure: why the run failed, in one line, beyond the failures that its steps recorded.
        broken_off: True if source or target was lost.
        planned: the stages that the run was to do, of STAGES.
    """
    plan = folder.kept_plan() if (folder.path / "plan.json").exists() else None
    manifests = folder.manifests()
    built = tables.build_tables(folder, plan, manifests, planned)
    statements = _list(folder, "constraints", _STATEMENTS)
    findings = _list(folder, "structure", _FINDINGS)
    swapped = folder.read_result("swap", "all", SwapResult)
    quarantined = sum(manifest.quarantined for manifest in manifests.values())
    checks = _target_checks(
        planned,
        statements,
        findings,
        swapped,
        quarantined,
        config.allowed_in_quarantine(target_name),
    )
    app_checks = app_check_evidence(folder, config, target_name)
    if swapped and "swap" in planned:
        checks += tuple(as_check(check) for check in app_checks)
    failures = list(folder.read_results("failures", StepFailure).values())
    live = cutover_evidence(folder, target_name, swapped)
    reasons = _reasons(failure, failures, plan, built, checks, statements, findings)
    reasons = tuple(dict.fromkeys([*reasons, *step_reasons(live, planned, reasons)]))
    codes = {f.exit_code for f in failures}
    broken_off = broken_off or 3 in codes
    seconds = (finished_at - started_at).total_seconds()
    return ev.Evidence(
        evidence_version=1,
        tool=tool(),
        run=ev.Run(
            id=run_id,
            job=job,
            migration=config.name,
            started_at=_utc(started_at),
            finished_at=_utc(finished_at),
            seconds=round(seconds, 3),
            verdict=_verdict(reasons, broken_off),
            exit_code=_exit_code(reasons, broken_off, codes, failure),
            reasons=reasons,
        ),
        source=_source(folder, config),
        target=_target(folder, config, target_name, swapped),
        plan=_plan(folder, plan),
        stages=_stages(folder, built, statements),
        tables=built,
        ledger=_ledger(folder, manifests),
        quarantine=ev.QuarantineEvidence(
            rows=quarantined,
            allowed=config.allowed_in_quarantine(target_name),
            digest=None,
            path=folder.quarantine.name if folder.quarantine.exists() else None,
            by_cause=_causes(manifests),
        ),
        constraints=tuple(ev.StatementEvidence(**vars(result)) for result in statements or ()),
        findings=tuple(ev.FindingEvidence(**vars(finding)) for finding in findings or ()),
        skipped=_skipped(folder, plan),
        objects=tuple(
            ev.ObjectEvidence(**vars(c)) for c in _list(folder, "objects", _COUNTS) or ()
        ),
        uncompared=_uncompared(plan, manifests) if "structure" in planned else (),
        schema_command=_schema_command(folder),
        cutover=live,
        app_checks=app_checks,
        checks=_summary(built, checks),
        environment=environment(),
    )


def miscounted(evidence: ev.Evidence, entries: int, rows: int) -> Iterator[str]:
    """A line for each of ledger and quarantine that does not hold what the extracts counted.

    Args:
        evidence: counts of the extracts.
        entries: entries found in the ledger.
        rows: rows found in the quarantine.
    """
    if not all(table.parquet for table in evidence.tables):
        return
    for what, counted, found in (
        ("ledger entries", evidence.ledger.entries, entries),
        ("quarantined rows", evidence.quarantine.rows, rows),
    ):
        if counted != found:
            yield f"{counted:,} {what} counted by the extracts, {found:,} in the file"


def _list(folder: RunFolder, stage: str, kind: TypeAdapter[T]) -> T | None:
    path = folder.path / "results" / stage / "all.json"
    return kind.validate_json(path.read_bytes()) if path.exists() else None


def _target_checks(
    planned: Collection[str],
    statements: Sequence[StatementResult] | None,
    findings: Sequence[Finding] | None,
    swapped: SwapResult | None,
    quarantined: int,
    allowed: int,
) -> tuple[ev.Check, ...]:
    checks = [
        ev.Check(
            name="quarantine",
            passed=quarantined <= allowed,
            ran=True,
            detail=f"{quarantined:,} rows in quarantine, {allowed:,} allowed",
        )
    ]
    if "constraints" in planned:
        failed = [result for result in statements or () if result.error]
        detail = f"{len(failed)} of {len(statements or ())} objects could not be made"
        checks.append(_check("constraints", statements is not None, not failed, detail))
    if "structure" in planned:
        for category in ("schema", "keys", "references"):
            count = sum(finding.category == category for finding in findings or ())
            detail = f"{count} objects are not as planned"
            checks.append(_check(category, findings is not None, not count, detail))
    if "swap" in planned:
        detail = f'schema "{swapped.schema}" went live' if swapped else ""
        if swapped and swapped.app_rights is not None:
            detail += f"; app_role lost none of its rights and has {swapped.app_rights}"
        checks.append(_check("swap", swapped is not None, True, detail))
    return tuple(checks)


def _check(name: str, ran: bool, passed: bool, detail: str) -> ev.Check:
    return ev.Check(
        name=name, passed=ran and passed, ran=ran, detail=detail if ran else "did not happen"
    )


def _reasons(
    failure: str | None,
    failures: Iterable[StepFailure],
    plan: Plan | None,
    built: Sequence[ev.TableEvidence],
    checks: Sequence[ev.Check],
    statements: Sequence[StatementResult] | None,
    findings: Sequence[Finding] | None,
) -> tuple[str, ...]:
    reasons = [step.message for step in failures]
    if failure:
        reasons.append(failure)
    if plan is None:
        reasons.append("there is no plan: the source was not read")
    reasons += [
        f'table "{item.name}" can not be read: {item.reason}; leave it out with tables: exclude '
        "in defs.yaml if it is not needed"
        for item in (plan.skipped if plan else ())
        if item.kind == UNREADABLE
    ]
    reasons += tables.table_reasons(built)
    reasons += [
        f'{result.kind} "{result.name}"'
        + (f' of table "{result.table}"' if result.table else "")
        + f" could not be made: {result.error}"
        for result in statements or ()
        if result.error
    ]
    reasons += [
        f'{finding.category} of table "{finding.table}": {finding.object}: {finding.problem}'
        for finding in findings or ()
    ]
    reasons += [f"{check.name}: {check.detail}" for check in checks if not check.ran]
    own = ("quarantine", APP_CHECK)
    reasons += [c.detail for c in checks if c.ran and not c.passed and c.name.startswith(own)]
    return tuple(dict.fromkeys(reasons))


def _verdict(reasons: Sequence[str], broken_off: bool) -> ev.Verdict:
    if broken_off:
        return ev.Verdict.BROKEN_OFF
    return ev.Verdict.NOT_PROVEN if reasons else ev.Verdict.PROVEN


def _exit_code(
    reasons: Sequence[str], broken_off: bool, codes: set[int], failure: str | None
) -> int:
    if broken_off:
        return 3
    if codes == {2} and not failure:
        return 2
    return 1 if reasons else 0


def _source(folder: RunFolder, config: MigrationConfig) -> ev.SourceEvidence:
    source = folder.read_result("source", "all", SourceResult)
    if source is None:
        kind = config.source.partition(":")[0]
        return ev.SourceEvidence(
            kind=kind, location=redact(config.source), snapshot_id=None, taken_at=None, bytes=None
        )
    return ev.SourceEvidence(**vars(source))


def _target(
    folder: RunFolder, config: MigrationConfig, name: str, swapped: SwapResult | None
) -> ev.TargetEvidence:
    target = folder.read_result("target", "all", TargetResult)
    return ev.TargetEvidence(
        name=name,
        location=target.location if target else redact(config.targets[name].url),
        schema=target.schema if target else config.schema_of(name),
        previous=swapped.previous if swapped else None,
        swapped=swapped is not None,
        server_version=target.server_version if target else None,
    )


def _schema_command(folder: RunFolder) -> ev.SchemaCommandEvidence | None:
    result = folder.read_result("schema_command", "all", CommandResult)
    return ev.SchemaCommandEvidence(**vars(result)) if result else None


def _plan(folder: RunFolder, plan: Plan | None) -> ev.PlanEvidence:
    followed = folder.read_result("plan", "all", PlanResult)
    # What was withdrawn after the load makes no other plan: the next run plans it again.
    planned = plan.digest if plan else None
    digest = followed.digest if followed else planned
    cached = followed.cached_digest if followed else None
    decisions = tuple(ev.DecisionEvidence(**vars(d)) for d in plan.decisions) if plan else ()
    return ev.PlanEvidence(
        digest=digest,
        cached_digest=cached,
        changed=digest != cached if digest and cached else None,
        decision_count=len(decisions),
        decisions=decisions,
    )


def _stages(
    folder: RunFolder,
    built: Sequence[ev.TableEvidence],
    statements: Sequence[StatementResult] | None,
) -> dict[str, float]:
    """The stages' own times; where a stage kept none, the sum over its tables."""
    noted = {r.name: r.seconds for r in folder.read_results("stages", StageResult).values()}
    if not noted:
        for table in built:
            for stage, seconds in table.seconds.items():
                noted[stage] = noted.get(stage, 0.0) + seconds
        if statements:
            noted["constraints"] = sum(result.seconds for result in statements)
    order = {name: position for position, name in enumerate(STAGE_ORDER)}
    names = sorted(noted, key=lambda name: (order.get(name, len(order)), name))
    return {name: round(noted[name], 3) for name in names}


def _ledger(folder: RunFolder, manifests: dict[str, Manifest]) -> ev.LedgerEvidence:
    def by_rule(counted: Callable[[Manifest], dict[str, int]]) -> tuple[ev.LedgerRule, ...]:
        return tuple(
            ev.LedgerRule(rule=rule, table=manifest.source, column=column, count=count)
            for manifest in manifests.values()
            for (rule, column), count in (
                (rule_and_column(key), count) for key, count in sorted(counted(manifest).items())
            )
        )

    rules = by_rule(lambda manifest: manifest.ledger)
    return ev.LedgerEvidence(
        entries=sum(rule.count for rule in rules),
        digest=None,
        path=folder.ledger.name if folder.ledger.exists() else None,
        by_rule=rules,
        led_back=by_rule(lambda manifest: manifest.led_back),
    )


def _causes(manifests: dict[str, Manifest]) -> tuple[ev.QuarantineCause, ...]:
    return tuple(
        ev.QuarantineCause(
            anomaly=anomaly, table=manifest.source, column=column or None, count=count
        )
        for manifest in manifests.values()
        for (anomaly, _, column), count in (
            (key.partition(":"), count) for key, count in sorted(manifest.set_aside.items())
        )
    )


def _skipped(folder: RunFolder, plan: Plan | None) -> tuple[ev.SkippedEvidence, ...]:
    found: tuple[SkippedObject, ...] = ()
    if plan is not None:
        found = plan.skipped
    elif (folder.path / "catalog.json").exists():
        found = folder.catalog().skipped
    return tuple(ev.SkippedEvidence(**vars(skipped)) for skipped in found)


def _uncompared(
    plan: Plan | None, manifests: dict[str, Manifest]
) -> tuple[ev.UncomparedEvidence, ...]:
    """The views that read tables of which rows are in quarantine: the source has those rows."""
    tables_ = plan.tables if plan else ()
    aside = {t.name for t in tables_ if t.slug in manifests and manifests[t.slug].quarantined}
    if plan is None or not aside:
        return ()
    reason = "reads a table of which rows are in quarantine, so it gives other rows in the source"
    return tuple(
        ev.UncomparedEvidence(kind="view", name=name, reason=reason)
        for name in sorted(views_of(plan, aside))
    )


def _summary(built: Sequence[ev.TableEvidence], checks: Sequence[ev.Check]) -> ev.ChecksEvidence:
    everything = [*checks, *(check for table in built for check in table.checks)]
    return ev.ChecksEvidence(
        passed=sum(check.passed for check in everything),
        failed=sum(check.ran and not check.passed for check in everything),
        not_run=sum(not check.ran for check in everything),
        target=tuple(checks),
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
