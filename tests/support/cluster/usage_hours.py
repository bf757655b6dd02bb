"""Hours of members, as they stand in the cluster (docs/adr/0014-usage.md)."""

from collections.abc import Mapping
from typing import Any

from instantaudience_server.store.interfaces.usage import Lines
from instantaudience_server.store.keys import usage_key, usage_lines_key


def put_hour(pipeline: Any, member_id: int, hour: int, counters: Mapping[Any, Any], lines: Mapping[str, str]) -> None:
    """Have a pipeline write an hour; the lines of a kind have line breaks between them."""
    pipeline.hset(usage_key(member_id, hour), mapping=dict(counters))
    for kind, text in lines.items():
        pipeline.set(usage_lines_key(member_id, hour, kind), f"{text}\n")


def delete_hour(pipeline: Any, member_id: int, hour: int) -> None:
    """Have a pipeline delete an hour."""
    pipeline.delete(usage_key(member_id, hour))
    for kind in Lines._fields:
        pipeline.delete(usage_lines_key(member_id, hour, kind))
