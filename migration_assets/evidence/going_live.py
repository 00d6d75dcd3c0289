"""The evidence of a cutover: its steps, and what of them keeps it from being proven."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from migration_assets.core.cutover_config import PRODUCTION
from migration_assets.core.evidence_live import CutoverEvidence, DrillEvidence, StepEvidence
from migration_assets.core.results import StepResult, SwapResult
from migration_assets.run_folder import RunFolder


def cutover_evidence(
    folder: RunFolder, environment: str, swapped: SwapResult | None
) -> CutoverEvidence | None:
    """The steps so far, None for a rehearsal."""
    if environment != PRODUCTION:
        return None
    from migration_assets import history  # of no concern to a rehearsal

    found = folder.read_results("steps", StepResult).values()
    drill = history.last_drill(folder.migration)
    return CutoverEvidence(
        swap_seconds=round(swapped.exchange_seconds, 3) if swapped else None,
        steps=tuple(
            StepEvidence(**vars(step)) for step in sorted(found, key=lambda s: s.started_at)
        ),
        rollback_drill=DrillEvidence(
            started_at=drill.started_at,
            environment=drill.environment,
            seconds_back=round(drill.seconds_back, 3),
            tables_compared=drill.account.compared if drill.account else 0,
            seconds=round(sum(step.seconds for step in drill.steps), 3),
        )
        if drill
        else None,
    )


def step_reasons(
    evidence: CutoverEvidence | None, planned: Collection[str], said: Collection[str]
) -> Iterator[str]:
    """A line for each step that failed or, once the tables are live, did not happen.

    Args:
        evidence: the steps, None for a rehearsal.
        planned: stages that the run was to do.
        said: reasons that are known.
    """
    if evidence is None:
        return
    from migration_assets.cutover import AFTER  # of no concern to a rehearsal

    for step in evidence.steps:
        # A swap that failed before may be tried again.
        tried = step.name != "swap" or "swap" in planned
        if tried and step.outcome == "failed" and step.detail not in said:
            yield f"{step.name}: {step.detail}"
    if "swap" in planned and evidence.swap_seconds is not None:
        taken = {step.name for step in evidence.steps}
        yield from (f"{name}: did not happen" for name in AFTER if name not in taken)
