"""Names in the asset graph: keys, groups, op and job names of one migration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import dagster as dg

T = TypeVar("T")


STEPS = (
    "preflight",
    "stop_app",
    "freeze",
    "constraints",
    "backup",
    "swap",
    "switch_env",
    "start_app",
    "smoke",
    "enable_traffic",
    "report",
    "watch",
)
"""Assets of a target that stand for no table; only production has all of them."""
GATE = "gate"
"""The stage of what happens before a cutover's extract."""


@dataclass(frozen=True)
class Keys:
    """The names of one migration called ``name``."""

    name: str

    def extract(self, slug: str) -> dg.AssetKey:
        """One table's Parquet file."""
        return dg.AssetKey([self.name, "extract", slug])

    def table(self, target: str, slug: str) -> dg.AssetKey:
        """One table in a target environment."""
        # A table may well be called "report"; its steps are the target's own.
        part = f"{slug}_" if slug.rstrip("_") in STEPS else slug
        return dg.AssetKey([self.name, target, part])

    def step(self, target: str, step: str) -> dg.AssetKey:
        """One of STEPS."""
        return dg.AssetKey([self.name, target, step])

    def group(self, stage: str) -> str:
        """The group of a stage (``extract`` or a target environment)."""
        return f"{self.name}_{stage}"

    @property
    def run_resource(self) -> str:
        """The resource that holds the run."""
        return f"{self.name}_run"

    @property
    def expectations_resource(self) -> str:
        """The resource that holds the child process of Great Expectations."""
        return f"{self.name}_expectations"

    @property
    def rehearsal(self) -> str:
        """The job that moves and proves everything."""
        return f"{self.name}_rehearsal"

    @property
    def cutover(self) -> str:
        """The job that goes live."""
        return f"{self.name}_cutover"

    @property
    def approve(self) -> str:
        """The job that records an approval."""
        return f"{self.name}_approve"

    @property
    def moving(self) -> tuple[str, str]:
        """The jobs that move and prove everything, and leave evidence of it."""
        return self.rehearsal, self.cutover

    @property
    def approval(self) -> dg.AssetKey:
        """The recorded decision that a cutover may happen."""
        return dg.AssetKey([self.name, "approval"])

    @property
    def watch(self) -> str:
        """The job that looks at production once."""
        return f"{self.name}_watch"

    @property
    def rollback(self) -> str:
        """The job that takes back what is live."""
        return f"{self.name}_rollback"

    @property
    def rollback_drill(self) -> str:
        """The job that takes back what is live in staging, and the taking back as well."""
        return f"{self.name}_rollback_drill"

    @property
    def refresh(self) -> str:
        """The job that reads the catalog and the profile again."""
        return f"{self.name}_refresh_catalog"

    @property
    def backup(self) -> str:
        """The job that backs up what is live."""
        return f"{self.name}_backup"

    @property
    def restore_drill(self) -> str:
        """The job that restores a backup into a database of its own."""
        return f"{self.name}_restore_drill"

    @property
    def beside(self) -> tuple[str, ...]:
        """The jobs that need not wait for a run that is under way, nor it for them."""
        return self.backup, self.restore_drill, self.rollback, self.rollback_drill

    def backups(self, target: str) -> dg.AssetKey:
        """The backups of a target environment."""
        return dg.AssetKey([self.name, "backups", target])


def batches(items: Sequence[tuple[T, int]], size: int, least: int = 1) -> list[list[T]]:
    """Spread weighted items over batches of at most ``size``, balanced by weight.

    Args:
        items: items with their weight, such as tables with their bytes.
        size: most items in a batch.
        least: fewest batches, as long as there are items for them.

    The items of a batch stand in their original order.

    >>> batches([("a", 9), ("b", 1), ("c", 1), ("d", 8)], size=2)
    [['a', 'b'], ['c', 'd']]
    """
    count = max(-(-len(items) // size), min(least, len(items)))
    bins: list[list[int]] = [[] for _ in range(count)]
    weights = [0] * count
    for position in sorted(range(len(items)), key=lambda p: -items[p][1]):
        lightest = min(
            (b for b in range(count) if len(bins[b]) < size),
            key=lambda b: (weights[b], len(bins[b])),
        )
        bins[lightest].append(position)
        weights[lightest] += items[position][1]
    return [[items[p][0] for p in sorted(b)] for b in sorted(bins) if b]


def op_names(stem: str, count: int) -> Iterable[str]:
    """Op names of ``count`` batches: the stem alone for one, numbered for more."""
    return [stem] if count == 1 else [f"{stem}_{n}" for n in range(1, count + 1)]
