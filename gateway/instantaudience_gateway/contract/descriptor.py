"""The API as REST callers see it, read from the generated stubs (no protoc at run time).

The proto files decide everything here: the paths and methods (`google.api.http`), the parameters, the shape of a body,
and which fields exist for gRPC only (`google.api.field_visibility` with the restriction "GRPC").
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import instantaudience.rest.v1
import instantaudience.v1
from google.api import annotations_pb2, http_pb2, visibility_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.rpc import error_details_pb2
from instantaudience.rest.v1 import sign_in_pb2
from instantaudience.v1 import authentication_pb2, status_pb2

GRPC_ONLY = "GRPC"
"""Restriction of fields that REST does not have: never in a response, an unknown key in a request."""

ON_DEMAND = "ON_DEMAND"
"""Restriction of response fields that are in the JSON only if the service sets them."""

_GZIP = "gzip"
"""The parameter that requests a compressed response; the gateway derives it from `Accept-Encoding`."""

_PACKAGES = (instantaudience.v1, instantaudience.rest.v1)
"""The API's packages: the messages of gRPC callers, and those that only REST has."""

_ORIGIN = "origin"
"""The parameter for the scheme and host that the caller used."""

FROM_HEADERS = (_GZIP, _ORIGIN)
"""Parameters that the gateway derives from headers."""

_PUBLIC_FILES = (authentication_pb2.DESCRIPTOR, sign_in_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR)
"""The files whose services need no token: signing in, and health."""

_SIGN_OUT = sign_in_pb2.DESCRIPTOR.services_by_name["SignInService"].methods_by_name["SignOut"].full_name
"""The method in these files that does need a token, since it revokes it."""

BODY_TOO = frozenset({"member_id"})
"""Parameters that may also be in the body, where they apply if the query does not have them."""

ANY_BODY = ".google.api.HttpBody"
"""Output type of methods whose REST response is not the JSON of a message."""

_FREE_FORM = "google.protobuf."
"""Messages of this package have a special JSON format, not an object of their fields."""


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a JSON object; `json_name` is the alternative spelling of protobuf's JSON.

    `message` is the full name of the message type that the key holds, or None; `scalar_type` is the name of its
    protobuf type (`STRING`, `INT32`, …), or None. Both are None if any JSON is allowed.
    """

    name: str
    json_name: str
    is_list: bool
    message: str | None
    scalar_type: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method of a path, and the messages of its RPC.

    Attributes:
        body: the message type of the body, None if there is none.
        within: the request's field that holds the body; None if the body is the request.
        text: whether the body is plain text, which becomes a JSON string for the transcoder.
        gzip: the parameter that requests a compressed response; None if it has none.
        origin: the parameter for the caller's scheme and host; None if it has none.
        public: whether it can be called without a token.
        strict: whether an unknown parameter is an error.
    """

    path: str
    http_method: str
    service: str
    rpc_path: str
    request: Descriptor
    answer: Descriptor
    parameters: tuple[Field, ...]
    body: Descriptor | None
    within: str | None
    text: bool
    gzip: str | None
    origin: str | None
    public: bool
    strict: bool


def _files() -> list[FileDescriptor]:
    """The API's own proto files."""
    return [
        importlib.import_module(f"{package.__name__}.{name}").DESCRIPTOR
        for package in _PACKAGES
        for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__))
        if name.endswith("_pb2")
    ]


def _restriction(options: descriptor_pb2.FieldOptions) -> str:
    extensions: Any = options.Extensions
    return str(extensions[visibility_pb2.field_visibility].restriction)


def is_visible(options: descriptor_pb2.FieldOptions) -> bool:
    """Whether REST has a field with these options."""
    return _restriction(options) != GRPC_ONLY


def is_on_demand(field: FieldDescriptor) -> bool:
    """Whether a response field is in the JSON only if the service sets it."""
    return _restriction(field.GetOptions()) == ON_DEMAND


def key_of(field: FieldDescriptor | descriptor_pb2.FieldDescriptorProto) -> str:
    """The JSON key of a field: its name in the proto file, or its `json_name` if that contains a `-`, which names
    cannot."""
    return field.json_name if "-" in field.json_name else field.name


def _restrict(message: descriptor_pb2.DescriptorProto) -> None:
    """Remove what REST does not have; make the keys of `key_of` the only JSON names, to which the Lua filter maps other
    spellings; and make on-demand fields optional."""
    kept = [field for field in message.field if is_visible(field.options)]
    if any(field.HasField("oneof_index") for field in message.field if field not in kept):
        raise ValueError(f"{message.name}: a field that is for gRPC only cannot be optional or in a oneof")
    for field in kept:
        field.json_name = key_of(field)
        if _restriction(field.options) == ON_DEMAND:
            field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")
    del message.field[:]
    message.field.extend(kept)
    for nested in message.nested_type:
        _restrict(nested)


def descriptor_set() -> descriptor_pb2.FileDescriptorSet:
    """The API with its imports and the error details, without fields for gRPC only; imports come first."""
    result = _with_imports()
    own_names = {file.name for file in _files()}
    for proto in result.file:
        if proto.name in own_names:
            for message in proto.message_type:
                _restrict(message)
    return result


def _with_imports() -> descriptor_pb2.FileDescriptorSet:
    result = descriptor_pb2.FileDescriptorSet()
    done: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in done:
            return
        done.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        file.CopyToProto(result.file.add())

    for file in [*_files(), error_details_pb2.DESCRIPTOR]:
        add(file)
    return result


def scalar_type(field: FieldDescriptor) -> str:
    """The protobuf type of a field that holds no messages (`STRING`, `INT32`, …)."""
    name: str = descriptor_pb2.FieldDescriptorProto.Type.DESCRIPTOR.values_by_number[field.type].name
    return name.removeprefix("TYPE_")


def _field(field: FieldDescriptor) -> Field:
    message = field.message_type
    if message is None:
        return Field(key_of(field), field.json_name, field.is_repeated, None, scalar_type(field))
    if message.full_name.startswith(_FREE_FORM) or message.GetOptions().map_entry:
        return Field(key_of(field), field.json_name, False, None, None)
    return Field(key_of(field), field.json_name, field.is_repeated, message.full_name, None)


def _methods() -> Iterator[MethodDescriptor]:
    for file in _files():
        for service in file.services_by_name.values():
            yield from service.methods


def streaming_paths() -> list[str]:
    """The gRPC paths of the API's streaming methods."""
    return [
        f"/{method.containing_service.full_name}/{method.name}"
        for method in _methods()
        if method.client_streaming or method.server_streaming
    ]


def _http_rules(method: MethodDescriptor) -> list[http_pb2.HttpRule]:
    extensions: Any = method.GetOptions().Extensions
    rule: http_pb2.HttpRule = extensions[annotations_pb2.http]
    return [rule, *rule.additional_bindings] if rule.WhichOneof("pattern") else []


def _path(rule: http_pb2.HttpRule) -> str:
    path: str = getattr(rule, rule.WhichOneof("pattern"))
    return path


def _body(request: Descriptor, field: str) -> Descriptor | None:
    """The message type of a body: the request, a message field of it, or None."""
    if field in {"", "*"}:
        return request if field else None
    return request.fields_by_name[field].message_type


def _endpoint(method: MethodDescriptor, rule: http_pb2.HttpRule) -> Endpoint:
    verb = rule.WhichOneof("pattern")
    path = _path(rule)
    body = _body(method.input_type, rule.body)
    fields = list(map(_field, visible_fields(method.input_type)))
    text = any(field.name == rule.body and field.scalar_type == "STRING" for field in fields)
    scalars = {field.name: field for field in fields if field.scalar_type is not None and field.name != rule.body}
    return Endpoint(
        path=path,
        http_method=verb.upper(),
        service=method.containing_service.full_name,
        rpc_path=f"/{method.containing_service.full_name}/{method.name}",
        request=method.input_type,
        answer=method.output_type,
        parameters=tuple(field for name, field in scalars.items() if name not in FROM_HEADERS),
        body=body,
        within=rule.body if body not in (None, method.input_type) else None,
        text=text,
        gzip=_GZIP if _GZIP in scalars else None,
        origin=_ORIGIN if _ORIGIN in scalars else None,
        public=method.containing_service.file in _PUBLIC_FILES and method.full_name != _SIGN_OUT,
        strict=verb == "get" and method.containing_service.file.package == instantaudience.rest.v1.__name__,
    )


def endpoints() -> list[Endpoint]:
    """Every path and method of the REST API, in the order of the proto files.

    Parameters are the scalar fields of the request. Objects and lists can only be in the body, as can the fields of a
    body that is a field of the request.
    """
    return [_endpoint(method, rule) for method in _methods() for rule in _http_rules(method) if "{" not in _path(rule)]


def aliases() -> dict[str, str]:
    """Paths with parameters, such as `/segment/{member_id}` → the plain path, which takes the same parameters in the
    query."""
    found: dict[str, str] = {}
    for method in _methods():
        paths = list(map(_path, _http_rules(method)))
        found |= {path: paths[0] for path in paths if "{" in path}
    return found


def shapes() -> dict[str, list[Field]]:
    """Message name → keys, for every message type that a request body may contain."""
    bodies = [endpoint.body for endpoint in endpoints() if endpoint.body]
    return {message.full_name: list(map(_field, visible_fields(message))) for message in messages_in(*bodies)}


def messages_in(*roots: Descriptor) -> list[Descriptor]:
    """These message types and all that they may contain, without duplicates; not those with a special JSON format."""
    found = list(dict.fromkeys(roots))
    for message in found:
        for field in visible_fields(message):
            inner = field.message_type
            if inner is not None and _field(field).message and inner not in found:
                found.append(inner)
    return found


def visible_fields(message: Descriptor) -> list[FieldDescriptor]:
    """The fields that REST has."""
    return [field for field in message.fields if is_visible(field.GetOptions())]
