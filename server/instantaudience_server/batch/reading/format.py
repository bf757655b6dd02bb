"""The format of lines in a member's files (source: contract-neighbours, "Batch Segment Service", the table of
"Text")."""

from dataclasses import dataclass

from instantaudience_server.catalog.batch_settings import BatchField, BatchSettings, Separators

LONGEST_LINE_BYTES = 256 * 1024
"""The most bytes of a line, without its end."""


@dataclass(frozen=True, slots=True)
class BatchFormat:
    """A member's format of lines, from valid settings (see `catalog.rules`). `seg_id` to `value` are the positions of
    these fields in a segment; None where lines do not have the field."""

    separators: Separators
    size: int
    """How many fields a segment has."""
    seg_id: int | None
    seg_code: int | None
    member_id: int | None
    expiration: int | None
    timestamp: int | None
    value: int | None
    most_segments: int
    """The most segments in a line."""

    @classmethod
    def of(cls, settings: BatchSettings) -> "BatchFormat":
        """The format of a member's settings."""
        places = {field: settings.fields.index(field) if field in settings.fields else None for field in BatchField}
        return cls(
            settings.separators,
            len(settings.fields),
            **{field.lower(): place for field, place in places.items()},
            most_segments=settings.segments_per_line,
        )
