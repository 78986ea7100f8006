"""The vectors: worked examples of the protocols, as JSON."""

from __future__ import annotations

import datetime
import json
import pathlib
import uuid

from tinyatv.wire.opack import UUID, Date

VECTORS = pathlib.Path(__file__).parents[1] / "vectors"
EPOCH = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)


def cases(sheet: str, group: str) -> list[dict]:
    """The cases of one group of vectors."""
    data = json.loads((VECTORS / f"{sheet}.json").read_text("utf-8"))
    return next(g["cases"] for g in data["groups"] if g["name"] == group)


def opack_value(tree):
    """A value of the vectors."""
    if isinstance(tree, list):
        return [opack_value(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if "dict" in tree:
        return {opack_value(key): opack_value(item) for key, item in tree["dict"]}
    if "hex" in tree:
        return bytes.fromhex(tree["hex"])
    if "uuid" in tree:
        return UUID(uuid.UUID(tree["uuid"]).bytes)
    if "int_hex" in tree:
        return int(tree["int_hex"], 16)
    return Date((datetime.datetime.fromisoformat(tree["date"]) - EPOCH).total_seconds())


def check_scan(device, expect):
    """Compare a device with what a case of the scan matrix expects; the scan itself uses it too."""
    assert device.name == expect["name"]
    services = {service.protocol: service for service in device.services}
    assert {name: one.pairing.name for name, one in services.items()} == expect["pairing"]
    assert [n for n, one in services.items() if not one.enabled] == expect.get("disabled", [])
    credentials = {n: one.credentials for n, one in services.items() if one.credentials}
    assert credentials == expect.get("credentials", {})
    if "info" in expect:
        assert str(device.info) == expect["info"]
    if "os" in expect:
        assert device.info.operating_system.name.lower() == expect["os"].lower()
    for key in ("raw_model", "mac", "output_device_id"):
        if key in expect:
            assert getattr(device.info, key) == expect[key]
    if "main_identifier" in expect:
        assert device.identifier == expect["main_identifier"]
