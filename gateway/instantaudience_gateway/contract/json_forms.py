"""The JSON of methods whose bodies the gateway passes on, for a host that reads them itself.

The rules are those of `body.lua` and the transcoder, since all come from the same descriptor.
"""

from collections.abc import Collection

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from instantaudience_server.transport.rest import JsonForm, Row, Shape

from instantaudience_gateway.contract import descriptor
from instantaudience_gateway.contract.bodies import DEFAULTS, MAX_DEPTH, SCALAR_RULES
from instantaudience_gateway.contract.replies import EMPTY, FOR_GATEWAY, TOO_SLOW, Reply, too_large

PASSED_ON = frozenset({("POST", "/rt-segment")})
"""Methods and paths whose bodies are passed on: those that are called often enough for it to matter."""


def json_forms(limit_bytes: int) -> list[JsonForm]:
    """The JSON forms of all these methods, whose bodies have at most this many bytes.

    Raises:
        ValueError: a response has a field that is omitted if it is not set, which the host does not support.
    """
    return [
        JsonForm(
            path=endpoint.rpc_path,
            rest_path=endpoint.path,
            request=_shape(endpoint.request, {field.name for field in endpoint.parameters}),
            answer=_shape(_always_there(endpoint.answer)),
            start=_start(endpoint),
            limit_bytes=limit_bytes,
            depth=MAX_DEPTH,
            rules=SCALAR_RULES,
            empty=EMPTY.text,
            too_large=too_large(limit_bytes).text,
            too_slow=_fixed(TOO_SLOW),
            elsewhere=_fixed(FOR_GATEWAY),
        )
        for endpoint in passed_on()
    ]


def _fixed(reply: Reply) -> tuple[int, bytes]:
    return reply.http_status, reply.body().encode()


def passed_on() -> list[descriptor.Endpoint]:
    """The endpoints whose bodies are passed on, unless the call has parameters."""
    return [endpoint for endpoint in descriptor.endpoints() if (endpoint.http_method, endpoint.path) in PASSED_ON]


def _start(endpoint: descriptor.Endpoint) -> bytes:
    """The encoded fields that the parameters' defaults set in a request."""
    defaults = DEFAULTS.get((endpoint.http_method, endpoint.path), {})
    message: Message = message_factory.GetMessageClass(endpoint.request)(**defaults)
    return message.SerializeToString()


def _shape(root: Descriptor, parameters: Collection[str] = ()) -> Shape:
    """The fields of a message type and of all that it may contain, without the parameters."""
    messages = {
        message.full_name: [
            _row(field)
            for field in descriptor.visible_fields(message)
            if not ((message is root and field.name in parameters) or descriptor.is_on_demand(field))
        ]
        for message in descriptor.messages_in(root)
    }
    return Shape(messages, root.full_name)


def _row(field: FieldDescriptor) -> Row:
    held = field.message_type.full_name if field.message_type else descriptor.scalar_type(field)
    return field.name, field.number, field.is_repeated, held


def _always_there(root: Descriptor) -> Descriptor:
    for message in descriptor.messages_in(root):
        for field in descriptor.visible_fields(message):
            if field.has_presence and field.message_type is None and not descriptor.is_on_demand(field):
                raise ValueError(f"{field.full_name}: a field of an answer in JSON cannot be optional or in a oneof")
    return root
