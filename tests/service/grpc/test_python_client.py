"""The Python client and the service, on every host; its README does as it says."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from instantaudience import AsyncClient, KeyPair, Password, Token, UnauthenticatedError, block, user
from instantaudience.errors import InvalidRequestError
from instantaudience.v1 import audience_pb2 as pb
from instantaudience.v1 import catalog_pb2, catalog_pb2_grpc
from redis.asyncio import RedisCluster
from support.credentials.key_pairs import private_pem, public_pem
from support.service.running import Service

README = Path(__file__).parents[3] / "clients/python/README.md"


@pytest.fixture
async def token(service: Service) -> Token:
    """An account may sign in ten times in five minutes: others share this one."""
    return Token(await service.token())


async def test_the_readme(service: Service, cluster: RedisCluster) -> None:
    first, output, second = re.findall(r"```(?:python)?\n(.*?)```", README.read_text(), re.DOTALL)
    script = (first + second).replace("127.0.0.1:50051", service.grpc_address)
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (ran.stdout, ran.stderr) == (output, "")


async def test_what_is_too_much_for_a_call(service: Service, cluster: RedisCluster, token: Token) -> None:
    """1100 users, one of them with more blocks than a user may have, one of them in an unknown segment."""
    users = [user(index, block(10001, value=index)) for index in range(1, 1101)]
    users[1049].seg_block.extend([block(10002, value=value) for value in range(150)] + [block(99)])
    async with AsyncClient(service.grpc_address, token, plaintext=True) as client:
        answer = await client.apply(users)
        assert (answer.message.users_in_request, answer.message.segments_in_request) == (1100, 1251)
        assert [(each.code, each.path) for each in answer.warnings] == [
            (pb.WARNING_CODE_UNKNOWN_SEGMENT, "rt_segment[1049].seg_block[151]")
        ]
        read = await client.memberships([str(index) for index in range(1, 1101)])
        assert [each.seg_block[0].value for each in read] == list(range(1, 1101))
        assert [(each.seg_id, each.value) for each in read[1049].seg_block] == [(10001, 1050), (10002, 149)]
        results = [result async for result in client.stream(users)]
        assert sum(len(result.result.warnings) for result in results if result.result) == 1
        assert {result.error for result in results} == {None}


async def test_failures_have_types(service: Service, token: Token) -> None:
    async with AsyncClient(service.grpc_address, Password("nobody", "wrong"), plaintext=True) as client:
        with pytest.raises(UnauthenticatedError, match="NOAUTH"):
            await client.apply([user(1, block(10001))])
    async with AsyncClient(service.grpc_address, token, plaintext=True) as client:
        with pytest.raises(InvalidRequestError) as raised:
            await client.memberships(["abc"])
    assert raised.value.metadata["field"] == "user_id"


@pytest.mark.parametrize("kind", ["RS256", "ES256"])
async def test_a_key_pair(service: Service, token: Token, kind: str) -> None:
    name = f"client {kind}"
    async with service.channel("direct") as channel:
        await catalog_pb2_grpc.CatalogServiceStub(channel).AddPublicKey(
            catalog_pb2.AddPublicKeyRequest(name=name, pem=public_pem(kind)), metadata=(("authorization", token.token),)
        )
    credentials = KeyPair("demo", name, private_pem(kind))
    async with AsyncClient(service.grpc_address, credentials, plaintext=True) as client:
        assert (await client.apply([user(1, block(10001))])).message.users_in_request == 1
    async with AsyncClient(service.grpc_address, KeyPair("demo", "none", private_pem(kind)), plaintext=True) as client:
        with pytest.raises(UnauthenticatedError, match="NOAUTH"):
            await client.limits()
