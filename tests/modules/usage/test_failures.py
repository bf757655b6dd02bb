"""As what failed calls are counted, wherever they failed."""

from instantaudience.v1 import audience_pb2
from instantaudience.v1 import usage_pb2 as pb
from instantaudience_server.errors import Reason
from instantaudience_server.store.interfaces.usage import CallFailure, Skip
from instantaudience_server.transport.status import ROWS
from instantaudience_server.usage.failures import REASONS, REFUSALS

COUNTED_OTHERWISE = {
    *("WARNING_CODE_UNSPECIFIED", "WARNING_CODE_NO_VALID_USERS", "WARNING_CODE_LEFT_OUT"),
    *("WARNING_CODE_UNKNOWN_SEGMENT", "WARNING_CODE_UNAUTHORIZED_SEGMENT", "WARNING_CODE_INACTIVE_SEGMENT"),
    "WARNING_CODE_UNKNOWN_USER_ID",
}
"""Those of requests as a whole, and those that the contract has counters for."""


def test_gateway_and_service_count_a_failure_as_the_same() -> None:
    assert REASONS.keys() == set(Reason)
    by_status = {row.http_status: REASONS[reason] for reason, row in ROWS.items()}
    shared = REFUSALS.keys() - {405, 408}
    assert {status: REFUSALS[status] for status in shared} == {status: by_status[status] for status in shared}


def test_reports_have_a_word_for_each() -> None:
    assert {f"CALL_FAILURE_{each.name}" for each in CallFailure} == {*pb.CallFailure.keys()} - {
        "CALL_FAILURE_UNSPECIFIED"
    }
    assert {f"WARNING_CODE_{each.name}" for each in Skip} == {*audience_pb2.WarningCode.keys()} - COUNTED_OTHERWISE
