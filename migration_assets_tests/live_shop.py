"""A shop with staging and production, whose application is a few files that its hooks write."""

from __future__ import annotations

from pathlib import Path

from migration_assets import cli
from migration_assets.core.evidence import Evidence
from migration_assets.home import Migration
from migration_assets.launch import RunOutcome, launch
from migration_assets_tests.small_shop import configure, make_migration

HOOKS = (
    "  cutover:\n"
    "    hooks:\n"
    "      stop_app: 'echo stop >> app.log'\n"
    "      switch_env: {file: app.env}\n"
    "      start_app: 'echo start >> app.log'\n"
    "      enable_traffic: 'echo traffic >> app.log'\n"
    "      revert: 'echo revert >> app.log'\n"
)
"""The application's doings stand in ``app.log``, line by line."""


def make_live(
    home: Path, source: str, url: str, schema: str, more: str = "", hooks: str = HOOKS
) -> Migration:
    """A migration called ``shop`` into ``<schema>`` (production) and ``<schema>_s`` (staging)."""
    migration = make_migration(home, source, url, f"{schema}_s")
    text = migration.defs_yaml.read_text()
    production = f"    production: {{url: '{url}', schema: {schema}}}\n    staging:\n"
    migration.defs_yaml.write_text(text.replace("    staging:\n", production))
    (migration.folder / "app.env").write_text("PORT=80\nDATABASE_URL=sqlite:///shop.db\n")
    return configure(migration, f"{hooks}{more}")


def done(migration: Migration) -> list[str]:
    """What was done with the application so far."""
    log = migration.folder / "app.log"
    return log.read_text().split() if log.exists() else []


def rehearse(migration: Migration, times: int = 1) -> list[RunOutcome]:
    """Rehearsals that must be proven."""
    outcomes = [launch(migration, "shop_rehearsal") for _ in range(times)]
    assert all(outcome.success for outcome in outcomes), outcomes
    return outcomes


def approve(migration: Migration, *options: str) -> None:
    """Approve the latest rehearsal by the command."""
    assert command(migration, "approve", "shop", "--by", "Ada", *options) == 0


def command(migration: Migration, *arguments: str) -> int:
    """Run a command on the migration's home; returns its exit code."""
    import os

    from migration_assets import home as homes

    before = os.environ.get(homes.VARIABLE)
    os.environ[homes.VARIABLE] = str(migration.home)
    try:
        return cli.run(list(arguments))
    finally:
        if before is None:
            del os.environ[homes.VARIABLE]
        else:
            os.environ[homes.VARIABLE] = before


def cut_over(migration: Migration) -> tuple[RunOutcome, Evidence]:
    """One attempt at a cutover."""
    outcome = launch(migration, "shop_cutover")
    return outcome, Evidence.from_json(outcome.folder.evidence.read_bytes())
