"""The same tests on the other runtime: protobuf comes in C and in Python, and a Pi gets the latter.

Which one is used is decided once for each process, by an environment variable.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from google.protobuf.internal import api_implementation

ROOT = pathlib.Path(__file__).parents[2]
VARIABLE = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
TESTS = [
    "tests/proto/test_messages.py",  # its test_runtime says whether it is the one asked for
    "tests/proto/test_damage.py",
    "tests/proto/test_schema.py",
    "tests/wire/test_mrp.py",
    "tests/wire/test_fuzz_mrp.py",
]


@pytest.mark.parametrize("runtime", ["python", "upb"])
def test_runtime(runtime, request):
    if api_implementation.Type() == runtime:
        pytest.skip("that is this process")
    environ = {**os.environ, VARIABLE: runtime, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", f"from {api_implementation.__name__} import Type; print(Type())"],
        env=environ,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    if found.stdout.strip() != runtime:
        if os.environ.get("CI"):
            pytest.fail(found.stdout + found.stderr)  # a skip would go unnoticed there
        pytest.skip(f"protobuf has no {runtime} runtime here")
    whole = ["--long"] if request.config.getoption("--long") else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=",
         *whole, *TESTS],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=1800 if whole else 300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
