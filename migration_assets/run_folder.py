"""The folder of one run: where each step leaves what the next one, and the evidence, needs.

Everything below it is readable by its owner only. Parquet files may live elsewhere, on any
``pyarrow.fs`` URI; all else is local.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pyarrow import fs
from pydantic import TypeAdapter

from migration_assets.core import results
from migration_assets.core.catalog import Catalog, SkippedObject
from migration_assets.core.kept_plan import Dangling, with_dangling, without
from migration_assets.core.plan import Plan
from migration_assets.core.profile import Profile
from migration_assets.core.results import ObjectCount

if TYPE_CHECKING:
    from migration_assets.core.structure import Structure

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """Paths and records of one run.

    Attributes:
        path: the run's local folder.
        storage: a ``pyarrow.fs`` URI for Parquet, None for ``<path>/extract``.
        home: the migration's folder, None for the one that ``path`` is in (``runs/<id>``).
    """

    path: Path
    storage: str | None = None
    home: Path | None = None

    @property
    def migration(self) -> Path:
        """The migration's folder, where the functions of its transforms may be."""
        return self.home or self.path.parent.parent

    def create(self) -> RunFolder:
        """Make the folders (0700) if they are not there; returns self."""
        for part in ("", "raw", "ledger", "quarantine", "progress", "results"):
            (self.path / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        filesystem, root = self.filesystem()
        if isinstance(filesystem, fs.LocalFileSystem):
            Path(root).mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            filesystem.create_dir(root, recursive=True)
        return self

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process or thread at a time do what all of them need once."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """The file system and the folder in it that hold this run's Parquet files."""
        if self.storage is None:
            return fs.LocalFileSystem(), str(self.path / "extract")
        filesystem, root = fs.FileSystem.from_uri(self.storage)
        return filesystem, f"{root}/{self.path.name}"

    @property
    def snapshot(self) -> Path:
        """The copied source, where the source is one file."""
        return self.path / "snapshot.db"

    def raw(self, slug: str) -> Path:
        """The Arrow IPC file of one table's lanes, between profile and conversion."""
        return self.path / "raw" / f"{slug}.arrow"

    def ledger_part(self, slug: str) -> Path:
        """One table's part of the ledger."""
        return self.path / "ledger" / f"{slug}.parquet"

    def quarantine_part(self, slug: str) -> Path:
        """One table's part of the quarantine."""
        return self.path / "quarantine" / f"{slug}.parquet"

    def refused_part(self, slug: str) -> Path:
        """The rows of one table that PostgreSQL refused in this run's load."""
        return self.path / "refused" / f"{slug}.parquet"

    @property
    def ledger(self) -> Path:
        """The whole ledger."""
        return self.path / "ledger.parquet"

    @property
    def quarantine(self) -> Path:
        """All quarantined rows."""
        return self.path / "quarantine.parquet"

    @property
    def evidence(self) -> Path:
        """The machine-readable result."""
        return self.path / "evidence.json"

    @property
    def report(self) -> Path:
        """The result for people."""
        return self.path / "report.html"

    @property
    def purged(self) -> results.PurgeResult | None:
        """When the rows of the run were removed, None if they are as the run left them."""
        return self.read_result("purged", "all", results.PurgeResult)

    def write_text(self, name: str, text: str) -> Path:
        """Write ``name`` below the folder atomically (0600) and return its path."""
        target = self.path / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Threads and step processes may write the same record at one moment.
        part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        part.replace(target)
        return target

    def write_result(self, stage: str, slug: str, record: object) -> None:
        """Keep ``record`` as the result of ``stage`` for the table ``slug``."""
        self.write_text(f"results/{stage}/{slug}.json", results.to_json(record))

    def read_result(self, stage: str, slug: str, kind: type[T]) -> T | None:
        """The result of ``stage`` for ``slug``, None if there is none."""
        path = self.path / "results" / stage / f"{slug}.json"
        return results.from_json(kind, path.read_bytes()) if path.exists() else None

    def read_results(self, stage: str, kind: type[T]) -> dict[str, T]:
        """All results of ``stage`` by slug, in order of slug."""
        folder = self.path / "results" / stage
        if not folder.is_dir():
            return {}
        return {
            p.stem: results.from_json(kind, p.read_bytes()) for p in sorted(folder.glob("*.json"))
        }

    def manifests(self) -> dict[str, results.Manifest]:
        """What every table's load was made from, by slug.

        That is its extract, or what was left of it when rows were refused.
        """
        extracts = self.read_results("extract", results.Manifest)
        return extracts | self.read_results("loaded", results.Manifest)

    def forget(self, stage: str, slug: str = "all") -> None:
        """Drop the result of ``stage`` for ``slug``: what it was about is about to change."""
        (self.path / "results" / stage / f"{slug}.json").unlink(missing_ok=True)

    def rename_result(self, stage: str, other: str, slug: str = "all") -> None:
        """Keep the result of ``stage`` for ``slug`` as that of another stage, if there is one."""
        path = self.path / "results" / stage / f"{slug}.json"
        if path.exists():
            to = self.path / "results" / other / path.name
            to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.replace(to)

    def forget_table(self, slug: str) -> None:
        """Drop what is known of a table's load, and of the target as a whole that it is part of."""
        for stage in ("load", "loaded", "content", "values", "ordinary"):
            self.forget(stage, slug)
        self.refused_part(slug).unlink(missing_ok=True)
        self.forget_constraints()

    def forget_loads(self) -> None:
        """Drop what is known of all loads: the schema that they went into is not there."""
        for path in (self.path / "results" / "load").glob("*.json"):
            self.forget_table(path.stem)

    def forget_constraints(self) -> None:
        """Drop what is known of the target as a whole: from its constraints to its swap."""
        for stage in ("constraints", "structure", "objects", "swap"):
            self.forget(stage)
        for path in (self.path / "results" / "app_checks").glob("*.json"):
            path.unlink()
        (self.path / "withdrawn.json").unlink(missing_ok=True)
        (self.path / "dangling.json").unlink(missing_ok=True)

    def write_catalog(self, catalog: Catalog) -> None:
        """Keep the catalog as reflected from this run's snapshot."""
        self.write_text("catalog.json", catalog.to_json())

    def write_profile(self, profile: Profile) -> None:
        """Keep the profile of this run's snapshot."""
        self.write_text("profile.json", profile.to_json())

    def write_plan(self, plan: Plan) -> None:
        """Keep the plan this run follows."""
        self.write_text("plan.json", plan.to_json())

    def write_structure(self, structure: Structure) -> None:
        """Keep the application's schema that this run loads into."""
        self.write_text("structure.json", structure.to_json())

    def structure(self) -> Structure:
        """The application's schema; raises FileNotFoundError if the run makes its own."""
        from migration_assets.core.structure import Structure  # needed seldom

        return Structure.from_json((self.path / "structure.json").read_bytes())

    def write_withdrawn(self, withdrawn: tuple[SkippedObject, ...]) -> None:
        """Keep what was planned, but turned out not to mean the same in PostgreSQL."""
        self.write_text("withdrawn.json", _WITHDRAWN.dump_json(withdrawn, indent=1).decode())

    def write_ordinary(self, slug: str, withdrawn: tuple[SkippedObject, ...]) -> None:
        """Keep which generated columns of a table came as ordinary ones, and why."""
        text = _WITHDRAWN.dump_json(withdrawn, indent=1).decode()
        self.write_text(f"results/ordinary/{slug}.json", text)

    def write_counts(self, counts: list[ObjectCount]) -> None:
        """Keep how many objects of each kind there are on either side."""
        text = _COUNTS.dump_json(counts, indent=1).decode()
        self.write_text("results/objects/all.json", text)

    def catalog(self) -> Catalog:
        """The catalog of this run's snapshot; raises FileNotFoundError before the extract."""
        return Catalog.from_json((self.path / "catalog.json").read_bytes())

    def profile(self) -> Profile:
        """The profile of this run's snapshot; raises FileNotFoundError before the extract."""
        return Profile.from_json((self.path / "profile.json").read_bytes())

    @property
    def has_plan(self) -> bool:
        """True if the whole source was read, so that there is a plan."""
        return (self.path / "plan.json").exists()

    def plan(self) -> Plan:
        """The plan of this run; raises FileNotFoundError before the extract."""
        return Plan.from_json((self.path / "plan.json").read_bytes())

    def write_dangling(self, found: tuple[Dangling, ...]) -> None:
        """Keep which foreign keys refer to rows that are in quarantine."""
        self.write_text("dangling.json", _DANGLING.dump_json(found, indent=1).decode())

    def dangling(self) -> tuple[Dangling, ...]:
        """The foreign keys that refer to rows that are in quarantine."""
        path = self.path / "dangling.json"
        return _DANGLING.validate_json(path.read_bytes()) if path.exists() else ()

    def kept_plan(self) -> Plan:
        """The plan as it is after the load: what the target must hold.

        It is without what was withdrawn, and its foreign keys are as the quarantine left them.
        """
        paths = [*sorted(self.path.glob("results/ordinary/*.json")), self.path / "withdrawn.json"]
        plan = with_dangling(self.plan(), self.dangling())
        for path in paths:
            if path.exists():
                plan = without(plan, _WITHDRAWN.validate_json(path.read_bytes()))
        return plan


_DANGLING: TypeAdapter[tuple[Dangling, ...]] = TypeAdapter(tuple[Dangling, ...])
_COUNTS: TypeAdapter[list[ObjectCount]] = TypeAdapter(list[ObjectCount])
_WITHDRAWN: TypeAdapter[tuple[SkippedObject, ...]] = TypeAdapter(tuple[SkippedObject, ...])
