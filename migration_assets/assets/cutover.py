"""A cutover in Dagster: each of its steps around the load is an asset of production."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import dagster as dg

from migration_assets import cutover, gate, gone_live, history, source_state, unfinished
from migration_assets.assets.keys import GATE, Keys
from migration_assets.assets.run import RUN_FOLDER, Run, step
from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.evidence import Evidence
from migration_assets.core.history import Change, Cutover
from migration_assets.core.results import SourceResult, StepResult, SwapResult
from migration_assets.cutover import Place
from migration_assets.errors import NotProvenError
from migration_assets.home import Migration
from migration_assets.jobs import executor_of

_TEXTS = {
    "preflight": "Gate and preflight: what a cutover needs. Nothing is touched before it passes.",
    "stop_app": "The application is stopped: hook stop_app.",
    "freeze": "The source stands still: hook freeze, and a backup of it.",
    "backup": "What is live is in a backup that was restored.",
    "switch_env": "The application is told its new database: hook switch_env.",
    "start_app": "The application is started on the new database: hook start_app.",
    "smoke": "The application's checks pass on production.",
    "enable_traffic": "Users are let in: hook enable_traffic.",
}


def cutover_assets(migration: Migration) -> list[dg.AssetsDefinition]:
    """The steps before the extract, before the swap, and after it."""
    keys = Keys(migration.name)
    works: dict[str, Callable[[Run], None]] = {
        "preflight": _preflight,
        "stop_app": lambda run: _hook(run, "stop_app"),
        "freeze": _freeze,
        "backup": _backup,
        "switch_env": lambda run: _after(run, lambda place: cutover.switch(place)),
        "start_app": lambda run: _after(run, lambda place: cutover.hook(place, "start_app")),
        "smoke": lambda run: _after(run, cutover.smoke),
        "enable_traffic": lambda run: _after(
            run, lambda place: cutover.hook(place, "enable_traffic")
        ),
    }
    before = {"preflight": keys.approval, "backup": keys.step(PRODUCTION, "constraints")}
    order = [*cutover.BEFORE, "backup", "swap", *cutover.AFTER]
    for earlier, later in pairwise(order):
        before.setdefault(later, keys.step(PRODUCTION, earlier))
    return [_asset(migration, name, [before[name]], work) for name, work in works.items()]


def cutover_job(migration: Migration) -> Any:
    """Everything from the preflight to the traffic."""
    keys = Keys(migration.name)
    groups = dg.AssetSelection.groups(
        keys.group(GATE), keys.group("extract"), keys.group(PRODUCTION)
    )
    return dg.define_asset_job(
        keys.cutover,
        selection=groups - dg.AssetSelection.assets(keys.approval),
        description=(
            f"The cutover of {migration.name}: gate and preflight, stop, freeze, extract, load, "
            "checks, backup, swap, switch, start, smoke test, traffic. Refused if anything is "
            "missing."
        ),
        executor_def=executor_of(migration),
        tags={"migration": migration.name},
    )


def _asset(
    migration: Migration, name: str, deps: Sequence[dg.AssetKey], work: Callable[[Run], None]
) -> dg.AssetsDefinition:
    keys = Keys(migration.name)
    key = keys.step(PRODUCTION, name)

    @dg.multi_asset(
        name=f"{migration.name}_{PRODUCTION}_{name}",
        specs=[
            dg.AssetSpec(
                key,
                deps=deps,
                description=_TEXTS[name],
                group_name=keys.group(GATE if name in cutover.BEFORE else PRODUCTION),
                kinds={"shell"} if name not in ("preflight", "backup") else {"postgres"},
            )
        ],
        required_resource_keys={keys.run_resource},
        pool=migration.name,
    )
    def step_op(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        run: Run = getattr(context.resources, keys.run_resource)
        with step(run, context, name):
            work(run)
            record = cutover.done(run.folder, name)
            assert record is not None, "every work leaves its record"
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "outcome": record.outcome,
                    "detail": record.detail,
                    "seconds": record.seconds,
                    RUN_FOLDER: dg.MetadataValue.path(str(run.folder.path)),
                },
            )

    return step_op


def place_of(run: Run) -> Place:
    """The cutover that a run is."""
    return Place(run.migration, run.folder, run.target(PRODUCTION))


def _preflight(run: Run) -> None:
    with cutover.recorded(run.folder, "preflight") as say:
        refuse(cutover.missing(run.migration, run.id))
        say(f"nothing is missing, {place_of(run).target.location} can be written")


def _freeze(run: Run) -> None:
    admitted(run)
    cutover.freeze(place_of(run))


def _backup(run: Run) -> None:
    admitted(run)
    cutover.back_up(place_of(run))


def refuse(lines: Sequence[str]) -> None:
    """End the run if anything is missing.

    Raises:
        NotProvenError: there is; names it.
    """
    if lines:
        raise NotProvenError(f"the cutover is refused: {'; '.join(lines)}")


def _hook(run: Run, name: str) -> None:
    admitted(run)
    cutover.hook(place_of(run), name)


def _after(run: Run, work: Callable[[Place], object]) -> None:
    """Do a step that belongs after the swap.

    Raises:
        NotProvenError: the run has not gone live, or is not live any more.
    """
    place = place_of(run)
    gone_live.check_live(place.target, run.migration.name, run.folder)
    work(place)


def admitted(run: Run) -> None:
    """Refuse to touch production in a run that did not pass its preflight, or has gone live.

    Raises:
        NotProvenError: it did not, or it has.
    """
    if cutover.done(run.folder, "preflight") is None:
        raise NotProvenError(
            f"{PRODUCTION} is only written to by the job {Keys(run.migration.name).cutover}, after "
            "its preflight"
        )
    place = place_of(run)
    gone_live.check_not_live(place.target, run.folder)
    unfinished.check_standing(place)


def go_live(
    run: Run,
    plan_digest: str,
    evidence: Evidence,
    exchange: Callable[[Callable[[], None] | None], SwapResult],
) -> SwapResult:
    """Let a cutover go live, if it may, and write it into the history.

    Args:
        run: the cutover.
        plan_digest: of the plan that it follows.
        evidence: of all that happened so far.
        exchange: does it; what it is given is called at the end of its transaction, and undoes
            it by an error. None if an earlier attempt has gone live.

    Raises:
        NotProvenError: it may not; the message lists what is missing, or what moved. Or it went
            live before, and was taken back.
    """
    still = moved = None
    place = place_of(run)
    if gone_live.went_live(place.target, run.folder):
        gone_live.check_live(place.target, run.migration.name, run.folder)
        if not _is_known(run):  # its process ended before the last look at the source
            moved = _moved(run)
    else:
        _require(run, plan_digest, history.changes(evidence))
        moved = _moved(run)

        def still() -> None:
            if (line := moved()) is not None:
                raise NotProvenError(
                    f"the source was written to after the final snapshot: {line}; nothing was "
                    "swapped and nothing is lost: stop what writes to it, then start a new cutover"
                )

        still()
    with cutover.recorded(run.folder, "swap") as say:
        result = exchange(still)
        say(
            f'schema "{result.schema}" went live in {result.exchange_seconds:.3f} s, at try '
            f"{result.attempts}"
        )
    _keep(run, plan_digest, result)
    if moved is not None and (line := moved()) is not None:
        # Between the last look and the commit; no transaction spans both databases.
        raise NotProvenError(
            f"the source was written to in the moment in which it went live: {line}; the "
            "application was told nothing yet: carry that over yourself and re-execute from "
            f"failure, or take the cutover back with migration-assets rollback {run.migration.name}"
        )
    return result


def _require(run: Run, plan_digest: str, found: Sequence[Change]) -> None:
    """Look whether a run may go live: all of the gate again, and its own part of it.

    Raises:
        NotProvenError: it may not; the message lists what is missing.
    """
    admitted(run)
    lines = gate.missing(run.migration, run_id=run.id)
    lines += gate.missing_of_run(run.migration, run.id, plan_digest, found)
    lines += [
        f"step {name} was not taken in this run"
        for name in (*cutover.BEFORE, "backup")
        if cutover.done(run.folder, name) is None
    ]
    refuse(list(dict.fromkeys(lines)))


def _moved(run: Run) -> Callable[[], str | None]:
    """What says, each time it is called, what was written to the source since the snapshot."""
    before = source_state.kept(run.folder)
    if before is None:
        raise NotProvenError("it is not known where the source stood: start a new cutover")
    source = run.migration.source()

    def moved() -> str | None:
        found = source.moved_since(before, run.folder.snapshot)
        return found.line if found else None

    return moved


def _is_known(run: Run) -> bool:
    """Whether the history says that the run went live."""
    return any(known.run_id == run.id for known in history.cutovers(run.migration))


def _keep(run: Run, plan_digest: str, swapped: SwapResult) -> None:
    """Write into the history that the run went live."""
    if _is_known(run):
        return
    approval = gate.standing_approval(run.migration, run.id)
    source = run.folder.read_result("source", "all", SourceResult)
    record = run.folder.read_result("steps", "swap", StepResult)
    target = run.target(PRODUCTION)
    assert approval is not None and record is not None, "the swap asked for both"
    cutover_record = Cutover(
        run_id=run.id,
        approval_id=approval.id,
        live_at=record.started_at,
        location=target.location,
        schema_name=swapped.schema,
        previous=swapped.previous,
        snapshot_id=source.snapshot_id if source else None,
        plan_digest=plan_digest,
    )
    history.write_cutover(run.migration, cutover_record)
