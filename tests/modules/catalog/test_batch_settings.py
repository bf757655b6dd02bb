"""How a member's files are read, and how many it may send (contract-neighbours, "Batch Segment Service")."""

from typing import Any

import pytest
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.catalog.batch_settings import (
    DEFAULTS,
    LIMITS,
    RULES,
    BatchField,
    BatchSettings,
    Separators,
    settings_of,
)
from instantaudience_server.catalog.rules import check
from instantaudience_server.errors import AudienceError

CHARACTER = "must be one character: no letter, no digit, no line break, and none of [](){}$\\/|?*+-"
OPTIONAL = CHARACTER + "; or empty, where it is not used"
DIFFERENT = "must all be different; only 'user_separator' and 'field_separator' may be equal"
FIELDS = (
    "must hold SEG_ID or SEG_CODE, one of the two, and no field twice; the others are MEMBER_ID, EXPIRATION, TIMESTAMP "
    "and VALUE"
)
SEG_ID, SEG_CODE, VALUE = pb.BATCH_FIELD_SEG_ID, pb.BATCH_FIELD_SEG_CODE, pb.BATCH_FIELD_VALUE


def member(**settings: Any) -> pb.Member:
    return pb.Member(id=1, name="Member", batch=settings)


GOOD: list[dict[str, Any]] = [
    {},
    *({"user_separator": each} for each in "=~ !\"#%&'<>@_`.\u2013\u00a7\u00a0\0\1\x1f"),
    {"user_separator": "\t", "field_separator": "\t", "removal_separator": ""},
    {"user_separator": "\t", "field_separator": "\t"},
    {"segment_separator": "", "removal_separator": "", "domain_separator": ""},
    {"fields": [SEG_ID]},
    {"fields": [VALUE, SEG_CODE, pb.BATCH_FIELD_MEMBER_ID, pb.BATCH_FIELD_TIMESTAMP, pb.BATCH_FIELD_EXPIRATION]},
    *({name: value} for name, bounds in LIMITS.items() for value in bounds),
]

BAD: list[tuple[dict[str, Any], str, str]] = [
    *(({"user_separator": each}, "user_separator", CHARACTER) for each in "a1é٣[](){}$\\/|?*+-\n\r"),
    ({"user_separator": "::"}, "user_separator", CHARACTER),
    ({"user_separator": ""}, "user_separator", CHARACTER),
    ({"field_separator": ""}, "field_separator", CHARACTER),
    ({"segment_separator": "x"}, "segment_separator", OPTIONAL),
    ({"removal_separator": "--"}, "removal_separator", OPTIONAL),
    ({"domain_separator": "9"}, "domain_separator", OPTIONAL),
    ({"user_separator": "=", "segment_separator": "="}, "separators", DIFFERENT),
    ({"field_separator": ",", "segment_separator": ","}, "separators", DIFFERENT),
    ({"user_separator": "\t", "removal_separator": "\t"}, "separators", DIFFERENT),
    ({"removal_separator": "^", "domain_separator": "^"}, "separators", DIFFERENT),
    ({"segment_separator": ":"}, "separators", DIFFERENT),
    ({"domain_separator": ";"}, "separators", DIFFERENT),
    ({"fields": [VALUE]}, "fields", FIELDS),
    ({"fields": [SEG_ID, SEG_CODE]}, "fields", FIELDS),
    ({"fields": [SEG_ID, VALUE, VALUE]}, "fields", FIELDS),
    ({"fields": [SEG_ID, pb.BATCH_FIELD_UNSPECIFIED]}, "fields", FIELDS),
    ({"fields": [SEG_ID, 99]}, "fields", FIELDS),
    *(({name: low - 1}, name, f"must be {low} to {high}") for name, (low, high) in LIMITS.items()),
    *(({name: high + 1}, name, f"must be {low} to {high}") for name, (low, high) in LIMITS.items() if high < 2**31 - 1),
]


def test_what_is_allowed(subtests: pytest.Subtests) -> None:
    for settings in GOOD:
        with subtests.test(settings=settings):
            check(member(**settings))


def test_what_is_refused_by_field_and_rule(subtests: pytest.Subtests) -> None:
    for settings, field, rule in BAD:
        with subtests.test(settings=settings, field=field, rule=rule):
            with pytest.raises(AudienceError) as error:
                check(member(**settings))
            assert error.value.message == f"'batch.{field}' {rule}"


def test_no_field_is_forgotten() -> None:
    ruled = {field for field, _, _ in RULES} - {"separators"} | LIMITS.keys()
    assert ruled | {"batch_job_as_list"} == {field.name for field in pb.BatchSettings.DESCRIPTOR.fields}
    assert {field for field, _, _ in RULES} | LIMITS.keys() == {field for _, field, _ in BAD}


def test_what_is_absent_has_its_default() -> None:
    assert settings_of(pb.BatchSettings()) == DEFAULTS == BatchSettings()
    assert DEFAULTS.separators == (";", ",", ":", "\t", "^")


def test_what_is_given_holds() -> None:
    given = pb.BatchSettings(
        user_separator="=", segment_separator="", fields=[VALUE, SEG_CODE], error_lines=0, batch_job_as_list=True
    )
    given.num_invalid_before_error = 0
    assert settings_of(given) == BatchSettings(
        separators=Separators("=", "", ":", "\t", "^"),
        fields=(BatchField.VALUE, BatchField.SEG_CODE),
        num_invalid_before_error=0,
        error_lines=0,
        batch_job_as_list=True,
    )


def test_an_absent_separator_gives_way_to_one_that_has_its_default() -> None:
    """`\\t – \\t`: one segment a line, and no removals after a tab."""
    tabs = settings_of(pb.BatchSettings(user_separator="\t", segment_separator="", field_separator="\t")).separators
    assert tabs == ("\t", "", "\t", "", "^")
