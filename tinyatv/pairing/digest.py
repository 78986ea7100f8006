"""Digest authentication, RFC 2617 without qop: how AirPlay asks for a device's password.

request                             ->
                                    <-   401, WWW-Authenticate: Digest realm="..", nonce=".."
the same, Authorization: Digest ..  ->   and so do all that follow
"""

from __future__ import annotations

import hmac
import re
from hashlib import md5

PARAMETER = re.compile(r'\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)')


def digest(username: str, password: str, realm: str, nonce: str, method: str, uri: str) -> str:
    """The proof of knowing the password, as 32 hex digits."""
    who = _hash(f"{username}:{realm}:{password}")
    return _hash(f"{who}:{nonce}:{_hash(f'{method}:{uri}')}")


def parse(header: str) -> dict[str, str]:
    """The parameters of a WWW-Authenticate or Authorization header, names in lower case.

    Raises:
        ValueError: It is no Digest.
    """
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest":
        raise ValueError(f"not Digest authentication: {scheme[:20]!r}")
    found: dict[str, str] = {}
    at = 0
    while rest[at:].strip():
        match = PARAMETER.match(rest, at)
        if match is None:
            raise ValueError("malformed parameters of Digest authentication")
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = match.end()
    return found


def parse_challenge(header: str) -> tuple[str, str] | None:
    """Realm and nonce of a WWW-Authenticate header; None if it asks for something else."""
    try:
        asked = parse(header)
    except ValueError:
        return None
    if asked.get("algorithm", "MD5").upper() != "MD5":
        return None
    if "realm" not in asked or "nonce" not in asked:
        return None
    return asked["realm"], asked["nonce"]


def challenge(realm: str, nonce: str) -> str:
    """The device's WWW-Authenticate header."""
    return f"Digest realm={_quoted(realm)}, nonce={_quoted(nonce)}"


def authorization(
    username: str, password: str, realm: str, nonce: str, method: str, uri: str
) -> str:
    """The Authorization header for a request.

    Args:
        username: Any; devices do not care.
        password: Of the device.
        realm: As asked for.
        nonce: Likewise.
        method: Of the request.
        uri: Of the request, as it stands on its first line.
    """
    proof = digest(username, password, realm, nonce, method, uri)
    return (
        f"Digest username={_quoted(username)}, realm={_quoted(realm)}, nonce={_quoted(nonce)},"
        f" uri={_quoted(uri)}, response={_quoted(proof)}"
    )


def authorized(
    header: str | None, password: str, realm: str, nonce: str, method: str, uri: str
) -> bool:
    """The device's end: whether a request's Authorization header proves the password."""
    try:
        given = parse(header or "")
    except ValueError:
        return False
    if (given.get("realm"), given.get("nonce"), given.get("uri")) != (realm, nonce, uri):
        return False
    expected = digest(given.get("username", ""), password, realm, nonce, method, uri)
    return hmac.compare_digest(expected.encode(), given.get("response", "").lower().encode())


def _hash(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
