"""The container files hold together: safe ports, health checks, storage that really works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from dagster import DagsterInstance, job, op

from migration_assets.postgres import embedded
from migration_assets_tests.conftest import Server

DOCKER = Path(__file__).resolve().parents[1] / "docker"
EXAMPLES = sorted(DOCKER.glob(".env.*.example"))
SERVICES = {"postgres", "mysql", "mongodb", "code_location", "webserver", "daemon"}
LOCAL_DEFAULTS = {"5432", "3306", "27017"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return loaded


def compose_command() -> list[str] | None:
    """``docker compose`` or the older ``docker-compose``, None without either."""
    if shutil.which("docker"):
        plugin = ["docker", "compose"]
        if subprocess.run([*plugin, "version"], capture_output=True).returncode == 0:
            return plugin
    return ["docker-compose"] if shutil.which("docker-compose") else None


@pytest.mark.skipif(compose_command() is None, reason="docker compose is not installed")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_compose_accepts_the_file_with_every_example(example: Path) -> None:
    command = compose_command()
    assert command is not None
    done = subprocess.run(
        [*command, "--env-file", str(example), "-f", str(DOCKER / "compose.yaml"), "config"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "webserver" in yaml.safe_load(done.stdout)["services"]


def test_all_services_are_there_with_health_checks(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == SERVICES
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service["healthcheck"]["retries"] > 1, name
    assert "pg_isready" in compose["services"]["postgres"]["healthcheck"]["test"][1]


def test_ports_are_open_on_this_machine_only_and_collide_with_no_local_server(
    compose: dict[str, Any],
) -> None:
    published = [port for s in compose["services"].values() for port in s.get("ports", [])]
    assert len(published) == 4
    for port in published:
        match = re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-([0-9]+)\}:[0-9]+", port)
        assert match, port
        assert match[1] not in LOCAL_DEFAULTS
    assert "127.0.0.1:${POSTGRES_PORT:-5433}:5432" in published


def test_data_is_in_named_volumes(compose: dict[str, Any]) -> None:
    named = {v.split(":")[0] for s in compose["services"].values() for v in s["volumes"]}
    assert set(compose["volumes"]) <= named


def test_no_password_stands_in_the_compose_file() -> None:
    for line in (DOCKER / "compose.yaml").read_text().splitlines():
        for value in re.findall(r"(?:PASSWORD: |//[a-z]+:)(\S+)", line):
            assert value.startswith("${"), line


def test_only_examples_of_environment_files_are_kept() -> None:
    assert len(EXAMPLES) == 3
    ignored = (DOCKER.parent / ".gitignore").read_text().splitlines()
    assert ".env.*" in ignored
    for example in EXAMPLES:
        if "development" not in example.name:
            passwords = re.findall(r"PASSWORD=(.*)", example.read_text())
            assert set(passwords) == {"change-me"}


def test_examples_set_whatever_the_compose_file_requires() -> None:
    required = set(re.findall(r"\$\{([A-Z_]+):\?", (DOCKER / "compose.yaml").read_text()))
    for example in EXAMPLES:
        given = dict(re.findall(r"^([A-Z_]+)=(.*)$", example.read_text(), re.MULTILINE))
        assert all(given.get(name) for name in required), example.name


@pytest.mark.parametrize(
    ("service", "subcommand"),
    [("code_location", ["api", "grpc"]), ("webserver", []), ("daemon", ["run"])],
)
def test_service_runs_a_command_that_exists(
    compose: dict[str, Any], service: str, subcommand: list[str]
) -> None:
    program, *arguments = compose["services"][service]["command"]
    assert arguments[: len(subcommand)] == subcommand
    shown = subprocess.run(
        [Path(sys.executable).with_name(program), *subcommand, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(word in shown for word in arguments if word.startswith("--"))


def test_storage_in_postgresql_keeps_a_run(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(DOCKER / "dagster.yaml", tmp_path / "dagster.yaml")
    url = database.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("DAGSTER_STORAGE_URL", url)

    @op
    def step() -> int:
        return 1

    @job
    def small() -> None:
        step()

    with DagsterInstance.from_config(str(tmp_path)) as instance:
        run_id = small.execute_in_process(instance=instance).run_id
        assert not instance.telemetry_enabled
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None and run.is_success
        assert instance.all_logs(run_id)


def test_first_start_makes_a_role_that_may_create_schemas_only(pg_server: Server) -> None:
    subprocess.run(
        ["sh", str(DOCKER / "postgres" / "init.sh")],
        check=True,
        capture_output=True,
        env={
            "PATH": f"{embedded.program('psql').parent}:{os.environ['PATH']}",
            "PGHOST": str(embedded.data_folder(pg_server.home)),
            "PGPORT": str(pg_server.port),
            "POSTGRES_USER": "postgres",
            "DAGSTER_DB_PASSWORD": "it's $pecial",
            "MIGRATOR_DB_PASSWORD": "other",
        },
    )
    dagster = psycopg2.connect(
        host="127.0.0.1",
        port=pg_server.port,
        user="dagster",
        password="it's $pecial",
        dbname="dagster",
    )
    dagster.close()
    connection = psycopg2.connect(pg_server.tcp("migrator", "other", "app"))
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA shop")
        cursor.execute("SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = 'migrator'")
        assert cursor.fetchone() == (False,)
    connection.close()
