"""What every record of ``evidence.json`` is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen record; unknown keys are ignored, so that newer files can be read."""

    model_config = ConfigDict(frozen=True)
