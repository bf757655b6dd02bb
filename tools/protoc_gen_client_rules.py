"""A protoc plugin, for buf: generates the rules that all clients share, for each language with a client.

Sources are the constants and tables of clients/rules.json, and the reasons of errors.proto. Code numbers come from the
proto files; a name that these do not have is an error.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import EnumDescriptorProto
from google.rpc import code_pb2

CLIENTS = Path("clients")
SOURCE = CLIENTS / "rules.json"
ORIGIN = "Made by `make generate` from clients/rules.json and proto/instantaudience/v1/errors.proto: do not edit."
INTERNAL = "Internal"
"""The kind of errors that are in no table."""


@dataclass(frozen=True)
class Table:
    """A table of the rules: key → kind, with the key's name."""

    name: str
    text: str
    rows: tuple[tuple[int | str, str, str], ...]
    """Key, kind, name of the key."""

    @property
    def key(self) -> str:
        """What the keys are: codes (numbers) or reasons."""
        return "code" if isinstance(self.rows[0][0], int) else "reason"

    def noted(self, before: str) -> Iterator[tuple[int | str, str, str]]:
        """Key, kind, and a comment with the name of the key, if the key is a number."""
        for value, kind, name in self.rows:
            yield value, kind, f"{before}{name}" if self.key == "code" else ""


KEY_TYPES = {
    "python": {"code": "int", "reason": "str"},
    "go": {"code": "codes.Code", "reason": "string"},
    "typescript": {"code": "number", "reason": "string"},
    "java": {"code": "Integer", "reason": "String"},
}
"""The key types in each language."""


@dataclass(frozen=True)
class Rules:
    """The rules, with code numbers resolved."""

    constants: Mapping[str, tuple[int, str]]
    kinds: Mapping[str, str]
    sent_again: tuple[str, ...]
    tables: tuple[Table, ...]
    reasons: tuple[str, ...]
    renewed_reason: str
    warnings: tuple[tuple[int, str], ...]
    """Number and name of each code."""


def read(enums: Mapping[str, EnumDescriptorProto]) -> Rules:
    """Read the rules.

    Raises:
        ValueError: they name an unknown code, reason or kind.
    """
    written = json.loads(SOURCE.read_text(encoding="utf-8"))
    kinds: dict[str, str] = written["kinds"]
    reasons = tuple(_names(enums["ErrorReason"], "ERROR_REASON_"))
    warnings = _names(enums["WarningCode"], "WARNING_CODE_")

    def by_code(name: str, text: str) -> Table:
        rows: dict[str, str] = written[name]
        return Table(name.upper(), text, tuple((code_pb2.Code.Value(code), kind, code) for code, kind in rows.items()))

    by_reason: dict[str, str] = written["kind_of_reason"]
    tables = (
        by_code("kind_of_code", "The kind of an error by its gRPC code; Internal where it is not here."),
        Table(
            "KIND_OF_REASON",
            "The kind of an error by its reason; goes before its code.",
            tuple((reason, kind, reason) for reason, kind in by_reason.items()),
        ),
        by_code(
            "kind_without_reason",
            "The same of errors without a reason, which are the transport's: of a connection that broke, for example.",
        ),
    )
    named = {kind for table in tables for _, kind, _ in table.rows} | {*written["sent_again"], INTERNAL}
    if unknown := sorted(named - set(kinds)) + sorted({*by_reason, written["renewed_reason"]} - set(reasons)):
        raise ValueError(f"{SOURCE}: there is no {', '.join(unknown)}")
    return Rules(
        constants={name: (value, text) for name, (value, text) in written["constants"].items()},
        kinds=kinds,
        sent_again=tuple(written["sent_again"]),
        tables=tables,
        reasons=reasons,
        renewed_reason=written["renewed_reason"],
        warnings=tuple((warnings[name], name) for name in written["warnings_of_users"]),
    )


def _names(enum: EnumDescriptorProto, prefix: str) -> dict[str, int]:
    return {value.name.removeprefix(prefix): value.number for value in enum.value if value.number}


def python(rules: Rules) -> Iterable[str]:
    """clients/python/instantaudience/rules.py."""
    yield f'"""What the clients of all languages go by.\n\n{ORIGIN}\n"""\n'
    for name, (value, text) in rules.constants.items():
        yield f'{name} = {value:_}\n"""{text}"""'
    for table in rules.tables:
        yield f"\n{table.name}: dict[{KEY_TYPES['python'][table.key]}, str] = {{"
        for value, kind, note in table.noted("  # "):
            yield f'    {_quoted(value)}: "{kind}",{note}'
        yield f'}}\n"""{table.text}"""'
    yield f'KIND_OTHERWISE = "{INTERNAL}"'
    yield f"SENT_AGAIN = frozenset({{{', '.join(map(_quoted, rules.sent_again))}}})"
    yield '"""Kinds of errors that another attempt helps."""'
    yield f'RENEWED_REASON = "{rules.renewed_reason}"'
    yield '"""The reason of errors that another token helps."""'
    yield "WARNINGS_OF_USERS = frozenset(\n    {"
    yield from (f"        {number},  # {name}" for number, name in rules.warnings)
    yield '    }\n)\n"""Codes of warnings of a user that was skipped as a whole."""'


def go(rules: Rules) -> Iterable[str]:
    """clients/go/rules.go."""
    yield f"// Code generated; {ORIGIN[0].lower()}{ORIGIN[1 : -len(': do not edit.')]}. DO NOT EDIT.\n"
    yield 'package instantaudience\n\nimport "google.golang.org/grpc/codes"\n'
    yield "// Kind is what an error means for a caller.\ntype Kind string\n"
    yield "// The kinds of errors.\nconst ("
    for kind, text in rules.kinds.items():
        yield f'\t// {text}\n\t{kind} Kind = "{kind}"'
    yield ")\n\n// Reasons of errors; see errors.proto.\nconst ("
    yield from _aligned((f"\tReason{_camel(reason)}", f'= "{reason}"') for reason in rules.reasons)
    yield ")\n\nconst ("
    for name, (value, text) in rules.constants.items():
        yield f"\t// {text}\n\t{_lower(_camel(name))} = {value}"
    yield f"\t// The reason of errors that another token helps.\n\trenewedReason = Reason{_camel(rules.renewed_reason)}"
    yield ")\n"
    for table in rules.tables:
        yield f"// {table.text}"
        yield f"var {_lower(_camel(table.name))} = map[{KEY_TYPES['go'][table.key]}]Kind{{"
        yield from _aligned((f"\t{_quoted(value)}:", f"{kind},", note) for value, kind, note in table.noted("// "))
        yield "}\n"
    yield "// Kinds of errors that another attempt helps."
    yield f"var sentAgain = map[Kind]bool{{{', '.join(f'{kind}: true' for kind in rules.sent_again)}}}\n"
    yield "// Codes of warnings of a user that was skipped as a whole.\nvar warningsOfUsers = map[int32]bool{"
    yield from (f"\t{number}: true, // {name}" for number, name in rules.warnings)
    yield "}"


def typescript(rules: Rules) -> Iterable[str]:
    """clients/typescript/src/rules.ts."""
    yield f"// {ORIGIN}\n"
    yield "/** What an error means for a caller. */\nexport type Kind ="
    yield "\n".join(f"  /** {text} */\n  | {_quoted(kind)}" for kind, text in rules.kinds.items()) + ";\n"
    yield "/** Reasons of errors; see errors.proto. */\nexport type Reason ="
    yield "\n".join(f"  | {_quoted(reason)}" for reason in rules.reasons) + ";\n"
    for name, (value, text) in rules.constants.items():
        yield f"/** {text} */\nexport const {name} = {value};"
    for table in rules.tables:
        key = KEY_TYPES["typescript"][table.key]
        yield f"\n/** {table.text} */\nexport const {table.name}: Readonly<Record<{key}, Kind>> = {{"
        for value, kind, note in table.noted(" // "):
            yield f'  {value}: "{kind}",{note}'
        yield "};"
    yield f'export const KIND_OTHERWISE: Kind = "{INTERNAL}";'
    yield "\n/** Kinds of errors that another attempt helps. */"
    yield f"export const SENT_AGAIN: ReadonlySet<Kind> = new Set<Kind>([{', '.join(map(_quoted, rules.sent_again))}]);"
    yield "\n/** The reason of errors that another token helps. */"
    yield f'export const RENEWED_REASON: Reason = "{rules.renewed_reason}";'
    yield "\n/** Codes of warnings of a user that was skipped as a whole. */"
    yield "export const WARNINGS_OF_USERS: ReadonlySet<number> = new Set(["
    yield from (f"  {number}, // {name}" for number, name in rules.warnings)
    yield "]);"


def java(rules: Rules) -> Iterable[str]:
    """clients/java/src/main/java/com/instantaudience/client/Rules.java."""
    yield f"// {ORIGIN}\npackage com.instantaudience.client;\n"
    yield "import java.util.EnumSet;\nimport java.util.Map;\nimport java.util.Set;\n"
    yield "/** What the clients of all languages go by. */\nfinal class Rules {\n  private Rules() {}\n"
    for name, (value, text) in rules.constants.items():
        yield f"  /** {text} */\n  static final int {name} = {value};\n"
    for table in rules.tables:
        key = KEY_TYPES["java"][table.key]
        yield f"  /** {table.text} */\n  static final Map<{key}, ErrorKind> {table.name} = Map.ofEntries("
        rows = [f"      Map.entry({_quoted(value)}, ErrorKind.{_upper(kind)})" for value, kind, _ in table.rows]
        yield ",\n".join(rows) + ");\n"
    yield f"  static final ErrorKind KIND_OTHERWISE = ErrorKind.{_upper(INTERNAL)};\n"
    again = ", ".join(f"ErrorKind.{_upper(kind)}" for kind in rules.sent_again)
    yield "  /** Kinds of errors that another attempt helps. */"
    yield f"  static final Set<ErrorKind> SENT_AGAIN = EnumSet.of({again});\n"
    yield "  /** The reason of errors that another token helps. */"
    yield f'  static final String RENEWED_REASON = "{rules.renewed_reason}";\n'
    yield "  /** Codes of warnings of a user that was skipped as a whole. */"
    numbers = ", ".join(f"{number} /* {name} */" for number, name in rules.warnings)
    yield f"  static final Set<Integer> WARNINGS_OF_USERS = Set.of({numbers});\n}}"


def java_kinds(rules: Rules) -> Iterable[str]:
    """clients/java/src/main/java/com/instantaudience/client/ErrorKind.java."""
    yield f"// {ORIGIN}\npackage com.instantaudience.client;\n"
    yield "/** What an error means for a caller. */\npublic enum ErrorKind {"
    yield ",\n".join(f"  /** {text} */\n  {_upper(kind)}" for kind, text in rules.kinds.items())
    yield "}"


FILES: dict[str, Callable[[Rules], Iterable[str]]] = {
    "python/instantaudience/rules.py": python,
    "go/rules.go": go,
    "typescript/src/rules.ts": typescript,
    "java/src/main/java/com/instantaudience/client/Rules.java": java,
    "java/src/main/java/com/instantaudience/client/ErrorKind.java": java_kinds,
}
"""Path under clients/ → generator; skipped if the language has no client."""


def _aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines with aligned columns, as gofmt formats them."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _quoted(value: int | str) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _upper(kind: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in kind).lstrip("_").upper()


def main() -> None:
    """Read a CodeGeneratorRequest from standard input, write the CodeGeneratorResponse to standard output."""
    request = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    response = plugin_pb2.CodeGeneratorResponse(
        supported_features=plugin_pb2.CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL
    )
    rules = read({enum.name: enum for file in request.proto_file for enum in file.enum_type})
    for name, make in FILES.items():
        if (CLIENTS / name.partition("/")[0]).is_dir():
            response.file.add(name=name, content="\n".join(make(rules)) + "\n")
    sys.stdout.buffer.write(response.SerializeToString())


if __name__ == "__main__":
    main()
