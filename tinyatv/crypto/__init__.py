"""Cryptography: one primitive per file, in pure Python or by the package ``cryptography``.

    seal() / sign() / ...  --->  native(load)  --->  load(): the class of the package cryptography
                                      |
                                      +-->  None: our own code, in the same file

Both give the same bytes and refuse the same inputs. Python cannot compute in constant time: its
integers take longer the larger they are. The extra ``tinyatv[fast]`` brings code that can.

``TINYATV_CRYPTO=python`` or ``=cryptography`` overrides the automatic choice.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # checkers take it for typing's, whose import takes longer than ours
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ENGINES = ("cryptography", "python")

_engine: str | None = None  # chosen at first use
_loaded: dict[Callable[[], Any], Any] = {}


def engine() -> str:
    """What does the work: ``cryptography`` or ``python``.

    Raises:
        ValueError: ``TINYATV_CRYPTO`` is neither.
        ImportError: ``TINYATV_CRYPTO`` asks for ``cryptography``, which cannot be imported.
    """
    global _engine
    if _engine is None:
        name = os.environ.get("TINYATV_CRYPTO")
        if name:
            _engine = _checked(name, "TINYATV_CRYPTO: ")
        else:
            _engine = "python" if _broken() else "cryptography"
    return _engine


def use(name: str | None) -> None:
    """Switch the engine, for tests; what exists already keeps the one it was made with.

    Args:
        name: ``python``, ``cryptography``, or None for the automatic choice.

    Raises:
        ValueError: Unknown name.
        ImportError: ``cryptography`` cannot be imported.
    """
    global _engine
    _engine = name if name is None else _checked(name, "")


def native(load: Callable[[], Any]) -> Any:
    """Return what a loader gives, or None for our own code.

    Args:
        load: Imports what one primitive needs and tries it. It is called once; if it fails, as it
            does where the package was built without that primitive, that one stays ours.
    """
    if (_engine or engine()) == "python":
        return None
    try:
        return _loaded[load]
    except KeyError:
        pass
    try:
        found = load()
    except Exception:
        found = None
    _loaded[load] = found
    return found


def _checked(name: str, where: str) -> str:
    if name not in ENGINES:
        raise ValueError(f"{where}{name!r} is neither of {', '.join(ENGINES)}")
    if name == "cryptography":
        why = _broken()
        if why is not None:
            raise ImportError(f"{where}the package cryptography cannot be used: {why}") from why
    return name


def _broken() -> BaseException | None:
    """What importing the package raises; None if it works."""
    try:
        import cryptography.hazmat.bindings._rust  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # half-installed, it panics, and that is no Exception
        return exc
    return None
