"""Child processes: ones that answer lines of JSON, ones that are timed, and what they use."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

CHILDREN = Path(__file__).resolve().parent / "children"


def surroundings(home, **extra):
    """Environment variables of a child: a home of its own, nothing imported from the checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TINYATV_"))}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), **extra}


class Child:
    """A script of ``children/`` that answers every line of JSON with one.

    Args:
        environment: Whose Python runs it.
        script: Name of the file.
        args: Arguments.
        home: An empty folder.
    """

    def __init__(self, environment, script, *args, home):
        self._script = script
        self._process = subprocess.Popen(
            [environment.python, str(CHILDREN / script), *map(str, args)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home,
            env=surroundings(home, **environment.variables),
        )  # fmt: skip
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._process.stdin.close()  # the sign to end
        except OSError:
            pass  # it has ended already
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def answer(self):
        """The next line that it prints."""
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._script} ended; its error is above")
        return json.loads(line)

    def ask(self, **command):
        """Send a command and return its answer."""
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.answer()


def timed(command, home, text="", **extra):
    """Run a command to its end; return the seconds it took and what it printed.

    Args:
        command: Command line.
        home: An empty folder.
        text: What it can read.
        **extra: Environment variables.

    Raises:
        RuntimeError: It failed.
    """
    start = time.perf_counter()
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, cwd=home,
        env=surroundings(home, **extra), timeout=60, check=False,
    )  # fmt: skip
    taken = time.perf_counter() - start
    # The peer's --help ends with 1.
    if done.returncode and not done.stdout.startswith("usage:"):
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return taken, done.stdout


@contextlib.contextmanager
def running(command, home, **extra):
    """A program that prints a line once it is ready, and that ends with the block; yields the line.

    Args:
        command: Command line.
        home: An empty folder.
        **extra: Environment variables.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=home,
        env=surroundings(home, **extra),
    ) as process:  # fmt: skip
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} ended")
            yield line
        finally:
            process.terminate()


def memory(pid):
    """(resident, anonymous) megabytes of a process; (None, None) where /proc does not tell.

    Anonymous is what no file backs, so nobody else can share it.
    """
    if not sys.platform.startswith("linux"):
        return None, None
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value, _ = line.split()
        sizes[key] = int(value) / 1024
    return sizes["Rss:"], sizes["Anonymous:"]


def threads(pid):
    """How many threads a process has; None where /proc does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    return len(os.listdir(f"/proc/{pid}/task"))


def cpu_time(pid):
    """Seconds of CPU that a process used so far; None where /proc does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        files = Path(f"/proc/{pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9
    except (OSError, ValueError, IndexError):  # a kernel without it: 10 ms steps
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
