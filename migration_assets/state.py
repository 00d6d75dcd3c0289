"""What the definitions of one migration are made from: the cached catalog and profile."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from migration_assets.core.catalog import Catalog
from migration_assets.core.config import PlanConfig
from migration_assets.core.plan import Plan
from migration_assets.core.planner import build_plan
from migration_assets.core.profile import Profile
from migration_assets.errors import InputError


@dataclass(frozen=True)
class State:
    """The cached state.

    Attributes:
        catalog: what the source declared when it was last looked at.
        profile: what its values were at the last full read, None before the first.
        profiled_from: id of the snapshot behind ``profile``.
        structure: JSON of the existing schema when it was last looked at, None if there is none.
    """

    catalog: Catalog
    profile: Profile | None = None
    profiled_from: str | None = None
    structure: str | None = None

    def plan(self, config: PlanConfig) -> Plan:
        """The plan as far as it is known without reading source and target."""
        if self.structure is None:
            return build_plan(self.catalog, self.profile, config)
        from migration_assets.core.structure import Structure  # needed seldom

        try:
            structure = Structure.from_json(self.structure)
            return build_plan(self.catalog, self.profile, config, structure)
        except InputError:
            # The schema is no longer what it was; the run looks again, and says so.
            return build_plan(self.catalog, None, config)

    def write(self, path: Path) -> None:
        """Write atomically, readable by the owner only: a profile holds example values."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_STATE.dump_json(self))
        part.replace(path)

    @staticmethod
    def read(path: Path) -> State:
        """Read what :meth:`write` wrote; raises FileNotFoundError where there is none yet."""
        return _STATE.validate_json(path.read_bytes())


_STATE: TypeAdapter[State] = TypeAdapter(State)
