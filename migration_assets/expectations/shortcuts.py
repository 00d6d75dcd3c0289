"""What Great Expectations works out again and again while it validates a suite, kept.

For each expectation it makes the same configuration fifty times, the same expectation out of it
four times, and turns each None in a key into JSON by asking numpy. That is 7 ms of computing for
an expectation whose query takes none. The answers are the same with and without; a release in
which these functions are gone is only slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from great_expectations.core import id_dict
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

_PLAIN = frozenset({str, int, bool, type(None)})
T = TypeVar("T")


@contextmanager
def shortcuts() -> Iterator[None]:
    """Keep what is worked out while the block runs; nothing of it outlives the block.

    Expectations and their configurations must not be changed by their owner meanwhile.
    """
    with ExitStack() as stack:
        for owner, name, shorter in (
            (id_dict, "convert_to_json_serializable", _plain_as_it_is),
            (ExpectationConfiguration, "to_domain_obj", _kept),
        ):
            if (found := vars(owner).get(name)) is not None:
                stack.callback(setattr, owner, name, found)
                setattr(owner, name, shorter(found))
        if isinstance(found := vars(Expectation).get("configuration"), property) and found.fget:
            stack.callback(setattr, Expectation, "configuration", found)
            setattr(Expectation, "configuration", property(_kept(found.fget)))  # noqa: B010
        yield


def _plain_as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave dicts of values that JSON has itself to nobody."""

    def convert(data: Any) -> Any:
        if type(data) is dict and all(type(value) in _PLAIN for value in data.values()):
            return data
        return function(data)

    return convert


def _kept(method: Callable[[Any], T]) -> Callable[[Any], T]:
    """Call a method without arguments once per object, which is kept so that its id stays its."""
    answers: dict[int, tuple[Any, T]] = {}

    def once(self: Any) -> T:
        found = answers.get(id(self))
        if found is None:
            found = answers[id(self)] = (self, method(self))
        return found[1]

    return once
