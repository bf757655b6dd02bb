"""Users and blocks of requests."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from instantaudience.extras import needed
from instantaudience.v1.audience_pb2 import RtSegment, SegBlock

REMOVE = -1
"""The `expiration` that takes the user out of the segment."""
NEVER = 0
"""The `expiration` of a membership that never ends."""

_EXACT = 2**53
"""Integers from here on may not be exact as floats."""
_INT32 = range(-(2**31), 2**31)
_BLOCK_FIELDS = ("seg_id", "seg_code", "member_id", "value", "expiration")


def block(
    seg_id: int | None = None,
    *,
    seg_code: str | None = None,
    member_id: int | None = None,
    value: int | None = None,
    expiration: int | None = None,
) -> SegBlock:
    """A segment to join or leave: `seg_id`, or `seg_code` with the `member_id` that owns it.

    `expiration` is in minutes: `NEVER`, `REMOVE`, or None for the default of the segment or the member.
    """
    return SegBlock(seg_id=seg_id, seg_code=seg_code, member_id=member_id, value=value, expiration=expiration)


def user(user_id: str | int, *blocks: SegBlock, domain: str | None = None) -> RtSegment:
    """A user, and the segments to join or leave; `domain` is the kind of ID, None for the platform's own."""
    return RtSegment(user_id=str(user_id), domain=domain, seg_block=blocks)


def from_table(table: Any, columns: Mapping[str, str] | None = None) -> Iterator[RtSegment]:
    """The users of a pandas, polars or Arrow table with a membership per row; consecutive rows of a user are joined.

    Columns are `user_id` and, optionally, `domain`, `seg_id`, `seg_code`, `member_id`, `value` and `expiration`;
    `columns` maps these to other names: {"seg_id": "segment"}. Empty cells are absent fields.

    Raises:
        ValueError: a named column, or that of `user_id`, is missing; or, when its row is read, a number has a
            fraction or is not an int32, or an ID or code is a float of 2^53 or more, which may be inexact.
        ModuleNotFoundError: the package `narwhals` is missing (`pip install 'instant-audience-client[tables]'`).
    """
    with needed("tables"):
        import narwhals as nw

    frame = nw.from_native(table, eager_only=True)
    names = {name: name for name in ("user_id", "domain", *_BLOCK_FIELDS) if name in frame.columns}
    names |= columns or {}
    if missing := sorted(set(names.values()) - set(frame.columns)):
        raise ValueError(f"the table has no column {', '.join(missing)}")
    if "user_id" not in names:
        raise ValueError("the table has no column user_id")
    selected = frame.select(*(nw.col(column).alias(name) for name, column in names.items()))
    return _joined(selected.iter_rows(named=True))


def _joined(rows: Iterable[Mapping[str, Any]]) -> Iterator[RtSegment]:
    current: RtSegment | None = None
    for row in rows:
        user_id, domain = _present(row.get("user_id")), _present(row.get("domain"))
        name = "" if user_id is None else _text("user_id", user_id)
        fields = {field: _present(row.get(field)) for field in _BLOCK_FIELDS}
        if current is None or current.user_id != name or current.domain != (domain or ""):
            if current is not None:
                yield current
            current = RtSegment(user_id=name, domain=domain)
        code = fields.pop("seg_code")
        current.seg_block.add(
            seg_code=None if code is None else _text("seg_code", code),
            **{field: _number(field, number) for field, number in fields.items() if number is not None},
        )
    if current is not None:
        yield current


def _present(value: Any) -> Any:
    """None for missing values: NaN and NaT do not equal themselves, and comparing NA raises TypeError."""
    try:
        return None if value is None or value != value else value
    except TypeError:
        return None


def _text(field: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= _EXACT:
        raise ValueError(
            f"{field}: {value:.0f} may be another one: floats are exact below 2^53 only; use text or integers"
        )
    if not value.is_integer():
        raise ValueError(f"{field}: {value} is no whole number; use text or integers")
    return str(int(value))


def _number(field: str, value: Any) -> int:
    with suppress(ValueError, OverflowError):  # of text that is none, and of infinity
        number = int(value)
        if number in _INT32 and (isinstance(value, str) or number == value):
            return number
    raise ValueError(f"{field}: {value} is no whole number from -2147483648 to 2147483647")
