"""``schema_mode: existing`` in the steps of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from migration_assets.assets.run import Run
from migration_assets.assets.upstream import Loaded
from migration_assets.core.catalog import Catalog
from migration_assets.core.plan import Plan
from migration_assets.core.planner import build_plan
from migration_assets.core.results import Finding, StatementResult, SwapResult
from migration_assets.core.sensitive import names

if TYPE_CHECKING:
    from migration_assets.core.structure import Structure

# What it needs is imported where it is used: a run that makes its target waits for none of it.


def is_existing(run: Run) -> bool:
    """Whether the run fills tables that the application's own migrations made."""
    return run.migration.config.schema_mode == "existing"


def moves_rows(run: Run) -> bool:
    """Whether the tables are those that are served, and rows move into them."""
    return is_existing(run) and run.migration.config.schema_command is None


def existing_structure(run: Run, catalog: Catalog) -> Structure | None:
    """The schema that the run loads into, made by ``schema_command`` if there is one; kept.

    Raises:
        InputError: there is none, the command failed, or the source does not fit in.
    """
    if not is_existing(run):
        return None
    from migration_assets.existing import prepare

    config, target = run.migration.config, run.target(run.environment)
    prepare.preflight(target, config)
    structure = prepare.read(target) if moves_rows(run) else _built(run, run.environment)
    declared = build_plan(catalog, None, config.plan, structure)
    prepare.check_fit(target, structure, declared, config)
    run.folder.write_structure(structure)
    return structure


def drop_built(run: Run) -> None:
    """Leave the target as it was, when a command has made tables that nothing goes into."""
    from migration_assets.postgres import swap

    if is_existing(run) and not moves_rows(run):
        swap.drop_incoming(
            run.target(run.environment), run.incoming(run.environment), run.migration.name, run.id
        )


def _built(run: Run, target: str) -> Structure:
    from migration_assets.existing import prepare

    return prepare.build(
        run.target(target),
        run.incoming(target),
        run.migration.config,
        run.id,
        run.migration.folder,
        run.folder,
    )


def prepare_existing(run: Run, target: str, plan: Plan) -> None:
    """Make the tables of the incoming schema ready for the load.

    Raises:
        InputError: tables can not be loaded; names one.
    """
    from migration_assets.existing import prepare

    config, destination = run.migration.config, run.target(target)
    structure = run.folder.structure()
    if moves_rows(run):
        prepare.preflight(destination, config)
    else:
        _built(run, target)
    prepare.check_fit(destination, structure, plan, config)
    prepare.prepare(destination, run.incoming(target), structure, plan, not moves_rows(run))


def finish_existing(run: Run, target: str, plan: Plan) -> list[StatementResult]:
    """Make keys, indexes and references as the application has them."""
    from migration_assets.existing import constraints, prepare

    structure = run.folder.structure()
    return constraints.apply(
        run.target(target),
        run.incoming(target),
        structure,
        prepare.loaded_tables(structure, plan, not moves_rows(run)),
        plan,
        run.folder.profile(),
        run.folder,
        run.progress,
        # What a command built knows nothing of the schema that is live.
        also=(structure.schema,) if moves_rows(run) else (),
    )


def existing_findings(run: Run, target: str, place: Loaded, plan: Plan) -> list[Finding]:
    """What is not as the application made it."""
    from migration_assets.existing import findings, prepare

    structure = place.folder.structure()
    built = not moves_rows(run)
    return findings.findings(
        run.target(target),
        place.schema,
        structure,
        prepare.loaded_tables(structure, plan, built),
        plan,
        place.folder.profile(),
        also=(structure.schema,) if not built and place.schema != structure.schema else (),
    )


def move(
    run: Run,
    target: str,
    plan: Plan,
    snapshot_id: str | None,
    rows: int,
    still: Callable[[], None] | None,
) -> SwapResult:
    """Let the proven rows move into the application's tables."""
    from migration_assets.postgres.move_rows import move_rows

    return move_rows(
        run.target(target),
        run.incoming(target),
        run.folder.structure(),
        [table.name for table in plan.tables],
        run.migration.name,
        run.id,
        replace=run.migration.config.replace,
        plan_digest=plan.digest,
        snapshot_id=snapshot_id,
        rows=rows,
        still=still,
        hidden={name for table in plan.tables for name in names(table)},
    )
