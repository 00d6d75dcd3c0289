"""Write the evidence and the report into the run folder."""

from __future__ import annotations

import pyarrow.parquet as pq

from migration_assets import ledger
from migration_assets.core.evidence import Evidence, Verdict
from migration_assets.core.sensitive import shown_entry
from migration_assets.evidence import miscounted
from migration_assets.reports.html import LEDGER_SAMPLE, render_html
from migration_assets.run_folder import RunFolder


def write(folder: RunFolder, evidence: Evidence, zone: str = "UTC") -> Evidence:
    """Merge ledger and quarantine, complete the evidence by them, write both results.

    Args:
        folder: the run's folder.
        evidence: so far.
        zone: in which the report shows times of day.

    Returns:
        the evidence as written. Entries that the extracts counted and the ledger does not hold
        (or the other way round) make it not proven.
    """
    entries, ledger_digest = ledger.merge(folder, "ledger")
    rows, quarantine_digest = ledger.merge(folder, "quarantine")
    reasons = list(evidence.run.reasons)
    reasons += miscounted(evidence, entries, rows)
    run = evidence.run
    if len(reasons) > len(run.reasons):
        proven = run.verdict is Verdict.PROVEN
        run = run.model_copy(
            update={
                "reasons": tuple(reasons),
                "verdict": Verdict.NOT_PROVEN if proven else run.verdict,
                "exit_code": run.exit_code or 1,
            }
        )
    written = evidence.model_copy(
        update={
            "run": run,
            "ledger": evidence.ledger.model_copy(
                update={"entries": entries, "digest": ledger_digest, "path": folder.ledger.name}
            ),
            "quarantine": evidence.quarantine.model_copy(
                update={
                    "rows": rows,
                    "digest": quarantine_digest,
                    "path": folder.quarantine.name,
                }
            ),
        }
    )
    folder.write_text(folder.evidence.name, written.to_json())
    folder.write_text(
        folder.report.name,
        render_html(
            written, _first_entries(folder, "ledger"), _first_entries(folder, "quarantine"), zone
        ),
    )
    return written


def _first_entries(folder: RunFolder, kind: ledger.Kind) -> list[dict[str, str | None]]:
    """The first entries of ledger or quarantine for people, read without the rest of it."""
    with pq.ParquetFile(getattr(folder, kind), memory_map=False) as file:
        batch = next(file.iter_batches(LEDGER_SAMPLE), None)
    if batch is None:
        return []
    tables = {table.source: table for table in folder.plan().tables} if folder.has_plan else {}
    return [shown_entry(entry, tables) for entry in batch.slice(0, LEDGER_SAMPLE).to_pylist()]
