"""Find out what is wrong, and how to fix it.

Checks this computer, the store, the network, and then each stored device, or the one that is named:
whether it answers, which ports are open, and, by connecting, whether the stored credentials are
accepted. A silent device is waited for up to 25 s: one that sleeps takes that long. Nothing is
changed, and no secret is shown.

Exit code 0: no problems; 1: at least one.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from ..diagnosis import NOTE, OK, PROBLEM, WARNING, Finding, at_once, computer, network
from ..diagnosis import store as diagnosis_store
from ..errors import AppleTVError, DeviceNotFound
from ..model import identifier_keys
from .output import one_line
from .target import choose, scan, the_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import Device
    from ..store import Store
    from .flags import Arguments, Parser
    from .output import Output

MARKS = {OK: ("✓", "ok"), NOTE: ("·", "--"), WARNING: ("!", "!"), PROBLEM: ("✗", "XX")}
"""For terminals that can show it, and for the others."""


def add_flags(parser: Parser, word: str) -> None:
    """Which device."""
    add = parser.add_argument
    add("device", nargs="?", help="name, alias, identifier or address (all stored devices)")


def run(flags: Arguments, out: Output, word: str) -> int:
    """Check everything."""
    report = Report(out)
    report.add("This computer", computer.findings())
    found, store = diagnosis_store.findings(the_store(flags))
    report.add("Store", found)
    known = network.interfaces()
    report.add("Network", network.findings(known, _hosts(flags)))
    try:
        checks = DeviceChecks(flags, store, out)
    except (AppleTVError, ImportError, OSError) as exc:
        hint = network.SAME_NETWORK
        report.add("Devices", [Finding("devices", PROBLEM, one_line(exc), hint)])
        return report.summary()
    report.add("Devices", checks.findings())
    for device, checked in checks.check(known, flags):
        report.add(f"{device.name} ({device.address or 'address unknown'})", checked)
    return report.summary()


def _hosts(flags: Arguments) -> list[str]:
    """Hosts that a scan asks; none if it uses multicast."""
    if flags.manual:
        return [flags.address or ""]
    hosts = flags.scan_hosts or os.environ.get("TINYATV_SCAN_HOSTS") or ""
    return hosts.split(",") if hosts else []


class Report:
    """What is printed, as soon as it is known.

    Args:
        out: Where to.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._counts = dict.fromkeys(MARKS, 0)
        self._plain = not _can_show("".join(nice for nice, _ in MARKS.values()))

    def add(self, title: str, findings: Iterable[Finding]) -> None:
        """Print a section."""
        self._print(title)
        for one in findings:
            self._counts[one.status] += 1
            if self._out.json:
                self._out.result(
                    check=one.check, status=one.status, message=one.text, advice=one.advice,
                    device=one.device, protocol=one.protocol, facts=one.facts,
                )  # fmt: skip
            mark = MARKS[one.status][self._plain]
            self._print(f"  {mark:<2} {one.text}")
            if one.advice:
                self._print(f"     -> {one.advice}")

    def summary(self) -> int:
        """Print the summary; returns the exit code."""
        problems, warnings = self._counts[PROBLEM], self._counts[WARNING]
        healthy = not problems
        if self._out.json:
            counts: dict[str, Any] = self._counts
            self._out.result(check="summary", healthy=healthy, **counts)
        text = "No problems found." if healthy else f"Problems: {problems}."
        self._print(text + (f" Warnings: {warnings}." if warnings else ""))
        return 0 if healthy else 1

    def _print(self, text: str) -> None:
        if not self._out.json:
            self._out.result([text])


def _can_show(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


class DeviceChecks:
    """The devices to check.

    Args:
        flags: Which ones, and how to look for them.
        store: What is known of them.
        out: Shows progress.

    Raises:
        DeviceNotFound: The one that was named is neither stored nor found.
    """

    def __init__(self, flags: Arguments, store: Store, out: Output) -> None:
        named = getattr(flags, "device", None)
        wanted = [*(flags.id.split(",") if flags.id else [])]
        wanted += [one for one in (flags.name, named) if one]
        self._directed = bool(_hosts(flags))
        self._found: list[Device] = []
        self._store = store
        self._known = [one.device for one in store.devices()]
        if flags.manual:
            self.chosen = [choose(flags, store, out)[0]]
            return
        self._found = [store.fill(one) for one in scan(flags, out, [])]
        stored = [store.fill(one) for one in self._known]
        candidates = self._found + [one for one in stored if not self._seen(one)]
        fitting = [one for one in candidates if any(map(one.is_called, wanted))]
        for text in wanted:
            aliased = store.find(text)
            if aliased is not None and not _is_among(aliased, fitting):
                fitting += [one for one in candidates if _is_among(one, [aliased])]
        if wanted and not fitting:
            from ..connecting import find

            fitting = [find(wanted[-1], store, flags.scan_timeout)[0]]  # an address, or nothing
            self._found += fitting
        if wanted:
            self.chosen = fitting
        elif flags.scan_hosts or not stored:
            self.chosen = self._found
        else:
            self.chosen = [one for one in candidates if _is_among(one, stored)]

    def _stored(self, device: Device) -> Device | None:
        return next((one for one in self._known if _is_among(device, [one])), None)

    def _seen(self, device: Device) -> bool:
        return _is_among(device, self._found)

    def findings(self) -> list[Finding]:
        """Which devices there are."""
        seen = [one.name for one in self._found]
        facts = {"found": seen, "checked": [one.name for one in self.chosen]}
        if not self.chosen:
            text = "no device is stored, and none was found"
            advice = f"is the Apple TV on? {network.SAME_NETWORK}. `tinyatv virtual` runs one"
            return [Finding("devices", PROBLEM, text, advice, facts=facts)]
        others = [one.name for one in self._found if not _is_among(one, self.chosen)]
        text = f"checking {', '.join(one.name or one.address for one in self.chosen)}"
        if others:
            text += f"; also found: {', '.join(others)}"
        return [Finding("devices", OK, text, facts=facts)]

    def check(
        self, known: list[network.Interface], flags: Arguments
    ) -> Iterable[tuple[Device, list[Finding]]]:
        """Check all of them at once; yields them in order."""
        from ..diagnosis.device import DeviceCheck

        answered = self._ask(flags)
        protocols = None if flags.protocol is None else (flags.protocol,)

        def examine(device: Device, ways: list[str]) -> list[Finding]:
            check = DeviceCheck(device, known, timeout=flags.timeout, protocols=protocols)
            try:
                others = [one for one in self._found if not _is_among(one, [device])]
                return check.findings(ways, self._stored(device), others)
            except Exception as exc:  # one device must not hide the others
                text = f"the check itself failed: {one_line(exc)}"
                advice = "this is a bug; --debug shows more"
                return [Finding("device", PROBLEM, text, advice, device=device.name)]

        checks = [partial(examine, one, ways) for one, ways in zip(self.chosen, answered)]
        yield from zip(self.chosen, at_once("doctor", checks))

    def _ask(self, flags: Arguments) -> list[list[str]]:
        """How each device answers mDNS: to the scan, and to a question to it alone."""
        from ..discovery import scan as scan_network

        scanned = "directed" if self._directed else "multicast"
        answered = [[scanned] if self._seen(one) else [] for one in self.chosen]
        hosts = [
            one.query or ("" if self._directed else one.address)
            for one, ways in zip(self.chosen, answered)
            if "directed" not in ways
        ]
        try:
            asked = scan_network(flags.scan_timeout, hosts=set(filter(None, hosts)) or [])
        except (DeviceNotFound, ValueError):
            asked = []  # a name that no longer resolves
        for number, ways in enumerate(answered):
            fresh = next((one for one in asked if _is_among(one, [self.chosen[number]])), None)
            if fresh is not None and "directed" not in ways:
                ways.append("directed")
                fresh.query = self.chosen[number].query  # whether it was known by one before
                self.chosen[number] = self._store.fill(fresh)
        return answered


def _is_among(device: Device, others: list[Device]) -> bool:
    mine = identifier_keys(device.identifiers)
    return any(device is one or mine & identifier_keys(one.identifiers) for one in others)
