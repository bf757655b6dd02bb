"""A protoc plugin, for buf, for the OpenAPI document of the REST API.

Paths, parameters, shapes and descriptions come from the proto files; constraints of values beyond their types from
`tools/openapi_rules.py`; everything else (title, security, errors, examples) from `tools/openapi.yaml`. Paths below
`/console` are internal to the console and left out, as are paths with parameters, which are aliases.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openapi_rules
import yaml
from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)
from instantaudience_gateway.console.files import PAGE_PATH
from instantaudience_gateway.contract import descriptor

ROOT = Path(__file__).parents[1]
BASE = ROOT / "tools/openapi.yaml"
VECTORS = ROOT / "tests/vectors/rt_segment.json"
NAME = "openapi.json"
SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptorProto.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptorProto.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptorProto.TYPE_INT64: {"type": "string", "pattern": r"^-?\d+$"},
    FieldDescriptorProto.TYPE_UINT64: {"type": "string", "pattern": r"^\d+$"},
    FieldDescriptorProto.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptorProto.TYPE_FLOAT: {"type": "number"},
}
FREE_FORMS: dict[str, dict[str, Any]] = {
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.ListValue": {"type": "array", "items": {}},
    ".google.protobuf.Value": {},
}
_TOOL_MARK = re.compile(r"^[ \t]*(?:buf:lint:|protolint:|nolint\b|clang-format\b|\(--).*(?:\n|$)", re.MULTILINE)
"""A line of a comment that is for a tool, and no documentation."""
_PARAGRAPH = re.compile(r"(?<=\S)\n (?=\S)")
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES, _FIELDS, _METHODS, _NESTED, _VALUES = 4, 5, 6, 2, 2, 3, 2
"""Field numbers of descriptor.proto: a comment's path consists of these and of indexes."""


class Api:
    """The proto files, by name."""

    def __init__(self, files: list[FileDescriptorProto]) -> None:
        self.comments: dict[str, str] = {}
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, list[str]] = {}
        self.methods: list[tuple[FileDescriptorProto, str, MethodDescriptorProto]] = []
        for file in files:
            self._add_file(file)

    def _add_file(self, file: FileDescriptorProto) -> None:
        said = {tuple(each.path): _text(each.leading_comments) for each in file.source_code_info.location}
        prefix = f".{file.package}"
        for index, message in enumerate(file.message_type):
            self._add_message(message, prefix, (_FILE_MESSAGES, index), said)
        for enum in file.enum_type:
            self.enums[f"{prefix}.{enum.name}"] = [value.name for value in enum.value]
        for index, service in enumerate(file.service):
            name = f"{prefix}.{service.name}"
            self.comments[name] = said.get((_FILE_SERVICES, index), "")
            for place, method in enumerate(service.method):
                self.comments[f"{name}.{method.name}"] = said.get((_FILE_SERVICES, index, _METHODS, place), "")
                self.methods.append((file, name, method))

    def _add_message(
        self, message: DescriptorProto, prefix: str, path: tuple[int, ...], said: dict[tuple[int, ...], str]
    ) -> None:
        name = f"{prefix}.{message.name}"
        self.messages[name] = message
        self.comments[name] = said.get(path, "")
        for index, field in enumerate(message.field):
            self.comments[f"{name}.{field.name}"] = said.get((*path, _FIELDS, index), "")
        for index, nested in enumerate(message.nested_type):
            self._add_message(nested, name, (*path, _NESTED, index), said)

    def fields(self, name: str) -> Iterator[FieldDescriptorProto]:
        """The fields of a message that REST has."""
        return (field for field in self.messages[name].field if descriptor.is_visible(field.options))


class Document:
    """The OpenAPI document."""

    def __init__(self, api: Api, base: dict[str, Any]) -> None:
        self._api = api
        self._base = base
        self._named: set[str] = set()
        self._unsaid = {f"{name}.{field}" for name, fields in openapi_rules.FIELDS.items() for field in fields}
        self.schemas: dict[str, Any] = dict(base["components"]["schemas"])

    def build(self) -> dict[str, Any]:
        """The whole document, with keys in the usual order."""
        paths: dict[str, dict[str, Any]] = {}
        for path, verb, service, method in sorted(self._calls(), key=lambda call: self._place(call[0])):
            paths.setdefault(path, {})[verb] = self._operation(path, verb, service, method)
        used = {call.split(" ", 1)[1] for call in self._base["x-operations"]}
        if stray := used - paths.keys():
            raise SystemExit(f"{BASE.name} says something of paths that are not there: {sorted(stray)}")
        if stray := self._unsaid | (openapi_rules.MESSAGES.keys() - self.schemas.keys()):
            raise SystemExit(f"openapi_rules.py says something of what is not there: {sorted(stray)}")
        document = {key: value for key, value in self._base.items() if not key.startswith("x-")}
        components = document.pop("components") | {"schemas": dict(sorted(self.schemas.items()))}
        return document | {"paths": paths, "components": components}

    def _place(self, path: str) -> int:
        order = list(dict.fromkeys(call.split(" ", 1)[1] for call in self._base["x-operations"]))
        return order.index(path) if path in order else len(order)

    def _calls(self) -> Iterator[tuple[str, str, str, MethodDescriptorProto]]:
        for _, service, method in self._api.methods:
            extensions: Any = method.options.Extensions
            rule = extensions[annotations_pb2.http]
            for each in [rule, *rule.additional_bindings] if rule.WhichOneof("pattern") else []:
                verb = each.WhichOneof("pattern")
                path = getattr(each, verb)
                if not path.startswith(PAGE_PATH) and "{" not in path:
                    yield path, verb, service, method

    def _operation(self, path: str, verb: str, service: str, method: MethodDescriptorProto) -> dict[str, Any]:
        about = self._base["x-operations"].get(f"{verb.upper()} {path}", {})
        summary, _, description = self._api.comments[f"{service}.{method.name}"].partition("\n\n")
        operation: dict[str, Any] = {
            "operationId": method.name if method.name not in self._named else f"{method.name}By{verb.capitalize()}",
            "tags": [service.rsplit(".", 1)[1]],
            "summary": summary.replace("`", ""),  # it is plain text, the description is not
        }
        self._named.add(method.name)
        if description:
            operation["description"] = description
        if about.get("public"):
            operation["security"] = []
        text = about.get("text", "")
        values = about.get("parameters", {})
        if parameters := [each for each in self._parameters(method.input_type, values) if each["name"] != text]:
            operation["parameters"] = parameters
        if text:
            schema = SCALARS[FieldDescriptorProto.TYPE_STRING] | self._rule(_short(method.input_type), text)
            operation["requestBody"] = {"required": True, "content": {"text/plain": {"schema": schema}}}
        elif _body_of(method):
            content: dict[str, Any] = {"schema": self._body(method)}
            if examples := self._examples(about, "request"):
                content["examples"] = examples
            operation["requestBody"] = {"required": True, "content": {"application/json": content}}
        content = {"schema": self._answer(method.output_type, about)}
        if examples := self._examples(about, "answer"):
            content["examples"] = examples
        operation["responses"] = {"200": {"description": "Done.", "content": {"application/json": content}}}
        for status in about.get("errors", self._base["x-errors"]):
            operation["responses"][str(status)] = {
                "$ref": f"#/components/responses/{self._base['x-responses'][status]}"
            }
        return operation

    def _parameters(self, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        """The parameters of a call, with values of its examples."""
        parameters = []
        for field in self._api.fields(name):
            if field.type == FieldDescriptorProto.TYPE_MESSAGE or field.name in descriptor.FROM_HEADERS:
                continue
            schema = _ruled(self._schema_of_one(field), self._rule(_short(name), field.name))
            parameter = {"name": field.name, "in": "query", "schema": schema}
            if schema["type"] == "array":
                parameter["explode"] = False  # commas stand between the items
            if _behaves(field, "REQUIRED"):
                parameter["required"] = True
            if comment := self._api.comments[f"{name}.{field.name}"]:
                parameter["description"] = comment
            if field.name in values:
                parameter["example"] = values[field.name]
            parameters.append(parameter)
        return parameters

    def _body(self, method: MethodDescriptorProto) -> dict[str, Any]:
        """The schema of a body: a field of the request, or all of it without its own scalars, which are parameters."""
        name, named = method.input_type, _body_of(method)
        for field in self._api.fields(name):
            if field.name == named:
                return self._reference(field.type_name)
        schema = self._object(name, [field for field in self._api.fields(name) if self._is_in_body(field)])
        self.schemas[_short(name)] = schema
        return {"$ref": f"#/components/schemas/{_short(name)}"}

    @staticmethod
    def _is_in_body(field: FieldDescriptorProto) -> bool:
        return field.type == FieldDescriptorProto.TYPE_MESSAGE

    def _answer(self, name: str, about: dict[str, Any]) -> dict[str, Any]:
        if name == descriptor.ANY_BODY:
            return {"$ref": f"#/components/schemas/{about['answer_schema']}"}
        return self._reference(name)

    def _reference(self, name: str) -> dict[str, Any]:
        short = _short(name)
        if short not in self.schemas:
            self.schemas[short] = {}
            self.schemas[short] = self._object(name, list(self._api.fields(name)))
        return {"$ref": f"#/components/schemas/{short}"}

    def _object(self, name: str, fields: list[FieldDescriptorProto]) -> dict[str, Any]:
        properties = {}
        required = []
        for field in fields:
            schema = self._schema_of(field, self._rule(_short(name), field.name))
            if _behaves(field, "REQUIRED"):
                required.append(descriptor.key_of(field))
            if _behaves(field, "OUTPUT_ONLY"):
                schema = schema | {"readOnly": True}
            if comment := self._api.comments[f"{name}.{field.name}"]:
                schema = schema | {"description": comment}
            properties[descriptor.key_of(field)] = schema
        schema = {"type": "object", "properties": properties} | ({"required": required} if required else {})
        schema |= openapi_rules.MESSAGES.get(_short(name), {})
        return schema | ({"description": comment} if (comment := self._api.comments[name]) else {})

    def _rule(self, message: str, field: str) -> dict[str, Any]:
        self._unsaid.discard(f"{message}.{field}")
        return openapi_rules.FIELDS.get(message, {}).get(field, {})

    def _schema_of(self, field: FieldDescriptorProto, rule: dict[str, Any]) -> dict[str, Any]:
        one = self._schema_of_one(field)
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            if field.type_name in self._api.messages and self._api.messages[field.type_name].options.map_entry:
                return {"type": "object"}
            return {"type": "array", "items": one} | rule
        schema = _ruled(one, rule)
        if field.proto3_optional and "type" in schema and not _behaves(field, "REQUIRED"):
            # `null` and an absent key have the same meaning.
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        return schema

    def _schema_of_one(self, field: FieldDescriptorProto) -> dict[str, Any]:
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return {"type": "string", "enum": list(self._api.enums[field.type_name])}
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            return (
                dict(FREE_FORMS[field.type_name]) if field.type_name in FREE_FORMS else self._reference(field.type_name)
            )
        return dict(SCALARS[field.type])

    def _examples(self, about: dict[str, Any], side: str) -> dict[str, Any]:
        if about.get("vectors"):
            chosen = {case["name"]: case for case in json.loads(VECTORS.read_text())}
            key = {"request": "request", "answer": "response"}[side]
            return {_slug(name): {"summary": name, "value": chosen[name][key]} for name in about["vectors"]}
        return {"example": {"value": about[side]}} if side in about else {}


def _ruled(schema: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    """A type's schema with a field's constraints; keywords with None are removed."""
    return {keyword: value for keyword, value in (schema | rule).items() if value is not None}


def _body_of(method: MethodDescriptorProto) -> str:
    """The body of a request over REST: a field's name, `*` for the whole request, "" for none."""
    extensions: Any = method.options.Extensions
    return str(extensions[annotations_pb2.http].body)


def _behaves(field: FieldDescriptorProto, behavior: str) -> bool:
    """Whether the proto file declares this behaviour of a field (source: google/api/field_behavior.proto)."""
    extensions: Any = field.options.Extensions
    return field_behavior_pb2.FieldBehavior.Value(behavior) in extensions[field_behavior_pb2.field_behavior]


def _short(name: str) -> str:
    return name.rsplit(".", 1)[1]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _text(comment: str) -> str:
    """The paragraphs of a comment, each on one line, without what is for tools."""
    return _PARAGRAPH.sub(" ", _TOOL_MARK.sub("", comment)).strip().replace("\n\n ", "\n\n").replace("\n \n", "\n\n")


def main() -> None:
    """Read a CodeGeneratorRequest from standard input, write the CodeGeneratorResponse to standard output."""
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    own = [file for file in request.proto_file if file.name in set(request.file_to_generate)]
    document = Document(Api(own), yaml.safe_load(BASE.read_text())).build()
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    response.file.add(name=NAME, content=json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
