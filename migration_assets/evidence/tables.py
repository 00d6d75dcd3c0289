"""The evidence of each table, and what keeps it from being proven."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from migration_assets.core import evidence as ev
from migration_assets.core.plan import Plan, TablePlan
from migration_assets.core.results import ContentResult, LoadResult, Manifest, SuiteResult
from migration_assets.run_folder import RunFolder

NAMED = 5
"""Tables and keys that one reason names."""

_NOT_DONE = {
    "source": "not extracted",
    "load": "not loaded",
    "content": "not compared cell by cell",
    "values": "not checked by Great Expectations",
}


def build_tables(
    folder: RunFolder,
    plan: Plan | None,
    manifests: Mapping[str, Manifest],
    planned: Collection[str],
) -> tuple[ev.TableEvidence, ...]:
    """The evidence of every planned table, in plan order."""
    loads = folder.read_results("load", LoadResult)
    contents = folder.read_results("content", ContentResult)
    suites = folder.read_results("values", SuiteResult)
    return tuple(
        _table(
            table,
            manifests.get(table.slug),
            loads.get(table.slug),
            contents.get(table.slug),
            suites.get(table.slug),
            planned,
        )
        for table in (plan.tables if plan else ())
    )


def _table(
    table: TablePlan,
    manifest: Manifest | None,
    load: LoadResult | None,
    content: ContentResult | None,
    suite: SuiteResult | None,
    planned: Collection[str],
) -> ev.TableEvidence:
    possible = {
        "extract": _source_check(manifest),
        "load": _load_check(manifest, load),
        "content": _content_check(manifest, content),
        "values": _values_check(suite),
    }
    checks = tuple(check for stage, check in possible.items() if stage in planned)
    stages = {"extract": manifest, "load": load, "content": content, "values": suite}
    return ev.TableEvidence(
        name=table.source,
        target=table.name,
        slug=table.slug,
        passed=all(check.passed for check in checks),
        rows_source=manifest.source_rows if manifest else None,
        rows_loaded=load.rows if load else None,
        rows_identical=content.identical if content else None,
        ledger=sum(manifest.ledger.values()) if manifest else 0,
        quarantined=manifest.quarantined if manifest else 0,
        missing=content.missing if content else None,
        extra=content.extra if content else None,
        changed=content.changed if content else None,
        columns_differing=_differing(content) if content else (),
        differences=tuple(
            ev.DifferenceEvidence.model_validate(vars(difference))
            for difference in (content.differences if content else ())[: ev.MAX_DIFFERENCES]
        ),
        checks=checks,
        expectations=tuple(
            ev.ExpectationEvidence(**vars(result)) for result in (suite.results if suite else ())
        ),
        seconds={stage: round(r.seconds, 3) for stage, r in stages.items() if r is not None},
        parquet=ev.ParquetEvidence(path=manifest.path, bytes=manifest.bytes, digest=manifest.digest)
        if manifest
        else None,
        bytes_copied=load.bytes if load else None,
    )


def _source_check(manifest: Manifest | None) -> ev.Check:
    if manifest is None:
        return _not_run("source")
    problems = list(manifest.mismatches)
    if manifest.rows + manifest.quarantined != manifest.source_rows:
        problems.append(
            f"{manifest.source_rows:,} rows in the source, {manifest.rows:,} extracted, "
            f"{manifest.quarantined:,} in quarantine"
        )
    good = f"{manifest.rows:,} rows extracted with the source's own counts, sums and extremes"
    return _ran("source", problems, good)


def _load_check(manifest: Manifest | None, load: LoadResult | None) -> ev.Check:
    if load is None:
        return _not_run("load")
    problems = []
    if manifest is None or load.rows != manifest.rows:
        extracted = f"{manifest.rows:,}" if manifest else "no"
        problems.append(f"{extracted} rows extracted, {load.rows:,} loaded")
    return _ran("load", problems, f"{load.rows:,} rows loaded")


def _content_check(manifest: Manifest | None, content: ContentResult | None) -> ev.Check:
    if content is None:
        return _not_run("content")
    problems = []
    if not content.passed:
        counts = [
            f"{count:,} {kind}"
            for kind in ("missing", "extra", "changed")
            if (count := getattr(content, kind))
        ]
        keys = ", ".join(difference.key for difference in content.differences[:NAMED])
        columns = ", ".join(f'"{name}"' for name in _differing(content)[:NAMED])
        problems.append(
            f"rows {', '.join(counts)}"
            + (f", in columns {columns}" if columns else "")
            + (f", keys {keys}" if keys else "")
        )
    if manifest is None:
        problems.append("compared without an extract")
    elif content.passed and content.identical != manifest.source_rows - manifest.quarantined:
        problems.append(
            f"{content.identical:,} rows identical, {manifest.source_rows:,} in the source, "
            f"{manifest.quarantined:,} in quarantine"
        )
    return _ran("content", problems, f"{content.identical:,} rows identical in every cell")


def _differing(content: ContentResult) -> tuple[str, ...]:
    """The columns that the listed differences are in, in the order they turned up."""
    found = (difference.column for difference in content.differences)
    return tuple(dict.fromkeys(column for column in found if column is not None))


def _values_check(suite: SuiteResult | None) -> ev.Check:
    if suite is None:
        return _not_run("values")
    failed = [result for result in suite.results if not result.passed]
    problems = [
        (f'column "{result.column}": ' if result.column else "")
        + f"{result.expectation} ({result.expected}) "
        + (f"failed: {_first_line(result.error)}" if result.error else f"found {result.observed}")
        for result in failed[:NAMED]
    ]
    if len(failed) > NAMED:
        problems.append(f"{len(failed) - NAMED} more expectations do not hold")
    return _ran("values", problems, f"{len(suite.results)} expectations hold")


def _first_line(error: str) -> str:
    """The part of a driver's message that says what is wrong; the rest quotes the statement."""
    return error.partition("; LINE ")[0].partition("; [SQL")[0]


def _ran(name: str, problems: Sequence[str], good: str) -> ev.Check:
    return ev.Check(
        name=name, passed=not problems, ran=True, detail="; ".join(problems) if problems else good
    )


def _not_run(name: str) -> ev.Check:
    return ev.Check(name=name, passed=False, ran=False, detail="did not happen")


def table_reasons(built: Sequence[ev.TableEvidence]) -> Iterator[str]:
    """A line per failed check of a table, then one line per check that tables did not get."""
    for table in built:
        for check in table.checks:
            if check.ran and not check.passed:
                yield f'table "{table.name}", {check.name}: {check.detail}'
    for name, words in _NOT_DONE.items():
        undone = [
            table.name
            for table in built
            for check in table.checks
            if check.name == name and not check.ran
        ]
        if undone:
            more = f" and {len(undone) - NAMED} more" if len(undone) > NAMED else ""
            named = ", ".join(f'"{table}"' for table in undone[:NAMED])
            noun = "table was" if len(undone) == 1 else "tables were"
            yield f"{len(undone)} {noun} {words}: {named}{more}"
