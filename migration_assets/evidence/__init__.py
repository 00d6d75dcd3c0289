"""The evidence of a run and its verdict, gathered from what its steps left in the run folder."""

from migration_assets.evidence.build import STAGES, build_evidence, miscounted

__all__ = ["STAGES", "build_evidence", "miscounted"]
