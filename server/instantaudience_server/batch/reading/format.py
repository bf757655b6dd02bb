"""How the lines of a member's files are read (source: contract-neighbours, "Batch Segment Service", the table of
"Text")."""

from dataclasses import dataclass

from instantaudience_server.catalog.batch_settings import DEFAULTS, BatchField, BatchSettings, Separators

LONGEST_LINE_BYTES = 256 * 1024
"""A line, without its end."""


@dataclass(frozen=True, slots=True)
class BatchFormat:
    """A member's; the settings behind it keep the rules (see `catalog.rules`). A field's place in a segment is None
    where lines do not have it."""

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
    """Of a line."""

    @classmethod
    def of(cls, settings: BatchSettings) -> "BatchFormat":
        """What a member is set to."""
        places = {field: settings.fields.index(field) if field in settings.fields else None for field in BatchField}
        return cls(
            settings.separators,
            len(settings.fields),
            **{field.lower(): place for field, place in places.items()},
            most_segments=settings.segments_per_line,
        )


DEFAULT = BatchFormat.of(DEFAULTS)
