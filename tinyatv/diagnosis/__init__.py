"""Finding out what is wrong: checks that return findings, and change nothing.

computer.py   what this program runs on        store.py    what it remembers
network.py    interfaces, multicast, mDNS      device.py   one device: ports, credentials
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ..threads import start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_Result = TypeVar("_Result")

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
"""How bad it is: a problem keeps something from working, a warning will or may do so."""


class Finding:
    """What one check has found.

    Attributes:
        check: Which one, ``store.mode``: always the same for the same check.
        status: ``OK``, ``NOTE``, ``WARNING`` or ``PROBLEM``.
        text: It in a sentence. Never has a secret in it.
        advice: What to do about it; None if there is nothing to do.
        device: Name of the device that it is about, or None.
        protocol: The protocol that it is about, or None.
        facts: The same as numbers and texts, ready for JSON.
    """

    __slots__ = ("advice", "check", "device", "facts", "protocol", "status", "text")

    def __init__(
        self,
        check: str,
        status: str,
        text: str,
        advice: str | None = None,
        *,
        device: str | None = None,
        protocol: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.check = check
        self.status = status
        self.text = text
        self.advice = advice
        self.device = device
        self.protocol = protocol
        self.facts = facts or {}

    def __repr__(self) -> str:
        return f"Finding({self.check!r}, {self.status!r}, {self.text!r})"


def at_once(name: str, calls: Sequence[Callable[[], _Result]]) -> Iterator[_Result]:
    """Call all of them at the same time, each on a thread; yields what they return, in order.

    Args:
        name: What the threads are called, before a number.
        calls: What one of them raises is raised here, once all have ended.
    """
    results: dict[int, _Result] = {}
    errors: list[Exception] = []

    def run(number: int, call: Callable[[], _Result]) -> None:
        try:
            results[number] = call()
        except Exception as exc:
            errors.append(exc)

    threads = [start(run, f"tinyatv-{name}-{one[0]}", *one) for one in enumerate(calls)]
    for number, thread in enumerate(threads):
        thread.join()
        if number not in results:
            for other in threads:
                other.join()
            raise errors[0]
        yield results[number]
