"""Reproducible draws for the sample database, and the forms its values are stored in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FIRST_SECOND = 1_735_689_600  # 2025-01-01T00:00:00Z
FIRST_DAY = np.datetime64("2025-01-01", "D")

Ints = npt.NDArray[np.int64]


class Draw:
    """Reproducible draws: only raw bits of PCG64, whose stream NumPy keeps from version to version.

    No logarithm or other function whose last bit depends on the machine is used.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def below(self, limit: int, count: int) -> Ints:
        """``count`` integers in [0, limit)."""
        raw = self._bits.random_raw(count) >> np.uint64(33)
        return (raw % np.uint64(limit)).astype(np.int64)

    def octets(self, size: int, count: int) -> list[bytes]:
        """``count`` byte strings of ``size`` bytes."""
        raw = self._bits.random_raw((size * count + 7) // 8).astype("<u8").tobytes()
        return [raw[i : i + size] for i in range(0, size * count, size)]

    def uuids(self, count: int) -> list[str]:
        """``count`` version 4 UUIDs in canonical lower-case text."""
        digits = (octets.hex() for octets in self.octets(16, count))
        return [f"{d[:8]}-{d[8:12]}-4{d[13:16]}-a{d[17:20]}-{d[20:]}" for d in digits]

    def pick(self, choices: Sequence[str], count: int) -> list[str]:
        """``count`` of ``choices``."""
        return [choices[i] for i in self.below(len(choices), count).tolist()]


def times(seconds: Ints, micros: Ints | None = None) -> list[str]:
    """Seconds after FIRST_SECOND as ``YYYY-MM-DD HH:MM:SS``, with microseconds if given."""
    stamps = (seconds + FIRST_SECOND).astype("datetime64[s]")
    if micros is not None:
        stamps = stamps.astype("datetime64[us]") + micros.astype("timedelta64[us]")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps).tolist()]


def days(days: Ints) -> list[str]:
    """Days after FIRST_DAY as ``YYYY-MM-DD``."""
    texts: list[str] = np.datetime_as_string(FIRST_DAY + days.astype("timedelta64[D]")).tolist()
    return texts


def decimals(units: Ints, scale: int) -> list[float]:
    """Whole units of 10**-scale as the doubles nearest to them."""
    values: list[float] = (units / 10**scale).tolist()
    return values
