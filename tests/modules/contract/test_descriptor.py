"""What of the API REST callers see."""

from instantaudience.v1 import audience_pb2
from instantaudience_gateway.contract import descriptor


def test_descriptor_has_every_path_and_no_field_for_grpc_only() -> None:
    paths = {(endpoint.http_method, endpoint.path) for endpoint in descriptor.endpoints()}
    assert paths >= {("POST", "/auth"), ("POST", "/rt-segment"), ("GET", "/rt-segment"), ("GET", "/healthz")}
    fields = {
        f"{message_type.name}.{message_field.name}": message_field.json_name
        for file in descriptor.descriptor_set().file
        if file.package.startswith("instantaudience.")
        for message_type in file.message_type
        for message_field in message_type.field
    }
    assert fields["RtSegment.user_id"] == "user_id"
    for_grpc_only = [
        f"{message.name}.{field.name}"
        for message in audience_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field not in descriptor.visible_fields(message)
    ]
    assert not fields.keys() & set(for_grpc_only)
