"""What a program learns for which a package is missing."""

import sys
from collections.abc import Callable
from importlib import import_module

import pytest
from instantaudience import KeyPair, from_table


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("jwt", "keys", lambda: KeyPair("demo", "pods", "").assertion(0.0)),
        ("cryptography.hazmat.primitives.asymmetric.ec", "keys", lambda: KeyPair("demo", "pods", "").assertion(0.0)),
        ("narwhals", "tables", lambda: from_table({})),
        ("opentelemetry", "telemetry", lambda: import_module("instantaudience.telemetry")),
    ],
)
def test_the_extra_is_named_that_brings_a_missing_package(
    package: str, extra: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "instantaudience.telemetry", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'instant-audience-client\[{extra}\]'") as raised:
        use()
    assert raised.value.name is not None
    assert raised.value.name.startswith(package)


def test_all_of_the_client_can_be_imported_without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("jwt", "cryptography", "narwhals", "opentelemetry"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "instantaudience.telemetry", raising=False)
    names: dict[str, object] = {}
    exec("from instantaudience import *", names)  # only a module can
    assert "Client" in names
