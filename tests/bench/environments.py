"""The virtual environments: tinyatv as a user has it, the same with its extra, and the peer."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PEER = ["pyatv==0.18.*", "srptools<2"]  # with srptools 2 it cannot be imported
SOURCES = ["pyproject.toml", "setup.cfg", "README.md", "LICENSE"]


class Environment:
    """A virtual environment.

    Attributes:
        path: Where it is.
        program: Its command-line program.
        client: The script in ``children/`` that uses it.
        label: What tells its rows from those of others of ours.
        variables: Environment variables of its processes.
    """

    def __init__(self, path, program, client, label="", **variables):
        self.path = path
        self.programs = path / ("Scripts" if sys.platform == "win32" else "bin")
        self.python = str(self.programs / "python")
        self.program = str(self.programs / program)
        self.client = client
        self.label = label
        self.variables = variables

    def variant(self, label, **variables):
        """The same with more environment variables."""
        mine = {**self.variables, **variables}
        return Environment(self.path, Path(self.program).name, self.client, label, **mine)

    @property
    def present(self):
        """True if everything had been installed once."""
        return (self.path / "complete").exists()

    def create(self):
        """Make an empty one."""
        shutil.rmtree(self.path, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(self.path)], check=True)

    def install(self, *args):
        """Install packages and remember that it worked."""
        pip = [self.python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *args], check=True)
        (self.path / "complete").touch()

    def versions(self, *names):
        """Versions of installed distributions, and how many there are, as a line of text."""
        code = (
            "from importlib.metadata import distributions, version; import sys;"
            "print(*(f'{n} {version(n)}' for n in sys.argv[1:]), sep=', ', end=', of ');"
            "print(len({d.metadata['Name'] for d in distributions()} - {'pip', 'setuptools'}),"
            "'distributions')"
        )
        command = [self.python, "-c", code, *names]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def prepare(folder, fresh):
    """Return the environments of tinyatv, of tinyatv[fast], and of the peer.

    They are made if they are not there. tinyatv is installed anew each time, since it is what
    changes.

    Args:
        folder: Where they are kept.
        fresh: Build them from nothing.
    """
    script = "client_tinyatv.py"
    ours = Environment(folder / "tinyatv", "tinyatv", script, TINYATV_CRYPTO="python")
    fast = Environment(folder / "fast", "tinyatv", script, "fast", TINYATV_CRYPTO="cryptography")
    peer = Environment(folder / "peer", "atvremote", "client_peer.py")
    folder.mkdir(parents=True, exist_ok=True)
    if fresh or not peer.present:
        print(f"installing {' '.join(PEER)}", file=sys.stderr)
        peer.create()
        peer.install(*PEER)
    print("installing tinyatv from this checkout", file=sys.stderr)
    install(CHECKOUT, [(ours, ""), (fast, "[fast]")], fresh)
    return ours, fast, peer


def install(checkout, environments, fresh=False):
    """Install a checkout anew, since it is what changes; dependencies only the first time.

    Args:
        checkout: Its folder.
        environments: Pairs of an environment and the extra that it gets, such as ``"[fast]"``.
        fresh: Build them from nothing.
    """
    with tempfile.TemporaryDirectory() as copy:  # so that nothing is built inside the checkout
        for name in SOURCES:
            shutil.copy(checkout / name, copy)
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(checkout / "tinyatv", Path(copy) / "tinyatv", ignore=without)
        for env, extra in environments:
            update = env.present and not fresh
            if not update:
                env.create()
            env.install(*(["--no-deps", "--force-reinstall"] if update else []), f"{copy}{extra}")
