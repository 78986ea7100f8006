"""This computer: Python, the packages, what encrypts and what decodes, the clock."""

from __future__ import annotations

import platform
import re
import sys
import time

from .. import __version__
from ..text import on_one_line
from . import NOTE, OK, PROBLEM, WARNING, Finding

PACKAGES = ("requests", "zeroconf", "protobuf")
OLDEST = (3, 9)
YEARS = (2025, 2100)  # a clock that shows another one has never been set


def findings() -> list[Finding]:
    """All checks of this computer."""
    found = [_python(), *map(_package, PACKAGES), _crypto(), _protobuf(), _clock()]
    return [one for one in found if one is not None]


def _python() -> Finding:
    version = platform.python_version()
    text = f"tinyatv {__version__}, Python {version}, {platform.system()} {platform.machine()}"
    facts = {"tinyatv": __version__, "python": version, "system": platform.platform()}
    if sys.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Finding("python", PROBLEM, text, f"Python {oldest} or newer is needed", facts=facts)
    return Finding("python", OK, text, facts=facts)


def _package(name: str) -> Finding:
    from importlib import import_module

    check = f"package.{name}"
    install = f"pip install --upgrade {name}"
    version = _version(name)
    facts = {"version": version}
    try:
        import_module("google.protobuf" if name == "protobuf" else name)
    except Exception as exc:
        text = f"{name} {version or ''} cannot be imported: {' '.join(str(exc).split())}"
        return Finding(check, PROBLEM, text, install, facts=facts)
    oldest = _needed(name)
    if version is not None and oldest is not None and _numbers(version) < _numbers(oldest):
        text = f"{name} {version} is too old, {oldest} is needed"
        return Finding(check, PROBLEM, text, install, facts=facts)
    return Finding(check, OK, f"{name} {version or '(version unknown)'}", facts=facts)


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _needed(name: str) -> str | None:
    """The oldest version that will do; None in a checkout, which does not say."""
    from importlib import metadata

    try:
        wanted = metadata.requires("tinyatv") or []
    except metadata.PackageNotFoundError:
        return None
    found = (re.fullmatch(rf"{name}\s*>=\s*([0-9.]+)", one) for one in wanted)
    return next((one[1] for one in found if one is not None), None)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def _crypto() -> Finding:
    from .. import crypto

    version = _version("cryptography")
    facts = {"engine": None, "version": version}
    try:
        engine = crypto.engine()
    except (ImportError, ValueError) as exc:
        text = on_one_line(str(exc))
        return Finding("crypto", PROBLEM, text, "unset TINYATV_CRYPTO", facts=facts)
    facts["engine"] = engine
    if engine == "cryptography":
        text = f"encryption by cryptography {version or ''}".rstrip()
        return Finding("crypto", OK, text, facts=facts)
    return Finding(
        "crypto", NOTE, "encryption in Python: slower, and not in constant time",
        "pip install 'tinyatv[fast]', if there is a package for this machine",
        facts=facts,
    )  # fmt: skip


def _protobuf() -> Finding | None:
    try:
        from google.protobuf.internal import api_implementation
    except ImportError:
        return None  # reported already
    engine = api_implementation.Type()
    text = f"protobuf decodes in {'Python, which is slower' if engine == 'python' else engine}"
    return Finding("protobuf", OK, text, facts={"engine": engine})


def _clock() -> Finding:
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if YEARS[0] <= time.localtime().tm_year < YEARS[1]:
        return Finding("clock", OK, f"the clock shows {now}", facts={"now": now})
    return Finding(
        "clock", WARNING,
        f"the clock shows {now}: artwork from the web will fail, positions will be wrong",
        "set it, for example by NTP (timedatectl set-ntp true)", facts={"now": now},
    )  # fmt: skip
