"""``migration-assets provision``: database, owner, loader and application role of a target."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from migration_assets import home as homes
from migration_assets import provision
from migration_assets.core.cutover_config import PRODUCTION, STAGING
from migration_assets.core.naming import quote
from migration_assets.errors import InputError
from migration_assets.postgres import provision as roles
from migration_assets.postgres.script import rendered


@click.command("provision")
@click.argument("name")
@click.option(
    "--environment",
    type=click.Choice([STAGING, PRODUCTION]),
    help="Which target; default: production if defs.yaml has it.",
)
@click.option(
    "--admin",
    metavar="URL",
    help="Look at this server as a role that may make roles, and print what lacks; without it "
    "the script is for a server that has none of it.",
)
@click.option("--apply", is_flag=True, help="Make it, instead of printing it; needs --admin.")
@click.option("--owner", help="Role that owns what is made; default: role of the target.")
@click.option("--loader", help="Role that runs connect as; default: the user in the target's URL.")
@click.option("--app", help="Role of the application; default: app_role.")
@click.option("--new-passwords", is_flag=True, help="Change both passwords, with --apply.")
def command(
    name: str,
    environment: str | None,
    admin: str | None,
    apply: bool,
    owner: str | None,
    loader: str | None,
    app: str | None,
    new_passwords: bool,
) -> int:
    """Print, or make, what the target of migration NAME needs, with least rights.

    The owner owns what is made and can not log in; the loader may become the owner, and nothing
    else; the application reads and writes rows. Passwords are generated into files that only you
    can read, and are shown nowhere.

    Exit codes: 0 printed or made, 2 bad input, or PostgreSQL refuses; nothing was changed then.
    """
    migration = homes.load(homes.home_path(), name)
    environment = environment or (PRODUCTION if PRODUCTION in migration.config.targets else STAGING)
    made = provision.of(migration, environment, owner, loader, app)
    if (apply or new_passwords) and admin is None:
        raise InputError("--apply needs --admin URL, of a role that may make roles and databases")
    if new_passwords and not apply:
        raise InputError("--new-passwords needs --apply")
    known = roles.look(admin, made.wanted) if admin else roles.Known()
    files = _apply(admin, made, known, new_passwords) if apply and admin else []
    _print(made, known, applied=apply)
    for path in files:
        click.echo(f"-- Password written: {path}")
    for line in roles.warnings(made.wanted, known):
        click.echo(f"warning: {line}", err=True)
    lacking = provision.settings(migration, environment, made)
    if lacking:
        click.echo("\n-- For the attributes in defs.yaml:")
        text = yaml.safe_dump(lacking, sort_keys=False, allow_unicode=True, width=1000)
        for line in text.splitlines():
            click.echo(f"--   {line}")
    return 0


def _print(made: provision.Provision, known: roles.Known, *, applied: bool) -> None:
    database = roles.create_database(made.wanted, known)
    steps = roles.steps(made.wanted, known)
    if database is None and not steps:
        click.echo("-- Nothing lacks: database, roles and rights are there.")
        return
    if database is not None:
        click.echo(f"{rendered(database.statement)};")
    if not applied:
        click.echo(f"\\connect {quote(made.wanted.database)}")
    click.echo("BEGIN;")
    for step in steps:
        click.echo(f"{rendered(step.statement)};  -- {step.why}")
    click.echo("COMMIT;")
    for step in steps:
        if step.login and not applied:
            click.echo(f"\\password {quote(step.login)}")


def _apply(
    admin: str, made: provision.Provision, known: roles.Known, new_passwords: bool
) -> list[Path]:
    """Make what lacks; returns the files that got a password."""
    fresh = {step.login for step in roles.steps(made.wanted, known) if step.login}
    logins = (made.loader, made.app)
    chosen, files = provision.passwords(logins, fresh, anew=new_passwords)
    with provision.kept(files):
        roles.apply(admin, made.wanted, known, chosen)
    return list(files)
