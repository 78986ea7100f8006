"""The contract of a backend, as a type checker sees it."""

from __future__ import annotations

import pytest

CALLS = """\
import tinyatv

def use(atv: tinyatv.AppleTV) -> None:
    atv._via("play").play()
    atv._via("play").plya()
    for backend in atv._session.backends.values():
        backend.subscribe()
        backend.subscirbe()
    backend.skip_forward("10")
"""


def test_a_misspelt_call_is_found(tmp_path):
    api = pytest.importorskip("mypy.api")
    module = tmp_path / "calls.py"
    module.write_text(CALLS)
    out, err, _ = api.run(["--strict", f"--cache-dir={tmp_path / 'cache'}", str(module)])
    found = [line.split(":", 2) for line in out.splitlines() if ": error:" in line]
    assert not err
    assert [(int(number), text.split("[")[-1]) for _, number, text in found] == [
        (5, "attr-defined]"),
        (8, "attr-defined]"),
        (9, "arg-type]"),
    ]
