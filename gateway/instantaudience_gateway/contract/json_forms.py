"""The JSON of methods whose bodies pass the gateway as they are, for a host that reads them itself.

What a body may be is what `body.lua` and the transcoder make of it: both come from the same descriptor.
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from instantaudience_server.transport.rest import JsonForm, Row, Shape

from instantaudience_gateway.contract import descriptor
from instantaudience_gateway.contract.replies import EMPTY, TOO_SLOW, UNREADABLE
from instantaudience_gateway.contract.script import MAX_DEPTH, SCALAR_RULES

PASSED_ON = frozenset({("POST", "/rt-segment")})
"""Methods and paths of such bodies: those that are called so often that it matters."""


def json_forms() -> list[JsonForm]:
    """The forms of all such methods.

    Raises:
        ValueError: an answer has a field that is left out where it is not set, or a request has parameters; the host
            knows neither.
    """
    return [
        JsonForm(
            path=endpoint.rpc_path,
            request=_shape(endpoint.request),
            answer=_shape(_always_there(endpoint.answer)),
            depth=MAX_DEPTH,
            rules=SCALAR_RULES,
            empty=EMPTY.text,
            unreadable=UNREADABLE.text,
            too_slow=(TOO_SLOW.http_status, TOO_SLOW.body().encode()),
        )
        for endpoint in passed_on()
    ]


def passed_on() -> list[descriptor.Endpoint]:
    """The endpoints whose bodies are passed on."""
    found = [endpoint for endpoint in descriptor.endpoints() if (endpoint.http_method, endpoint.path) in PASSED_ON]
    for endpoint in found:
        if endpoint.parameters:
            raise ValueError(f"{endpoint.path}: a body that is passed on cannot have parameters beside it")
    return found


def _shape(root: Descriptor) -> Shape:
    messages = {
        message.full_name: list(map(_row, descriptor.visible_fields(message)))
        for message in descriptor.messages_in(root)
    }
    return Shape(messages, root.full_name)


def _row(field: FieldDescriptor) -> Row:
    held = field.message_type.full_name if field.message_type else descriptor.scalar_type(field)
    return field.name, field.number, field.is_repeated, held


def _always_there(root: Descriptor) -> Descriptor:
    for message in descriptor.messages_in(root):
        for field in descriptor.visible_fields(message):
            if field.has_presence and field.message_type is None:
                raise ValueError(f"{field.full_name}: a field of an answer in JSON cannot be optional or in a oneof")
    return root
