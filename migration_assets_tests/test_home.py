"""The migration home: folders, names, secrets, configuration errors, pruning."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from migration_assets import home as homes
from migration_assets import retention
from migration_assets.errors import InputError

SOURCE = "sqlite:////data/My shop.db"


def write_defs(home: Path, text: str, name: str = "shop") -> Path:
    path = home / name / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def attributes(extra: str = "") -> str:
    return f"type: {homes.COMPONENT}\nattributes:\n  name: shop\n  source: {SOURCE}\n{extra}"


def test_home_is_the_variable_or_migrations_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(homes.VARIABLE, raising=False)
    assert homes.home_path() == tmp_path / "migrations"
    monkeypatch.setenv(homes.VARIABLE, str(tmp_path / "elsewhere"))
    assert homes.home_path() == tmp_path / "elsewhere"
    assert not (tmp_path / "migrations").exists()


def test_created_migration_reads_back(tmp_path):
    made = homes.create(tmp_path, "shop", SOURCE, schema="app")
    again = homes.load(tmp_path, "shop")
    assert made == again
    assert again.config.source == SOURCE
    assert again.config.schema_of("staging") == "app"
    assert again.config.targets["staging"].url == "embedded"
    assert homes.migration_names(tmp_path) == ["shop"]


def test_password_goes_to_a_private_file_and_never_into_the_yaml(tmp_path):
    made = homes.create(
        tmp_path, "shop", SOURCE, "postgres://me:s%40cret$@db:5433/app?sslmode=require"
    )
    text = made.defs_yaml.read_text()
    assert "cret$" not in text and "%40" not in text
    target = made.config.targets["staging"]
    assert target.url == "postgresql://me@db:5433/app?sslmode=require"
    password = made.folder / target.password_file
    assert password.read_text() == "s@cret$"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(password.parent.stat().st_mode) == 0o700


def test_password_in_the_query_is_taken_out_as_well():
    url, password = homes.split_password("postgresql://me@/app?host=/tmp/x&password=a%26b")
    assert (url, password) == ("postgresql://me@/app?host=/tmp/x", "a&b")


def test_target_that_is_no_url_is_an_error_without_its_text(tmp_path):
    with pytest.raises(InputError) as caught:
        homes.create(tmp_path, "shop", SOURCE, "host=db password=hunter2")
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "shop").exists()


def found(home, *wanted):
    name, migration = homes.choose(home, *wanted)
    return migration or homes.create(home, name, *wanted)


def test_same_source_target_and_schema_are_the_same_migration(tmp_path):
    first = found(tmp_path, SOURCE)
    assert first.name == "my_shop"
    assert found(tmp_path, SOURCE) == first
    assert homes.choose(tmp_path, SOURCE, None, "my_shop")[1] == first


def test_other_schema_target_or_file_of_the_same_stem_gets_a_name_of_its_own(tmp_path):
    makes = [
        (SOURCE, None, None),
        (SOURCE, None, "other"),
        (SOURCE, "postgresql://me@db/app", None),
        ("sqlite:////elsewhere/my-shop.sqlite", None, None),
    ]
    names = [found(tmp_path, *make).name for make in makes]
    assert names[0] == "my_shop"
    assert len(set(names)) == 4
    assert all(len(name) == len("my_shop_") + 4 for name in names[1:])
    assert [found(tmp_path, *make).name for make in makes] == names
    # A second one of the same source may be a surprise, so the command line names the first.
    (tmp_path / names[1] / "defs.yaml").write_text("broken")
    assert homes.of_the_same_source(found(tmp_path, SOURCE)) == [names[2]]


def test_new_password_of_a_known_target_is_kept(tmp_path):
    first = found(tmp_path, SOURCE, "postgresql://me:old@db/app")
    again = found(tmp_path, SOURCE, "postgresql://me:new@db/app")
    assert again.name == first.name
    homes.keep_password(again, "postgresql://me:new@db/app")
    assert (again.folder / "secrets" / "staging.password").read_text() == "new"


def test_password_given_later_is_used_by_the_runs_to_come(tmp_path):
    first = found(tmp_path, SOURCE, "postgresql://me@db/app")
    assert first.config.targets["staging"].password_file is None
    homes.keep_password(first, "postgresql://me:late@db/app")
    again = homes.load(tmp_path, first.name)
    assert again.config.targets["staging"].password_file == "secrets/staging.password"


def test_a_target_of_the_environment_is_known_again_and_its_password_is_not_kept(
    tmp_path, monkeypatch
):
    first = found(tmp_path, SOURCE, "postgresql://me@db/app")
    text = first.defs_yaml.read_text()
    first.defs_yaml.write_text(text.replace("postgresql://me@db/app", '"{{ env.DATABASE_URL }}"'))
    for password in ("one", "two"):
        url = f"postgresql://me:{password}@db/app"
        monkeypatch.setenv("DATABASE_URL", url)
        again = found(tmp_path, SOURCE, url)
        assert again.name == first.name
        homes.keep_password(again, url)
        target = homes.load(tmp_path, first.name).config.targets["staging"]
        assert target.url == url and target.password_file is None


def test_name_dagster_is_not_given_to_a_migration(tmp_path):
    assert found(tmp_path, "sqlite:////x/dagster.db").name.startswith("dagster_")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (attributes("  tabels: {}\n"), 'unknown key "tabels"'),
        (
            attributes("  targets: {staging: {url: embedded, shema: x}}\n"),
            'unknown key "targets.staging.shema"',
        ),
        (attributes() + "attribute: 1\n", 'unknown key "attribute"'),
        (attributes("  keep_runs: 0\n"), 'key "keep_runs"'),
        (attributes('  schedule: "61 * * * *"\n'), 'key "schedule": "61 * * * *" is not a cron'),
        (attributes("  storage: nope://x\n"), 'key "storage": Unrecognized filesystem type'),
        (f"type: {homes.COMPONENT}\nattributes: {{name: shop}}\n", 'key "source" is missing'),
        (attributes().replace("shop\n", "other\n"), "that of its folder"),
        ("type: [\n", "is not YAML"),
        ("- 1\n", "must be a mapping"),
        ("type: other.Component\nattributes: {}\n", 'key "type"'),
    ],
)
def test_wrong_defs_yaml_is_one_line_naming_file_and_key(tmp_path, text, words):
    path = write_defs(tmp_path, text)
    with pytest.raises(InputError) as caught:
        homes.load(tmp_path, "shop")
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message


def test_missing_migration_is_one_line(tmp_path):
    with pytest.raises(InputError, match='no migration "shop"'):
        homes.load(tmp_path, "shop")


def test_environment_variables_in_defs_yaml_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TARGET", "postgresql://me@db/app")
    write_defs(tmp_path, attributes("  targets: {staging: {url: '{{ env.SHOP_TARGET }}'}}\n"))
    assert homes.load(tmp_path, "shop").config.targets["staging"].url == "postgresql://me@db/app"


def test_dagster_home_is_private_and_keeps_the_users_changes(tmp_path):
    folder = homes.dagster_home(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    config = folder / "dagster.yaml"
    assert yaml.safe_load(config.read_text())["telemetry"] == {"enabled": False}
    config.write_text("telemetry: {enabled: false}\n# mine\n")
    assert homes.dagster_home(tmp_path) == folder
    assert "# mine" in config.read_text()


def test_dagster_yaml_of_the_repository_is_the_one_in_the_package():
    root = Path(homes.__file__).parents[1]
    if not (root / "dagster.yaml").exists():
        pytest.skip("installed without the repository")
    assert (root / "dagster.yaml").read_text() == (
        root / "migration_assets/dagster.yaml"
    ).read_text()


def test_pruning_keeps_the_current_run_the_live_one_and_the_newest(tmp_path):
    import os

    migration = homes.create(tmp_path, "shop", SOURCE)
    # On another disk: rmtree refuses a link, as it does what the account may not delete.
    (tmp_path / "disk").mkdir()
    (migration.folder / "runs" / "linked").symlink_to(tmp_path / "disk")
    for age, run in enumerate(["new", "newer_failed", "linked", "old", "live", "oldest"]):
        folder = migration.run_folder(run).create()
        if run == "live":
            folder.write_text("results/swap/all.json", "{}")
        os.utime(folder.path, (1e9 - age, 1e9 - age))
    warned: list[str] = []
    assert sorted(retention.prune(migration, "oldest", warned.append)) == ["newer_failed", "old"]
    left = {f.path.name for f in retention.run_folders(migration)}
    assert left == {"oldest", "live", "new", "linked"}
    assert len(warned) == 1 and "not dropped" in warned[0]
