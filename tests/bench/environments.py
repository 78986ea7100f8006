"""The two virtual environments: tinyatv as a user has it, and the peer."""

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
        module: What is imported from it.
        program: Its command-line program.
        client: The script in ``children/`` that uses it.
    """

    def __init__(self, path, module, program, client):
        self.path = path
        self.module = module
        self.programs = path / ("Scripts" if sys.platform == "win32" else "bin")
        self.python = str(self.programs / "python")
        self.program = str(self.programs / program)
        self.client = client

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
    """Return the environments of tinyatv and of the peer, made if they are not there.

    tinyatv is installed anew each time, since it is what changes.

    Args:
        folder: Where they are kept.
        fresh: Build them from nothing.
    """
    ours = Environment(folder / "tinyatv", "tinyatv", "tinyatv", "client_tinyatv.py")
    peer = Environment(folder / "peer", "pyatv", "atvremote", "client_peer.py")
    folder.mkdir(parents=True, exist_ok=True)
    if fresh or not peer.present:
        print(f"installing {' '.join(PEER)}", file=sys.stderr)
        peer.create()
        peer.install(*PEER)
    print("installing tinyatv from this checkout", file=sys.stderr)
    update = ours.present and not fresh
    if not update:
        ours.create()
    with tempfile.TemporaryDirectory() as copy:  # so that nothing is built inside the checkout
        for name in SOURCES:
            shutil.copy(CHECKOUT / name, copy)
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / "tinyatv", Path(copy) / "tinyatv", ignore=without)
        ours.install(*(["--no-deps", "--force-reinstall"] if update else []), copy)
    return ours, peer
