"""The figures of one benchmark as a Markdown table."""

from __future__ import annotations

from typing import Any


def markdown(result: dict[str, Any]) -> str:
    """Render what ``run.py`` measured."""
    summary, conditions = result["summary"], result["conditions"]
    lines = [
        f"# {result['rows']:,} rows of {result['source']}, {conditions['when'][:10]}",
        "",
        f"{conditions['cores']} cores ({conditions['processor']}), load average "
        f"{conditions['load_average']:.1f} before and "
        f"{conditions.get('load_average_after', 0):.1f} after; PostgreSQL "
        f"{conditions.get('postgresql', {}).get('server_version', '?')}, Python "
        f"{conditions['python']}, pgloader {conditions['pgloader']}; median of "
        f"{len(result['rounds'])}.",
        "",
        "| | seconds | rows/s | peak RSS | peak PSS | to pgloader |",
        "|---|---|---|---|---|---|",
    ]
    rows, theirs = result["rows"], summary["pgloader_seconds"]
    for label, name in (
        ("this project, everything proven", "migrate"),
        ("this project, less verification", "migrate_unverified"),
        ("this project, load step only", "migrate_load"),
        ("pgloader, unverified", "pgloader"),
        ("raw binary COPY, ready-made bytes", "copy"),
        ("the same with FREEZE", "copy_freeze"),
    ):
        seconds = summary[f"{name}_seconds"]
        if seconds:
            cells = [
                label,
                f"{seconds:.2f}",
                f"{rows / seconds:,.0f}",
                _megabytes(summary.get(f"{name}_peak_rss")),
                _megabytes(summary.get(f"{name}_peak_pss")),
                f"{seconds / theirs:.2f}" if theirs else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    if summary["load_to_copy"]:
        lines += [
            "",
            f"Load step to raw COPY: {summary['load_to_copy']:.2f} "
            f"(to COPY with FREEZE: {summary['load_to_copy_freeze']:.2f}).",
        ]
    lines += _stages(result) + _others(result)
    return "\n".join(lines) + "\n"


def _megabytes(size: float | None) -> str:
    return f"{size / 1e6:.0f} MB" if size else ""


def _stages(result: dict[str, Any]) -> list[str]:
    last = next((r["migrate"] for r in reversed(result["rounds"]) if "migrate" in r), None)
    if not last or not last["stages"]:
        return []
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in last["stages"].items())
    return ["", f"Stages of the last round, in seconds: {stages}. Verdict: {last['verdict']}."]


def _others(result: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    dirty, whole = result.get("dirty"), result["summary"]["migrate_seconds"]
    if dirty and whole:
        lines += [
            "",
            f"With {dirty['values']:,} dirty values: {dirty['seconds']:.2f} s, "
            f"{dirty['seconds'] / whole:.2f} of the clean run.",
        ]
    if result.get("empty_tables"):
        lines += ["", "| empty tables | seconds | peak RSS |", "|---|---|---|"]
        lines += [
            f"| {tables} | {m['seconds']:.1f} | {_megabytes(m['peak_rss'])} |"
            for tables, m in result["empty_tables"].items()
        ]
    if result.get("ui"):
        ui = result["ui"]
        lines += [
            "",
            f"UI with {ui['tables']} tables: all {ui['assets']} assets answered over GraphQL "
            f"{ui['seconds']:.1f} s after the start.",
        ]
    return lines
