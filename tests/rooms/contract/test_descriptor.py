"""What of the API REST callers see."""

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
    assert not fields.keys() & {"Warning.code", "Warning.path", "ApplySegmentsRequest.validate_only"}
