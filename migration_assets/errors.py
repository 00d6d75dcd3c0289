"""Errors a user can act on. Each message is one line: what happened, to what, what to do next."""

from __future__ import annotations


class MigrationError(Exception):
    """Base of all errors that are shown without a traceback. ``exit_code`` is the CLI's."""

    exit_code = 1


class InputError(MigrationError):
    """Bad input: the source, the target or the configuration is not usable; nothing was written."""

    exit_code = 2


class UnreachableError(InputError):
    """The target lets nobody in: bad input before a run has worked there, else it was lost."""


class NotProvenError(MigrationError):
    """The run came to its end, but the target was not shown to equal the source."""

    exit_code = 1


class BrokenOffError(MigrationError):
    """Source or target was lost in the middle; the target's live schema is as it was."""

    exit_code = 3
