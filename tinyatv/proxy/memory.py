"""What a proxy remembers from one run to the next: who it is, and who has paired with it."""

from __future__ import annotations

import json
import os

from ..errors import CredentialsError
from ..files import make_folder, replace_file

KEY = 32  # bytes


class Memory:
    """A file of one proxy, which its owner alone can read.

    Args:
        path: The file; it need not be there.

    Attributes:
        identifier: Of the proxy; None before the first run.
        seed: Its private key.
        clients: Public key of each controller, by identifier.

    Raises:
        CredentialsError: The file is damaged.
        OSError: It cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self.identifier: str | None = None
        self.seed: bytes | None = None
        self.clients: dict[bytes, bytes] = {}
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return
        try:
            keys = json.loads(text)
            self.identifier, self.seed = str(keys["identifier"]), bytes.fromhex(keys["seed"])
            found = keys["clients"].items()
            self.clients = {bytes.fromhex(name): bytes.fromhex(key) for name, key in found}
            if any(len(key) != KEY for key in (self.seed, *self.clients.values())):
                raise ValueError("a key of the wrong length")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise CredentialsError(f"{path} is damaged ({exc}): move it away") from exc

    def save(self) -> None:
        """Write the file.

        Raises:
            OSError: It cannot be written.
        """
        assert self.seed is not None, "it is known who we are"
        keys = {
            "identifier": self.identifier,
            "seed": self.seed.hex(),
            "clients": {name.hex(): key.hex() for name, key in self.clients.items()},
        }
        make_folder(os.path.dirname(os.path.abspath(self._path)))
        replace_file(self._path, json.dumps(keys).encode(), 0o600)
