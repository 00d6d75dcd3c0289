"""The gate before the swap: what is not proven never goes live."""

from __future__ import annotations

from datetime import UTC, datetime

from migration_assets import ledger
from migration_assets.assets.run import Run
from migration_assets.core.evidence import Evidence
from migration_assets.errors import NotProvenError

_NAMED = 3
"""Reasons that the refusal names; the evidence has all of them."""


def require_proof(run: Run, target: str) -> Evidence:
    """Look whether everything before the swap has happened and holds.

    The steps before the swap stop a run by themselves. But a swap may also be asked for alone, or
    after a part of the run was done again, and then only what is in the run folder counts.

    Returns:
        the evidence so far.

    Raises:
        NotProvenError: something was not done, or did not hold; the message names it.
    """
    # Only at the end of a run, so that its start does not wait for it.
    from migration_assets.evidence import STAGES, build_evidence, miscounted

    evidence = build_evidence(
        run.folder,
        run.migration.config,
        target,
        run.id,
        run.job,
        run.started,
        datetime.now(UTC),
        planned=[stage for stage in STAGES if stage != "swap"],
    )
    reasons = [*evidence.run.reasons]
    entries, rows = (ledger.count(run.folder, kind) for kind in ledger.KINDS)
    reasons += miscounted(evidence, entries, rows)
    if not reasons:
        return evidence
    more = f"; and {len(reasons) - _NAMED} more reasons" if len(reasons) > _NAMED else ""
    raise NotProvenError(
        f"nothing goes live, because it is not proven: {'; '.join(reasons[:_NAMED])}{more}"
    )
