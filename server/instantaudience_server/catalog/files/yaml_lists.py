"""Reads YAML that is a mapping of lists, one entry at a time, so that it needs memory for one entry only."""

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple, NoReturn

import yaml

# libyaml's loader is some ten times as fast; PyYAML has it only if it was built with libyaml.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_DEPTH = 70
"""The deepest nesting of lists and mappings in an entry."""
SCALARS_KEPT = 1024
_MAPPING_TAGS = (None, "!", "tag:yaml.org,2002:map")
_SEQUENCE_TAGS = (None, "!", "tag:yaml.org,2002:seq")


class YamlError(Exception):
    """The input is not YAML, or not a mapping of lists; the message is one line."""


class ListEntry(NamedTuple):
    """An entry, the name of its list, and its position there, from 0 on."""

    list_name: str
    position: int
    value: Any


def read_lists(source: BinaryIO, names: Collection[str]) -> Iterator[ListEntry]:
    """Yield the entries of the lists that have these names, in order. An empty document has none; a list may be null.

    Anchors and aliases are supported; merge keys (`<<`) are not.

    Raises:
        YamlError: the next entry is invalid; those before it have been yielded.
    """
    reader = _Reader(source, names)
    try:
        yield from reader.entries()
    # ValueError: an invalid date, for example, or a number of thousands of digits.
    except (yaml.YAMLError, ValueError) as error:
        raise YamlError(f"not YAML: {' '.join(str(error).split())}") from error


class _Reader:
    """Builds values from the parser's events, which is several times as fast as from its nodes."""

    def __init__(self, source: BinaryIO, names: Collection[str]) -> None:
        self._names = names
        self._loader = _Loader(source)
        self._anchors: dict[str, Any] = {}
        self._plain = lru_cache(SCALARS_KEPT)(self._resolve)

    def entries(self) -> Iterator[ListEntry]:
        self._loader.get_event()  # the stream's start
        if self._loader.check_event(yaml.StreamEndEvent):
            return
        self._loader.get_event()  # the document's start
        yield from self._lists(self._loader.get_event())
        self._loader.get_event()  # the document's end
        if not self._loader.check_event(yaml.StreamEndEvent):
            raise YamlError("there is more than one document")

    def _lists(self, top: Any) -> Iterator[ListEntry]:
        if isinstance(top, yaml.ScalarEvent) and self._scalar(top) is None:
            return
        if not isinstance(top, yaml.MappingStartEvent):
            raise YamlError("this must be a mapping of lists")
        seen: set[str] = set()
        while not self._ends(yaml.MappingEndEvent):
            name = self._key(seen)
            if name not in self._names:
                raise YamlError(f"{name}: there is no such list; there are {', '.join(self._names)}")
            event = self._loader.get_event()
            if isinstance(event, yaml.ScalarEvent) and self._scalar(event) is None:
                continue
            if not isinstance(event, yaml.SequenceStartEvent):
                raise YamlError(f"{name}: this must be a list")
            index = 0
            while not self._ends(yaml.SequenceEndEvent):
                yield ListEntry(name, index, self._value(0))
                index += 1

    def _value(self, depth: int) -> Any:
        event = self._loader.get_event()
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                _refuse(event, f"there is no anchor '{event.anchor}' before it")
            return self._anchors[event.anchor]
        elif depth == MOST_DEPTH:
            _refuse(event, f"this lies deeper than {MOST_DEPTH} levels")
        elif isinstance(event, yaml.MappingStartEvent):
            _must_have(event, _MAPPING_TAGS)
            value = {}
            seen: set[str] = set()
            while not self._ends(yaml.MappingEndEvent):
                key = self._key(seen)
                value[key] = self._value(depth + 1)
        else:
            _must_have(event, _SEQUENCE_TAGS)
            value = []
            while not self._ends(yaml.SequenceEndEvent):
                value.append(self._value(depth + 1))
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _key(self, seen: set[str]) -> str:
        event = self._loader.get_event()
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            _refuse(event, "a key must be text")
        if key in seen:
            _refuse(event, f"the key '{key}' stands twice")
        seen.add(key)
        return key

    def _ends(self, event_type: type[yaml.Event]) -> bool:
        """Whether a list or mapping ends here; if so, consumes the event of its end."""
        ends: bool = self._loader.check_event(event_type)
        if ends:
            self._loader.get_event()
        return ends

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.tag is not None and event.tag != "!":
            return self._construct(event.tag, event.value)
        return self._plain(event.value) if event.implicit[0] else event.value

    def _resolve(self, text: str) -> Any:
        return self._construct(self._loader.resolve(yaml.ScalarNode, text, (True, False)), text)

    def _construct(self, tag: str, text: str) -> Any:
        constructors = self._loader.yaml_constructors
        try:
            return constructors.get(tag, constructors[None])(self._loader, yaml.ScalarNode(tag, text))
        except (LookupError, AttributeError):  # PyYAML takes for granted that a value has the form of its tag
            raise YamlError(f"not YAML: a value with the tag {tag} is none") from None


def _must_have(event: Any, tags: tuple[str | None, ...]) -> None:
    if event.tag not in tags:
        _refuse(event, f"the tag {event.tag} is not known")


def _refuse(event: Any, rule: str) -> NoReturn:
    mark = event.start_mark
    raise YamlError(f"line {mark.line + 1}, column {mark.column + 1}: {rule}")
