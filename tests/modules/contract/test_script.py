"""The gateway's Lua filter, as it is put together."""

import dataclasses

import pytest
from instantaudience_gateway.contract import descriptor, script


def test_a_parameter_of_a_type_that_has_no_rule_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    share = descriptor.Field("share", "share", is_list=False, message=None, scalar_type="DOUBLE")
    first, *others = descriptor.endpoints()
    endpoints = [dataclasses.replace(first, parameters=(*first.parameters, share)), *others]
    monkeypatch.setattr(descriptor, "endpoints", lambda: endpoints)
    with pytest.raises(KeyError, match="DOUBLE"):
        script.contract_script(2**20, 5.0, "workers")
