"""Run with the lowest and the highest versions that the Python client allows: all of it can be imported, and works.

`make test-clients` runs it; it needs no package but the client and its extras.
"""

import asyncio
import pkgutil
from importlib import import_module
from importlib.metadata import version

import instantaudience
import pandas
import polars
import pyarrow
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from instantaudience import AsyncClient, KeyPair, OpenTelemetry, Password, from_table
from instantaudience.testing import FakeService


async def main() -> None:
    """Import every module, and call."""
    for module in pkgutil.walk_packages(instantaudience.__path__, "instantaudience."):
        import_module(module.name)
    columns = {"user_id": ["1", "1", "2"], "seg_id": [7, 8, 7]}
    users = list(from_table(pandas.DataFrame(columns)))
    assert users == list(from_table(polars.DataFrame(columns))) == list(from_table(pyarrow.table(columns)))
    async with (
        FakeService() as service,
        AsyncClient(service.endpoint, Password("demo", "demo"), plaintext=True, telemetry=OpenTelemetry()) as client,
    ):
        assert (await client.apply(users)).message.segments_in_request == 3
        assert [result.error async for result in client.stream(users)] == [None]
        assert [len(user.seg_block) for user in await client.memberships(["1", "2"])] == [2, 1]
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert KeyPair("demo", "pods", pem).assertion(0.0).count(".") == 2
    packages = (
        "grpcio",
        "protobuf",
        "googleapis-common-protos",
        "narwhals",
        "pyjwt",
        "cryptography",
        "opentelemetry-api",
    )
    print(*(f"{name} {version(name)}" for name in packages), sep=", ")  # noqa: T201


asyncio.run(main())
