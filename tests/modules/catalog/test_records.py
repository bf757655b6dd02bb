"""What older and newer versions have to leave each other, while both run on one cluster."""

from google.protobuf.field_mask_pb2 import FieldMask
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.records import decode, encode
from instantaudience_server.catalog.update_masks import edit_of
from instantaudience_server.store.interfaces.catalog import Kind

LATER = bytes([0xA0, 0x38, 5])
"""Field 900, a number, which no version knows yet (https://protobuf.dev/programming-guides/encoding/)."""


def test_an_update_keeps_what_only_a_newer_version_knows() -> None:
    for kind, message in {Kind.SEGMENT: pb.Segment(id=1, code="a"), Kind.MEMBER: pb.Member(id=1, name="a")}.items():
        known = decode(kind, encode(message) + LATER)
        name = "short_name" if kind is Kind.SEGMENT else "name"
        edit_of(type(message)(**{name: "b"}), FieldMask(paths=[name]))(known)
        kept = encode(known)
        assert LATER in kept
        assert getattr(decode(kind, kept), name) == "b"
