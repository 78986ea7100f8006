"""The schema: compiled, complete, and the one that devices use."""

from __future__ import annotations

import csv
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from google.protobuf import descriptor_pb2

from tests.support.mrp_trees import repeated
from tests.support.vectors import VECTORS
from tinyatv import proto

FOLDER = pathlib.Path(proto.__file__).parent
ENVELOPE = proto.parse(b"").envelope.DESCRIPTOR
MESSAGES = dict(ENVELOPE.file.message_types_by_name)


def known():
    """{message: {field: row}} of mrp-schema.tsv."""
    lines = (VECTORS / "mrp-schema.tsv").read_text("utf-8").splitlines()
    found = {}
    for row in csv.DictReader(lines[1:], delimiter="\t"):
        fields = found.setdefault(row["message"], {})
        if row["kind"] != "empty":
            fields[row["field"]] = row
    return found


def type_name(field):
    """Of a field as the table has it: ``int32``, ``message:PlayerPath``."""
    if field.message_type is not None:
        return f"message:{field.message_type.name}"
    name = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
    return name.replace("TYPE_", "").lower()


def test_compiled(tmp_path):
    """mrp.binpb is mrp.proto."""
    if not shutil.which("protoc"):
        if os.environ.get("CI"):
            pytest.fail("protoc is not installed")  # a skip would go unnoticed there
        pytest.skip("protoc is not installed")
    made = tmp_path / "mrp.binpb"
    subprocess.run(
        ["protoc", f"--proto_path={FOLDER}", f"--descriptor_set_out={made}", "mrp.proto"],
        check=True,
        timeout=60,
    )
    ours, theirs = (
        descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for path in (FOLDER / "mrp.binpb", made)
    )
    assert ours == theirs
    assert [file.name for file in ours.file] == ["mrp.proto"]


def test_bodies():
    """Each kind has a field of the envelope, and each body a kind."""
    fields = ENVELOPE.fields_by_name
    assert set(proto.BODIES.values()) == {name for name in fields if name.endswith("Message")}
    assert set(proto.BODIES) == set(proto.NAMES) - {proto.UNKNOWN}
    assert set(proto.KINDS) == set(proto.BODIES.values())
    for kind in proto.BODIES:
        if kind != proto.DEVICE_INFO_UPDATE:
            assert proto.KINDS[proto.BODIES[kind]] == kind
    assert proto.KINDS["deviceInfoMessage"] == proto.DEVICE_INFO
    for name in proto.KINDS:  # a body is called like its message
        body = fields[name].message_type
        assert (body.name if body else "GetKeyboardSessionMessage").lower() == name.lower()


@pytest.mark.parametrize("name", MESSAGES)
def test_fields(name):
    """Number, label and type of each field. An enum is int32 here, and nothing is required."""
    table = known()[name]
    numbers = [field.number for field in MESSAGES[name].fields]
    assert len(numbers) == len(set(numbers))
    for field in MESSAGES[name].fields:
        row = table[field.name]
        assert field.number == int(row["number"]), field.name
        assert repeated(field) == (row["label"] == "repeated"), field.name
        assert type_name(field) == re.sub("^enum:.*", "int32", row["type"]), field.name
        assert not field.has_default_value


def test_nothing_is_required():
    """A message without its one field that others require is read and written."""
    text = (FOLDER / "mrp.proto").read_text("utf-8")
    assert not re.search(r"^\s*(required|enum|extend|oneof)\b", text, re.MULTILINE)
    message = proto.build(proto.DEVICE_INFO, protocolVersion=1)
    assert not proto.parse(proto.dumps(message)).body.HasField("name")


def test_every_message_is_used():
    """From the envelope down, each is reached; what nobody needs has no place here."""
    reached, new = {"ProtocolMessage"}, [ENVELOPE]
    while new:
        for field in new.pop().fields:
            inner = field.message_type
            if inner is not None and inner.name not in reached:
                reached.add(inner.name)
                new.append(inner)
    assert reached == set(MESSAGES)


def test_pool_is_private():
    """Another library may have a schema with the same names in the pool that all share."""
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("tinyatv.mrp.ProtocolMessage")
    assert proto.parse(b"").envelope.DESCRIPTOR.full_name == "tinyatv.mrp.ProtocolMessage"
