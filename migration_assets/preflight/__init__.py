"""The look before a run: may it begin, and what speaks against it. Nothing is written."""

from migration_assets.preflight.look import look

__all__ = ["look"]
