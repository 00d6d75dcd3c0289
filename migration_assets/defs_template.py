"""The commented ``defs.yaml`` of a new migration."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from migration_assets.core.config import TargetConfig

_TEMPLATE = """\
# One migration: a source database into one PostgreSQL schema per target. docs/defs.md explains
# every key; an unknown key is an error.
type: {component}
attributes:
  # First part of its asset keys, and the target schema unless the target names another.
  name: {name}

  # The database to move. It is only ever read.
  source: {source}

  targets:
    staging:
      # "embedded" is the bundled PostgreSQL; else postgresql://user@host:port/database, without a
      # password: put that into a file that only you can read and name it in password_file, or
      # use PGPASSWORD or ~/.pgpass.
{target}

  # Which tables come: shell patterns against source names; exclude wins.
  # tables:
  #   include: ["*"]
  #   exclude: ["tmp_*"]

  # "create" makes the target's tables; "existing" fills those that the application's own
  # migrations made (docs/existing.md). With it schema_command is a command that makes them first,
  # such as npx prisma migrate deploy, and replace: true takes the place of rows that are there.
  # schema_mode: create
  # schema_command: null
  # schema_command_timeout: 600
  # replace: false

  # The source's names as they are (keep), or snake_case.
  # naming: keep

  # What datetimes without an offset mean; also per table and column in overrides.
  # source_timezone: Europe/Berlin

  # An index for every foreign key that no index of its table serves.
  # foreign_key_indexes: true

  # What is done about values and rows that PostgreSQL does not take as they are; also per table
  # and column in overrides. docs/fidelity.md lists the choices.
  # policies:
  #   invalid_utf8: escape

  # What you want of single tables and columns, by their names in the source.
  # overrides:
  #   {example}:
  #     rename: new_name
  #     columns:
  #       amount: {{type: "numeric(12,2)", rename: total, policies: {{unfit: fail}}}}
  #       old_notes: {{drop: true}}

  # Values that you change, by names in the source: a value map, an expression, or a function.
  # transforms:
  #   {example}:
  #     - {{column: status, values: {{"1": open, "2": closed}}, type: text}}
  #     - {{column: email, expression: lower(trim(email))}}

  # Indexes and constraints of your own, by names in PostgreSQL.
  # indexes:
  #   {example}:
  #     - {{columns: [name], unique: false, reason: "search by name"}}
  # constraints:
  #   {example}:
  #     - {{check: "total >= 0"}}

  # Great Expectations of your own; tables and columns are named as in PostgreSQL.
  # expectations:
  #   {example}:
  #     - type: expect_table_row_count_to_be_between
  #       kwargs: {{min_value: 1}}

  # in_process: all steps in one process; multiprocess: one process for each.
  # executor: in_process

  # When the nightly rehearsal runs (cron, UTC). It is stopped until you start it in the UI.
  # schedule: "0 2 * * *"

  # Run folders kept, the newest first.
  # keep_runs: 3

  # Where Parquet goes: a pyarrow.fs URI such as s3://bucket/prefix; by default the run's folder.
  # storage: s3://bucket/prefix

  # A run with more quarantined rows than this is not proven.
  # max_quarantined: 0

  # Going live: docs/cutover.md. It needs a second target, "production", beside staging.
  # What a cutover needs beside its approval; distinct counts rehearsals by runs or by days.
  # gate: {{rehearsals: 3, distinct: runs, app_checks_days: 0, restore_drill: true}}

  # Commands around it, each with a timeout in seconds, and when it may start by itself.
  # cutover:
  #   window: {{days: [sat, sun], from: "02:00", to: "05:00", timezone: Europe/Berlin}}
  #   hooks:
  #     stop_app: {{command: systemctl stop shop, timeout: 60}}
  #     switch_env: {{file: /etc/shop.env, variable: DATABASE_URL}}
  #     start_app: systemctl start shop
  #     enable_traffic: rm /srv/shop/maintenance.html
  #     revert: /srv/shop/back_to_the_old_database.sh

  # Commands that look whether the application works; DATABASE_URL names the loaded database.
  # app_checks:
  #   - {{name: suite, command: "npm test", timeout: 900}}
  #   - {{name: smoke, command: "./smoke.sh", environments: [production]}}

  # The role that the application connects as: what it may do stays as it was.
  # app_role: shop_app

  # Backups of the target, and of the source before it is left.
  # backup: {{keep: 7, jobs: 2, schedule: "0 3 * * *"}}

  # Columns of the source whose values are never shown.
  # sensitive:
  #   {example}: [email]

  # Who is told of a run that failed.
  # notify: {{webhook: "https://hooks.example/ops"}}

  # The look at production after the cutover.
  # watch: {{hours: 48, every_minutes: 15, thresholds: {{}}}}

  # Zone of the times in reports.
  # display_timezone: UTC

  # How often the daemon does the rest of a failed rehearsal again.
  # retries: 1

  # Minutes between two looks at the source for changes.
  # source_sensor_minutes: 5
{tables}"""


def render(
    component: str, name: str, source: str, target: TargetConfig, tables: Sequence[str] = ()
) -> str:
    """Write the YAML text.

    Args:
        component: dotted name of the component's class.
        name: the migration's name.
        source: source URL.
        target: the staging target.
        tables: source table names, listed as a comment.
    """
    asked = {"url", "password_file", "schema_name"}
    entries = target.model_dump(by_alias=True, exclude_none=True, include=asked)
    lines = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000).splitlines()
    listed = ""
    if tables:
        listed = "\n# Tables of the source:\n" + "".join(f"#   {_scalar(t)}\n" for t in tables)
    return _TEMPLATE.format(
        component=component,
        name=_scalar(name),
        source=_scalar(source),
        target="\n".join(f"      {line}" for line in lines),
        example=_scalar(tables[0]) if tables else "users",
        tables=listed,
    )


def _scalar(text: str) -> str:
    """One YAML scalar on one line, quoted where it must be."""
    style = None if text.isprintable() else '"'
    quoted: str = yaml.safe_dump(text, allow_unicode=True, width=1_000_000, default_style=style)
    return quoted.removesuffix("\n").removesuffix("\n...").strip()
