"""What ``defs.yaml`` may say: every wrong word is one line that names its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from migration_assets import home as homes
from migration_assets.components import DatabaseMigrationComponent
from migration_assets.core.config import MigrationConfig
from migration_assets.core.types import PgType, parse_type
from migration_assets.errors import InputError
from migration_assets_tests.small_shop import configure, make_migration, make_source


def read(tmp_path: Path, attributes: str) -> MigrationConfig:
    path = tmp_path / "defs.yaml"
    document = {
        "type": homes.COMPONENT,
        "attributes": {"name": "shop", "source": "sqlite:///a.db", **yaml.safe_load(attributes)},
    }
    path.write_text(yaml.safe_dump(document))
    return homes.read_config(path)


@pytest.mark.parametrize(
    ("attributes", "place", "problem"),
    [
        ("naming: camel", 'key "naming"', "snake_case"),
        ("targets: {staging: {}, live: {}}", "targets", 'has "live"'),
        ("targets: {production: {}}", "targets", "needs staging"),
        ("targets: {staging: {}, production: {}}", "same schema", "another schema"),
        ("targets: {staging: {role: ''}}", 'key "targets.staging.role"', "one character"),
        ("gate: {rehearsals: 0}", 'key "gate.rehearsals"', "greater than or equal to 1"),
        ("cutover: {window: {from: '24:00'}}", 'key "cutover.window.from"', "no time of day"),
        ("cutover: {hooks: {stop_app: ''}}", 'key "cutover.hooks.stop_app.command"', "1 character"),
        (
            "app_checks: [{name: a, command: x}, {name: a, command: y}]",
            '"app_checks"',
            'called "a"',
        ),
        ("source_timezone: Europe/Atlantis", 'key "source_timezone"', "no time zone"),
        ("policies: {umlauts: keep}", 'key "policies"', 'unknown anomaly "umlauts"'),
        ("policies: {orphans: quarantine}", 'key "policies"', "not_valid, drop_key, fail"),
        (
            "overrides: {users: {columns: {id: {policies: {orphans: fail}}}}}",
            'key "overrides.users.columns.id.policies"',
            "not a column",
        ),
        (
            "overrides: {users: {columns: {id: {type: char(3)}}}}",
            'key "overrides.users.columns.id.type"',
            "trailing spaces",
        ),
        (
            "overrides: {users: {columns: {id: {type: 'numeric(3,5)'}}}}",
            'key "overrides.users.columns.id.type"',
            "precision",
        ),
        (
            "overrides: {users: {columns: {id: {conversion: guess}}}}",
            'key "overrides.users.columns.id.conversion"',
            "'decimal'",
        ),
        (
            "overrides: {users: {columns: {id: {drop: true, rename: x}}}}",
            'key "overrides.users.columns.id"',
            "needs no other key",
        ),
        ("overrides: {users: {colums: {}}}", '"overrides.users.colums"', "unknown key"),
        (
            "transforms: {users: [{column: a, values: {1: x}, expression: lower(a)}]}",
            'key "transforms.users.0"',
            "exactly one of",
        ),
        ("transforms: {users: [{values: {1: x}}]}", 'key "transforms.users.0"', "a function"),
        (
            "transforms: {users: [{column: a, values: {true: x}}]}",
            'key "transforms.users.0.values"',
            "in quotes",
        ),
        ("indexes: {users: [{unique: true}]}", 'key "indexes.users.0"', "columns or expressions"),
        (
            "indexes: {users: [{columns: [a], method: tree}]}",
            'key "indexes.users.0.method"',
            "'gin'",
        ),
        ("constraints: {users: [{}]}", 'key "constraints.users.0"', "check or unique"),
    ],
)
def test_a_wrong_word_is_one_line_that_names_its_place(
    tmp_path: Path, attributes: str, place: str, problem: str
) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path, attributes)
    line = str(refused.value)
    assert "\n" not in line
    assert place in line
    assert problem in line


def test_null_is_a_choice_in_yaml_and_stays_one(tmp_path: Path) -> None:
    config = read(tmp_path, "overrides: {a: {columns: {b: {policies: {unfit: fail}}}}}")
    assert config.overrides["a"].columns["b"].policies == {"unfit": "fail"}
    dumped = MigrationConfig.model_validate(config.model_dump(by_alias=True))
    assert dumped == config


def test_the_component_passes_on_all_that_shapes_the_plan(tmp_path: Path) -> None:
    migration = make_migration(tmp_path / "home", make_source(tmp_path / "shop.db"))
    migration = configure(
        migration,
        "  foreign_key_indexes: false\n"
        "  policies: {orphans: drop_key}\n"
        '  overrides: {"order items": {policies: {orphans: not_valid}}}\n',
    )
    component = DatabaseMigrationComponent.of(migration)
    assert component.migration.config.plan == migration.config.plan
    assert not component.plan.foreign_key_indexes
    assert component.plan.overrides["order items"].policies == {"orphans": "not_valid"}


def test_every_key_that_init_writes_as_a_comment_can_be_taken_as_it_stands(tmp_path: Path) -> None:
    migration = make_migration(tmp_path / "home", make_source(tmp_path / "shop.db"))
    lines = migration.defs_yaml.read_text().splitlines()
    blocks: dict[str, list[str]] = {}
    key = ""
    for line in lines:
        bare = line.removeprefix("  # ")
        if bare == line or not bare.strip():
            key = ""
        elif (name := bare.partition(":")[0]) in MigrationConfig.model_fields:
            key = name
            blocks[key] = [bare]
        elif key and bare.startswith("  "):
            blocks[key].append(bare)
    written = {"name", "source", "targets"}
    assert blocks.keys() == MigrationConfig.model_fields.keys() - written
    for name, block in blocks.items():
        attributes = {"name": "shop", "source": "x", **yaml.safe_load("\n".join(block))}
        assert name in attributes
        MigrationConfig.model_validate(attributes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DECIMAL( 12 , 2 )", PgType("numeric", (12, 2))),
        ("numeric(5)", PgType("numeric", (5, 0))),
        ("numeric", PgType("numeric")),
        ("character varying(7)", PgType("varchar", (7,))),
        ("int", PgType("integer")),
        ("double  precision", PgType("double precision")),
        ("timestamp with time zone", PgType("timestamptz")),
        ("timestamp without time zone", PgType("timestamp")),
    ],
)
def test_a_type_is_read_in_postgresqls_spellings(text: str, expected: PgType) -> None:
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "money", "text[]", "timestamp(7)", "varchar(0)", "varchar(1,2)", "numeric(0)", "text; --"],
)
def test_a_type_that_cannot_be_loaded_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="here|varchar is|numeric is"):
        parse_type(text)
