"""The command line: ``migration-assets``.

Exit codes: 0 complete and proven, 1 not proven, 2 bad input (nothing written), 3 broken off
(the target is as it was).
"""

from __future__ import annotations

import os
import sys

import click

from migration_assets.errors import MigrationError
from migration_assets.lean import give_memory_back

INTERRUPTED = 3


class _Lazy(click.Group):
    """Imports a command's module only when it is called, so that every command starts quickly."""

    modules = (
        "approve",
        "backup",
        "baseline",
        "cutover",
        "export-csv",
        "init",
        "migrate",
        "pause",
        "plan",
        "preflight",
        "provision",
        "purge",
        "rehearse",
        "restore-drill",
        "resume",
        "rollback",
        "schema-diff",
        "status",
        "ui",
        "verify",
        "watch",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        from importlib import import_module

        command: click.Command = import_module(
            f"migration_assets.cli.{cmd_name.replace('-', '_')}"
        ).command
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="migration-assets")
def cli() -> None:
    """Move an application's database into PostgreSQL, and prove that every value is there."""


def main() -> None:
    """Run the command line; leaves with the exit code of the contract."""
    give_memory_back()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code.

    Args:
        arguments: as after the program's name.
    """
    try:
        result = cli.main(args=arguments, prog_name="migration-assets", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        click.echo("Stopped. The target is as it was.", err=True)
        return INTERRUPTED
    except MigrationError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0
