"""Commands of the user's own: what they get, what is kept of them, and how they are ended."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
import pytest

from migration_assets import commands, switch_env
from migration_assets.commands import Command
from migration_assets.core.config import MigrationConfig
from migration_assets.core.cutover_config import CutoverConfig
from migration_assets.errors import InputError
from migration_assets.passwords import known_passwords
from migration_assets.postgres.connect import Target
from migration_assets.postgres.variables import application_variables, variables
from migration_assets_tests.conftest import Server


def test_a_command_is_kept_with_its_output_and_without_what_is_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "k3y-of-the-shop")
    monkeypatch.setenv("OLD_URL", "http://proxy:80 mysql://app:old%20pw@db/shop?ssl=1")
    monkeypatch.setenv("SIGN_PRIVATE_KEY", "-----BEGIN KEY-----\nMIIEvQIBADANBg\n=")
    log = tmp_path / "run" / "commands" / "stop_app.log"
    command = Command(
        "stop_app",
        'cat; echo "$SHOP_API_KEY $OLD_URL old pw $DATABASE_URL"; '
        'echo "a = $SIGN_PRIVATE_KEY"; pwd; seq 100000; '
        "echo s3cr3t >&2; exit 7",
        30,
        tmp_path,
        {"DATABASE_URL": "postgresql://app:n3w@db/shop"},
        ("s3cr3t",),
    )
    said = commands.would_run(command)
    assert "exit 7" in said and "postgresql://app:***@db/shop" in said and "s3cr3t" not in said
    assert not log.exists()

    result = commands.run(command, log, given="a document\n")

    kept = log.read_text()
    assert kept.startswith(
        "a document\n*** http://proxy:80 mysql://app:***@db/shop?ssl=1 *** "
        f"postgresql://app:***@db/shop\na = ***\n***\n=\n{tmp_path}"
    )
    assert kept.endswith("100000\n***\n") and kept.endswith(result.output)
    assert len(result.output) == commands.KEPT_CHARACTERS
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    assert "s3cr3t" not in result.command and not result.passed
    assert result.problem == "stop_app ended with exit code 7: ***"


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    stubborn = "(trap '' TERM; sleep 900) & echo at work; sleep 900"
    started = time.monotonic()
    result = commands.run(Command("smoke", stubborn, 1, tmp_path), tmp_path / "log")
    assert time.monotonic() - started < 300
    assert result.exit_code is None
    assert result.problem == "smoke took longer than 1 s and was ended: at work"
    assert not [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(tmp_path)]

    # What a command that ended well leaves behind goes on: it may be the application.
    left = commands.run(
        Command("start_app", "sleep 900 > /dev/null 2>&1 & echo $! > pid", 600, tmp_path),
        tmp_path / "log",
    )
    application = psutil.Process(int((tmp_path / "pid").read_text()))
    assert left.passed and application.is_running() and left.seconds < 300
    application.kill()


def test_the_application_finds_its_schema_by_its_own_role(
    pg_server: Server, tmp_path: Path
) -> None:
    password, schema = "p@ss %/'w", 'the "shop"\\'
    with psycopg2.connect(pg_server.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE app LOGIN PASSWORD %s", [password])
        cursor.execute("CREATE SCHEMA " + '"the ""shop""\\"' + " AUTHORIZATION app")
        cursor.execute("CREATE TABLE " + '"the ""shop""\\"' + ".goods AS SELECT 42 AS id")
        cursor.execute("GRANT SELECT ON " + '"the ""shop""\\"' + ".goods TO app")
    connection.close()
    (tmp_path / "password").write_text(password + "\n")
    target = Target(pg_server.url, schema)
    url = f"postgresql://app@127.0.0.1:{pg_server.port}/postgres"
    config = CutoverConfig(
        app_url=f"{url}?application_name=shop&options=-cwork_mem%3D5MB",
        app_password_file="password",
    )
    for found in (
        application_variables(config, target, tmp_path),
        variables(Target(url, schema, tmp_path / "password"), schema),
        application_variables(CutoverConfig(), target, tmp_path),
    ):
        connection = psycopg2.connect(found["DATABASE_URL"])
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, current_user, current_setting('work_mem') FROM goods")
            [(number, user, memory)] = cursor.fetchall()
        connection.close()
        assert number == 42
        if "application_name=shop" in found["DATABASE_URL"]:
            assert (user, memory) == ("app", "5MB")
            assert quote(password, safe="") in found["DATABASE_URL"]
    plain = CutoverConfig(app_url=url, app_url_schema=False)
    assert application_variables(plain, target, tmp_path) == {
        "DATABASE_URL": url,
        "DATABASE_SCHEMA": schema,
    }
    prisma = CutoverConfig(app_url=f"{url}?schema=shop")
    assert application_variables(prisma, target, tmp_path)["DATABASE_URL"] == prisma.app_url
    plain = CutoverConfig(app_url_schema=False)
    assert "search_path" not in application_variables(plain, target, tmp_path)["DATABASE_URL"]
    nowhere = CutoverConfig(app_url="host=db dbname=shop", app_password_file="password")
    with pytest.raises(InputError, match="no place for the password"):
        application_variables(nowhere, target, tmp_path)


ENV = (
    b"\xef\xbb\xbf# DATABASE_URL=never\r\nNAME='caf\xe9'\r\n"
    b'TEXT="two\r\nDATABASE_URL=not this\r\n"\r\n'
    b"export DATABASE_URL = sqlite:///shop.db # of the shop\r\nLAST=1"
)


@pytest.mark.parametrize(
    ("content", "new", "after"),
    [
        (
            ENV,
            "postgresql://db/shop",
            ENV.replace(b"sqlite:///shop.db", b"postgresql://db/shop"),
        ),
        (
            b'A=1\nDATABASE_URL="x\\"y"\nDATABASE_URL=\'z\'\n',
            "postgresql://db/shop?a=1&b=2",
            b'A=1\nDATABASE_URL="postgresql://db/shop?a=1&b=2"\n'
            b"DATABASE_URL='postgresql://db/shop?a=1&b=2'\n",
        ),
        (b"A=1\nDATABASE_URL=\n", "p://h/d?a&$b", b"A=1\nDATABASE_URL='p://h/d?a&$b'\n"),
        (b"A=1", "p://h/d", b"A=1\nDATABASE_URL=p://h/d\n"),
        (b"", "p://h/d", b"DATABASE_URL=p://h/d\n"),
    ],
)
def test_one_variable_is_switched_and_back_and_all_else_stays(
    tmp_path: Path, content: bytes, new: str, after: bytes
) -> None:
    real, link, kept = tmp_path / "env", tmp_path / "link", tmp_path / "secrets" / "kept.json"
    real.write_bytes(content)
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 65_534, 65_534)
    link.symlink_to(real)
    owner = real.stat()

    first = switch_env.switch(link, "DATABASE_URL", new, kept)
    assert real.read_bytes() == after and link.is_symlink()
    assert first.changed and switch_env.value(link, "DATABASE_URL") == new
    again = switch_env.switch(link, "DATABASE_URL", new, kept)
    assert not again.changed and real.read_bytes() == after
    found = real.stat()
    assert (found.st_mode, found.st_uid, found.st_gid) == (
        owner.st_mode,
        owner.st_uid,
        owner.st_gid,
    )
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    back = switch_env.restore(kept)
    ended = content if content.endswith(b"\n") or b"DATABASE" in content else content + b"\n"
    assert real.read_bytes() == (ended if content else b"")
    assert back.changed and not back.meanwhile
    assert not switch_env.restore(kept).changed
    real.write_bytes(after.replace(b"/shop", b"/other").replace(b"/h/d", b"/h/e"))
    assert switch_env.restore(kept).meanwhile
    shell = shutil.which("dash") or "/bin/sh"
    if b"export" not in content and new:
        real.write_bytes(after)
        printed = subprocess.run(
            [shell, "-c", '. ./env; printf %s "$DATABASE_URL"'],
            cwd=tmp_path,
            capture_output=True,
            check=True,
        )
        assert printed.stdout.decode() == new


def test_a_file_that_can_not_be_switched_is_known_before(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    with pytest.raises(InputError, match="there is no file"):
        switch_env.check(tmp_path / "env")
    (tmp_path / "env").write_text("DATABASE_URL=mysql://app:s3cr3t@db/shop?key=s3cr3t\n")
    with pytest.raises(InputError, match="no line of .* can hold"):
        switch_env.switch(tmp_path / "env", "DATABASE_URL", "two\nlines", kept)
    with pytest.raises(InputError, match="nothing was switched"):
        switch_env.restore(tmp_path / "other.json")
    result = switch_env.switch(tmp_path / "env", "DATABASE_URL", "postgresql://a:b@db/shop", kept)
    assert (result.before, result.after) == (
        "mysql://app:***@db/shop",
        "postgresql://a:***@db/shop",
    )


def test_all_passwords_that_a_migration_knows_are_masked(tmp_path: Path) -> None:
    kept = {
        "secrets/production.password": "of-loader\n",
        "app.password": "of the app",
        "my": "of/my",
    }
    (tmp_path / "secrets").mkdir()
    for name, text in {**kept, "env": "A=1\nURL='mysql://shop:of-old@db/shop'\n"}.items():
        (tmp_path / name).write_text(text)
    config = MigrationConfig.model_validate({
        "name": "shop",
        "source": f"mysql://reader@db/shop?password_file={tmp_path}/my",
        "targets": {
            "staging": {"url": "postgresql://a:of%20stage@db/shop", "schema": "s"},
            "production": {"url": "postgresql://a@db/shop", "password_file": "gone"},
        },
        "cutover": {
            "app_password_file": "app.password", "hooks": {"switch_env": {"file": "env"}}
        },
    })  # fmt: skip
    assert set(known_passwords(config, tmp_path)) == {
        "of stage", "of-old", "of the app", "of/my", "of-loader"
    }  # fmt: skip
