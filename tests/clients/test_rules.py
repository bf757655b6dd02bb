"""What clients go by is what the service does."""

from dataclasses import asdict

import pytest
from instantaudience import rules
from instantaudience_server.admission.quotas import Limits
from instantaudience_server.transport.status import ROWS


@pytest.mark.parametrize(
    "name",
    ["users_per_call", "segments_per_user", "body_bytes", "posts_per_second", "users_per_second", "gets_per_second"],
)
def test_limits_that_a_member_does_not_name_are_the_services(name: str) -> None:
    assert getattr(rules, name.upper()) == asdict(Limits())[name]


def test_every_error_of_the_service_has_a_kind_but_defects() -> None:
    others = {row.grpc_code for row in ROWS.values()} - set(rules.KIND_OF_CODE)
    assert others == {13}
    assert set(rules.KIND_OF_REASON) <= {row.error_id for row in ROWS.values()}
