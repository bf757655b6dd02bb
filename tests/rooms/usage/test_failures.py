"""As what failed calls are counted, wherever they failed."""

import pytest
from instantaudience.v1 import audience_pb2
from instantaudience.v1 import usage_pb2 as pb
from instantaudience_server.errors import Reason
from instantaudience_server.store.usage_interface import CallFailure, Skip
from instantaudience_server.transport.status import ROWS
from instantaudience_server.usage.failures import FAILURES, STATUSES, failure_of, failure_with_status


@pytest.mark.parametrize("reason", Reason)
def test_gateway_and_service_count_a_failure_as_the_same(reason: Reason) -> None:
    assert reason in FAILURES
    assert failure_of(reason) is failure_with_status(ROWS[reason].http_status)


@pytest.mark.parametrize(("http_status", "failure"), [(418, CallFailure.SYNTAX), (502, CallFailure.INTERNAL)])
def test_a_status_of_its_own_counts_by_its_class(http_status: int, failure: CallFailure) -> None:
    assert http_status not in STATUSES
    assert failure_with_status(http_status) is failure


def test_reports_have_a_word_for_each() -> None:
    assert {f"CALL_FAILURE_{each.name}" for each in CallFailure} == {*pb.CallFailure.keys()} - {
        "CALL_FAILURE_UNSPECIFIED"
    }
    assert {f"WARNING_CODE_{each.name}" for each in Skip} < {*audience_pb2.WarningCode.keys()}
