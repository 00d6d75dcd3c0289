"""``migration-assets ui``: the Dagster UI on the migration home."""

from __future__ import annotations

import click

from migration_assets import home as homes


@click.command("ui")
@click.option("--port", type=int, help="Port on 127.0.0.1; default: 3000 or the next free one.")
def command(port: int | None) -> None:
    """Open the Dagster UI on what has been run, until Ctrl-C.

    Webserver and daemon are started, and the embedded PostgreSQL is kept running.
    """
    from migration_assets.ui import serve  # psutil and the instance are needed by nothing else

    serve(homes.home_path(), port, click.echo)
