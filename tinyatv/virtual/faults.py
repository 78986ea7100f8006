"""How the device misbehaves on demand."""

from __future__ import annotations

import threading


class Fault:
    """One way to misbehave, for the next requests of one kind.

    Attributes:
        command: Which requests: a word of the log such as ``"play"``, or ``"*"`` for all. Over DMAP
            also ``"login"``, ``"playing"``, ``"artwork"`` and other words of its paths; over MRP
            the name of a message such as ``"SET_VOLUME"``, and ``"connect"``, ``"pair"``,
            ``"verify"`` (or a step of them, ``"verify M3"``), ``"playing"`` (what a client gets
            when it begins to listen), ``"artwork"``, ``"keyboard"``, ``"generic"``,
            ``"volume"``, ``"output_devices"``. Over AirPlay the path or method of a request
            (``"/play"``, ``"RECORD"``), ``"SETUP 1"`` for a session and ``"SETUP 2"`` for streams
            in it, and ``"pair"`` and ``"verify"`` with their steps as over MRP. Over Companion
            the name of a message such as ``"_systemInfo"``, those two, and ``"connect"``,
            ``"launch_app"``, ``"app_list"``, ``"account_list"``, ``"switch_account"``,
            ``"power_state"``, ``"keyboard"``, ``"text"``, ``"touch"``, ``"volume"``,
            ``"captions"``.
        times: How many of them; None means every one until it is removed.
        after: How many of them to let pass first.
        status: Refuse instead of doing what was asked: with this HTTP status over DMAP and AirPlay;
            over MRP with this error of a command, status of a pairing, or error code of a message;
            over Companion with this error.
        body: Body of that answer (DMAP, AirPlay).
        delay: Seconds to wait before anything else.
        drop: Close the connection instead of answering.
        garbage: Send these bytes instead of an answer. Over DMAP and AirPlay, the connection ends
            after them.
        truncate: Announce the whole body, send half of it, close the connection (DMAP); likewise
            half of a frame (Companion).
        chunked: Answer in chunks instead of with a length (DMAP).
        silent: Neither do it nor answer.
        damage: Seal the answer with a wrong tag (Companion).
        later: Answer behind the answer to the next request (Companion).
    """

    def __init__(
        self,
        command: str,
        *,
        times: int | None = 1,
        after: int = 0,
        status: int | None = None,
        body: bytes = b"",
        delay: float = 0.0,
        drop: bool = False,
        garbage: bytes | None = None,
        truncate: bool = False,
        chunked: bool = False,
        silent: bool = False,
        damage: bool = False,
        later: bool = False,
    ) -> None:
        self.command = command
        self.times = times
        self.after = after
        self.status = status
        self.body = body
        self.delay = delay
        self.drop = drop
        self.garbage = garbage
        self.truncate = truncate
        self.chunked = chunked
        self.silent = silent
        self.damage = damage
        self.later = later


class Faults:
    """The faults that wait for their requests."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """True if there are any."""
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        """Make the device misbehave."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._faults.clear()

    def take(self, *words: str) -> Fault | None:
        """The fault for a request that goes by any of these words, used up once; None to behave."""
        with self._lock:
            for fault in self._faults:
                if fault.command in (*words, "*"):
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self._faults.remove(fault)
                    return fault
        return None
