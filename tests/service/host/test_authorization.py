"""Who may do what: every RPC and every REST path, called by everybody (catalog.proto, segment.proto, identity.proto;
contract, "Tokens").

Rows are about the affairs of one member, `OWN`. A call that may be made need not succeed: it may be one that fails for
another reason, so that nothing is changed.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from instantaudience.v1 import audience_pb2, batch_pb2, batch_pb2_grpc, catalog_pb2_grpc
from instantaudience.v1 import catalog_pb2 as pb
from instantaudience_server.sign_in.tokens import hash_token
from instantaudience_server.transport.methods.services import FILES
from redis.asyncio import RedisCluster
from support.parts.callers import quick_hash
from support.service.running import Service
from support.waiting import eventually

PASSWORD = "Some-Passw0rd!"
CODE = "theirs"
FIRST_USER = 100_000
"""IDs from here on are the tests' own."""

NOBODY = ("no token", "unknown", "expired", "deactivated")
CALLERS = (*NOBODY, "member", "other member", "admin")
"""`member` belongs to the member that the rows are about, `admin` to none of the two."""
REFUSED = {"no token": "NOAUTH", "unknown": "NOAUTH", "expired": "NOAUTH", "deactivated": "NOAUTH_DISABLED"}


@dataclass
class World:
    """What the rows are about; `spare` is a segment of the member's, to be used up, `job` one that has ended."""

    nodes: RedisCluster
    admin: catalog_pb2_grpc.CatalogServiceStub
    metadata: tuple[tuple[str, str], ...]
    own: int = 0
    user: int = 0
    colleague: int = 0
    segment: int = 0
    spare: int = 0
    job: str = ""
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    async def call(self, rpc: str, **fields: Any) -> Any:
        """Call CatalogService as an admin."""
        method = pb.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name[rpc]
        return await getattr(self.admin, rpc)(GetMessageClass(method.input_type)(**fields), metadata=self.metadata)

    async def create(self, rpc: str, **fields: Any) -> int:
        """Create an object; its ID."""
        answer = await self.call(rpc, **fields)
        ((_, created),) = answer.ListFields()
        return int(created.id)

    async def renew_spare(self) -> None:
        """Make another segment to be used up."""
        self.spare = await self.create("CreateSegment", segment={"member_id": self.own})

    async def spare_token(self, caller: str) -> str:
        """Another token of a caller's, to be used up; that of nobody is theirs."""
        session = await self.nodes.get(f"t:{hash_token(self.tokens[caller])}")
        if session is None:
            return self.tokens[caller]
        token = f"hbapi:{self.user}:{secrets.token_hex(16)}:local"
        await self.nodes.set(f"t:{hash_token(token)}", session, ex=60)
        return token


class Row(NamedTuple):
    """A request, and what comes of it: for the member's own user, another member's, and an admin.

    `WARNED` is a request that is answered with a warning. A row with one outcome is open to everybody. `uses_up` says
    that the call needs a spare segment of its own, `ends_token` a spare token.
    """

    request: Callable[[World], dict[str, Any]]
    member: str
    other: str = ""
    admin: str = ""
    uses_up: bool = False
    ends_token: bool = False

    def outcome(self, caller: str) -> str:
        """What comes of it for one of `CALLERS`."""
        if not self.other:
            return self.member
        users = {"member": self.member, "other member": self.other, "admin": self.admin}
        return {**REFUSED, **users}[caller]


OK, WARNED, UNAUTH = "OK", "WARNED", "UNAUTH"
OWN_AFFAIR = (OK, UNAUTH, OK)
ADMIN_ONLY = (UNAUTH, UNAUTH)
ANYBODY = (OK, OK, OK)


def users(world: World) -> list[dict[str, Any]]:
    return [{"user_id": "7", "seg_block": [{"seg_id": world.segment}]}]


def mapping(world: World) -> dict[str, Any]:
    return {"member_id": world.own, "user_id": "7", "external_ids": ["matrix"]}


def mask(*paths: str) -> dict[str, Any]:
    return {"paths": paths}


CONSUMER = {"identifier": "7", "identifier_type": "uuid2", "request_type": "delete"}

RPCS: dict[str, Row] = {
    "AudienceService/ApplySegments": Row(lambda world: {"rt_segment": users(world)}, OK, WARNED, WARNED),
    "AudienceService/StreamSegments": Row(lambda world: {"rt_segment": users(world)}, OK, WARNED, WARNED),
    "AudienceService/GetMemberships": Row(lambda _: {"user_id": "7"}, *ANYBODY),
    "AudienceService/BatchGetMemberships": Row(lambda _: {"users": [{"user_id": "7"}]}, *ANYBODY),
    "AuthenticationService/Authenticate": Row(lambda _: {}, "INVALID_ARGUMENT"),
    "AuthenticationService/AuthenticateWithJwt": Row(lambda _: {}, "INVALID_ARGUMENT"),
    "AuthenticationService/RevokeToken": Row(lambda _: {}, *ANYBODY, ends_token=True),
    "SignInService/SignIn": Row(lambda _: {}, "INVALID_ARGUMENT"),
    "SignInService/SignInWithJwt": Row(lambda _: {}, "INVALID_ARGUMENT"),
    "SignInService/SignOut": Row(lambda _: {}, *ANYBODY, ends_token=True),
    "StatusService/GetStatus": Row(lambda _: {}, OK),
    "StatusService/GetReadiness": Row(lambda _: {}, OK),
    "BatchSegmentService/CreateBatchJob": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "BatchSegmentService/UploadBatchFile": Row(lambda world: {"member_id": world.own, "data": b""}, *OWN_AFFAIR),
    "BatchSegmentService/GetBatchJob": Row(lambda world: {"job_id": world.job}, *OWN_AFFAIR),
    "BatchSegmentService/ListBatchJobs": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "BatchSegmentService/CancelBatchJob": Row(
        lambda world: {"job_id": world.job}, "FAILED_PRECONDITION", UNAUTH, "FAILED_PRECONDITION"
    ),
    "BatchSegmentService/GetBatchUsage": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "BatchService/AddJob": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "BatchService/FindJobs": Row(lambda world: {"job_id": world.job}, *OWN_AFFAIR),
    "BatchService/DescribeJobs": Row(lambda _: {}, *ANYBODY),
    "BatchService/FindConfig": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "BatchService/ChangeConfig": Row(
        lambda world: {"member_id": world.own, "batch_segment_config": {"separator_1": "!"}}, *ADMIN_ONLY, OK
    ),
    "CatalogService/CreateMember": Row(lambda _: {"member": {"name": ""}}, *ADMIN_ONLY, "INVALID_ARGUMENT"),
    "CatalogService/GetMember": Row(lambda world: {"id": world.own}, *OWN_AFFAIR),
    "CatalogService/ListMembers": Row(lambda _: {}, *ADMIN_ONLY, OK),
    "CatalogService/UpdateMember": Row(
        lambda world: {"member": {"id": world.own, "name": "Own"}, "update_mask": mask("name")}, *ADMIN_ONLY, OK
    ),
    "CatalogService/DeleteMember": Row(lambda world: {"id": world.own}, *ADMIN_ONLY, "FAILED_PRECONDITION"),
    "CatalogService/CreateUser": Row(
        lambda world: {"user": {"username": "x", "member_id": world.own}, "password": "weak"},
        *(*ADMIN_ONLY, "INVALID_ARGUMENT"),
    ),
    "CatalogService/GetUser": Row(lambda world: {"id": world.user}, *OWN_AFFAIR),
    "CatalogService/ListUsers": Row(lambda world: {"member_id": world.own}, *ADMIN_ONLY, OK),
    "CatalogService/UpdateUser": Row(
        lambda world: {"user": {"id": world.user, "role": pb.ROLE_MEMBER}, "update_mask": mask("role")},
        *(*ADMIN_ONLY, OK),
    ),
    "CatalogService/DeleteUser": Row(lambda world: {"id": world.user, "etag": "old"}, *ADMIN_ONLY, "ABORTED"),
    "CatalogService/ChangePassword": Row(
        lambda world: {"id": world.user, "current_password": "x", "new_password": "weak"},
        *("INVALID_ARGUMENT", UNAUTH, "INVALID_ARGUMENT"),
    ),
    "CatalogService/AddPublicKey": Row(
        lambda world: {"user_id": world.user}, "INVALID_ARGUMENT", UNAUTH, "INVALID_ARGUMENT"
    ),
    "CatalogService/ListPublicKeys": Row(lambda world: {"user_id": world.user}, *OWN_AFFAIR),
    "CatalogService/UpdatePublicKey": Row(
        lambda world: {"user_id": world.user, "key_id": 1, "active": False}, "NOT_FOUND", UNAUTH, "NOT_FOUND"
    ),
    "PublicKeyService/AddPublicKey": Row(
        lambda world: {"user_id": world.user, "public_key": {}}, "INVALID_ARGUMENT", UNAUTH, "INVALID_ARGUMENT"
    ),
    "PublicKeyService/FindPublicKeys": Row(lambda world: {"user_id": world.user}, *OWN_AFFAIR),
    "PublicKeyService/ChangePublicKey": Row(
        lambda world: {"user_id": world.user, "key_id": 1, "public_key": {"active": False}},
        *("NOT_FOUND", UNAUTH, "NOT_FOUND"),
    ),
    "CatalogService/RevokeTokens": Row(lambda world: {"id": world.colleague}, *ADMIN_ONLY, OK),
    "CatalogService/CreateSegment": Row(
        lambda world: {"segment": {"member_id": world.own, "code": CODE}}, "ALREADY_EXISTS", UNAUTH, "ALREADY_EXISTS"
    ),
    "CatalogService/GetSegment": Row(lambda world: {"id": world.segment}, *OWN_AFFAIR),
    "CatalogService/ListSegments": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "CatalogService/UpdateSegment": Row(
        lambda world: {"segment": {"id": world.segment, "code": CODE}, "update_mask": mask("code")}, *OWN_AFFAIR
    ),
    "CatalogService/DeleteSegment": Row(lambda world: {"id": world.spare}, *OWN_AFFAIR, uses_up=True),
    "CatalogService/ImportCatalog": Row(lambda _: {}, *ADMIN_ONLY, OK),
    "IdentityService/MapUser": Row(lambda world: {"mapuid": mapping(world)}, *OWN_AFFAIR),
    "IdentityService/ResolveUser": Row(lambda world: {"member_id": world.own, "external_ids": ["matrix"]}, *OWN_AFFAIR),
    "IdentityService/UnmapUser": Row(lambda world: {"member_id": world.own, "external_ids": ["matrix"]}, *OWN_AFFAIR),
    "PrivacyService/GetUserSegments": Row(lambda world: {"user_id": "7", "member_id": world.own}, *OWN_AFFAIR),
    "PrivacyService/ForgetUser": Row(lambda world: {"user_id": "7", "member_id": world.own}, *OWN_AFFAIR),
    "PrivacyService/LiftSuppression": Row(lambda world: {"user_id": "7", "member_id": world.own}, *OWN_AFFAIR),
    "ConsumerRequestService/AnswerConsumer": Row(
        lambda world: {"request": {**CONSUMER, "member_id": world.own}}, *OWN_AFFAIR
    ),
    "SegmentService/AddSegment": Row(
        lambda world: {"member_id": world.own, "segment": {"code": {"string_value": CODE}}},
        "ALREADY_EXISTS",
        UNAUTH,
        "ALREADY_EXISTS",
    ),
    "SegmentService/FindSegments": Row(lambda world: {"id": str(world.segment)}, *OWN_AFFAIR),
    "SegmentService/ChangeSegment": Row(
        lambda world: {"id": world.segment, "segment": {"code": {"string_value": CODE}}}, *OWN_AFFAIR
    ),
    "SegmentService/DescribeSegments": Row(lambda _: {}, *ANYBODY),
    "MemberService/ShowMember": Row(lambda _: {}, *ANYBODY),
    "SegmentService/RemoveSegment": Row(lambda world: {"id": world.spare}, *OWN_AFFAIR, uses_up=True),
    "UsageService/GetProcessed": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "UsageService/GetUsage": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "UsageService/GetOverview": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "Health/Check": Row(lambda _: {}, OK),
    "Health/List": Row(lambda _: {}, "UNIMPLEMENTED"),
    "Health/Watch": Row(lambda _: {}, OK),
    "ServerReflection/ServerReflectionInfo": Row(lambda _: {"list_services": ""}, OK),
}

PATHS: dict[str, Row] = {
    "POST /auth": Row(lambda _: {"body": {}}, "400 SYNTAX"),
    "POST /v2/auth/jwt": Row(lambda _: {"body": {}}, "400 SYNTAX"),
    "POST /public-key": Row(
        lambda world: {"user_id": world.user, "body": {"public-key": {}}}, "400 SYNTAX", UNAUTH, "400 SYNTAX"
    ),
    "GET /public-key": Row(lambda world: {"user_id": world.user}, *OWN_AFFAIR),
    "PUT /public-key": Row(
        lambda world: {"user_id": world.user, "key_id": 1, "body": {"public-key": {"active": False}}},
        *("404 SYNTAX", UNAUTH, "404 SYNTAX"),
    ),
    "DELETE /auth": Row(lambda _: {}, *ANYBODY, ends_token=True),
    "GET /healthz": Row(lambda _: {}, OK),
    "GET /readyz": Row(lambda _: {}, OK),
    "POST /rt-segment": Row(lambda world: {"body": {"rt_segment": users(world)}}, OK, WARNED, WARNED),
    "GET /rt-segment": Row(lambda _: {"user_id": "7"}, *ANYBODY),
    "POST /mapuid": Row(lambda world: {"body": {"mapuid": mapping(world)}}, *OWN_AFFAIR),
    "POST /privacy/consumer-request": Row(lambda world: {"member_id": world.own, "body": CONSUMER}, *OWN_AFFAIR),
    "POST /segment": Row(
        lambda world: {"member_id": world.own, "body": {"segment": {"code": CODE}}},
        *("409 INTEGRITY", UNAUTH, "409 INTEGRITY"),
    ),
    "GET /segment": Row(lambda world: {"id": world.segment}, *OWN_AFFAIR),
    "PUT /segment": Row(lambda world: {"id": world.segment, "body": {"segment": {"code": CODE}}}, *OWN_AFFAIR),
    "DELETE /segment": Row(lambda world: {"id": world.spare}, *OWN_AFFAIR, uses_up=True),
    "POST /batch-segment": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "GET /batch-segment": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "GET /batch-segment/meta": Row(lambda _: {}, *ANYBODY),
    "GET /batch-segment-config": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "PUT /batch-segment-config": Row(
        lambda world: {"member_id": world.own, "body": {"batch_segment_config": {"separator_1": "!"}}}, *ADMIN_ONLY, OK
    ),
    "POST /batch-segment-config": Row(
        lambda world: {"member_id": world.own, "body": {"batch_segment_config": {}}}, *ADMIN_ONLY, OK
    ),
    "GET /segment/meta": Row(lambda _: {}, *ANYBODY),
    "GET /member": Row(lambda _: {}, *ANYBODY),
    "GET /rt-segment-processed": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "GET /console/usage": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
    "GET /console/members": Row(lambda _: {}, *ADMIN_ONLY, OK),
    "GET /console/overview": Row(lambda world: {"member_id": world.own}, *OWN_AFFAIR),
}

STATUSES = {"NOAUTH": 401, "NOAUTH_DISABLED": 401, "UNAUTH": 403}


def methods() -> dict[str, MethodDescriptor]:
    """Every RPC that is served, by the last two parts of its name."""
    return {
        f"{service.name}/{method.name}": method
        for file in (*FILES, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
    }


def paths() -> set[str]:
    """Every method and path that REST callers have, aliases left out: the gateway makes them the path that they are."""
    rules = [method.GetOptions().Extensions[annotations_pb2.http] for method in methods().values()]
    bindings = [each for rule in rules for each in (rule, *rule.additional_bindings)]
    patterns = [(each.WhichOneof("pattern"), each) for each in bindings]
    found = {f"{pattern.upper()} {getattr(rule, pattern)}" for pattern, rule in patterns if pattern}
    return {path for path in found if "{" not in path}


def test_every_rpc_and_every_path_has_a_row() -> None:
    assert set(RPCS) == set(methods())
    assert set(PATHS) == paths()


@pytest.fixture(scope="module")
def channels(service: Service) -> Iterator[dict[str, grpc.Channel]]:
    """gRPC callers, by port. grpc.aio's may take a stream that was refused before its first message for a defect."""
    addresses = {"gateway": service.http_address, "direct": service.grpc_address}
    with ExitStack() as stack:
        yield {port: stack.enter_context(grpc.insecure_channel(address)) for port, address in addresses.items()}


@pytest.fixture(scope="module")
async def rest(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A REST caller."""
    async with service.http() as client:
        yield client


@pytest.fixture(scope="module")
async def world(service: Service, nodes: RedisCluster) -> AsyncIterator[World]:
    """Two members, their users and segments; known to all workers. They go at the end."""
    metadata = (("authorization", await service.token("admin")),)
    async with service.channel("direct") as channel:
        world = World(nodes, catalog_pb2_grpc.CatalogServiceStub(channel), metadata)
        other = await world.create("CreateMember", member={"name": "Other"})
        world.own = await world.create("CreateMember", member={"name": "Own"})
        owners = {"member": world.own, "other": other, "deactivated": world.own, "colleague": world.own}
        ids = await create_users(world, owners)
        world.user, world.colleague = ids["member"], ids["colleague"]
        world.segment = await world.create("CreateSegment", segment={"member_id": world.own, "code": CODE})
        world.tokens = {
            "no token": "",
            "unknown": f"hbapi:{world.user}:{secrets.token_hex(16)}:local",
            "expired": await sign_in(service, f"member {world.own}"),
            "deactivated": await sign_in(service, f"deactivated {world.own}"),
            "member": await sign_in(service, f"member {world.own}"),
            "other member": await sign_in(service, f"other {world.own}"),
            "admin": metadata[0][1],
        }
        assert await nodes.pexpire(f"t:{hash_token(world.tokens['expired'])}", 1)
        deactivated = {"id": ids["deactivated"], "deactivated": True}
        await world.call("UpdateUser", user=deactivated, update_mask=mask("deactivated"))
        await eventually(lambda: everybody_is_known(service, world))
        world.job = await ended_job(channel, world)
        yield world
        for segment in (await world.call("ListSegments", member_id=world.own, page_size=1000)).segments:
            await world.call("DeleteSegment", id=segment.id)
        for user_id in ids.values():
            await world.call("DeleteUser", id=user_id)
        for member_id in (world.own, other):
            await world.call("DeleteMember", id=member_id)


async def create_users(world: World, owners: dict[str, int]) -> dict[str, int]:
    """Create users of members, whose password is quick to check; their IDs."""
    first = FIRST_USER + 10 * world.own
    users = [
        {
            "user": {"id": first + number, "username": f"{name} {world.own}", "member_id": member_id},
            "password_hash": quick_hash(PASSWORD),
        }
        for number, (name, member_id) in enumerate(owners.items())
    ]
    requests = iter([pb.ImportCatalogRequest(users=users)])
    (answer,) = [answer async for answer in world.admin.ImportCatalog(requests, metadata=world.metadata)]
    assert answer.created == len(users), answer
    return {name: first + number for number, name in enumerate(owners)}


async def ended_job(channel: grpc.aio.Channel, world: World) -> str:
    """A job of the member's that has ended."""
    jobs = batch_pb2_grpc.BatchSegmentServiceStub(channel)
    request = batch_pb2.CreateBatchJobRequest(member_id=world.own)
    job_id: str = (await jobs.CreateBatchJob(request, metadata=world.metadata)).job.job_id
    await jobs.CancelBatchJob(batch_pb2.CancelBatchJobRequest(job_id=job_id), metadata=world.metadata)
    return job_id


async def sign_in(service: Service, username: str) -> str:
    """A user's token, as soon as a worker knows the user."""
    return str(await eventually(lambda: service.sign_in(username, PASSWORD)))


async def everybody_is_known(service: Service, world: World) -> None:
    """To all workers: each connection may lead to another one."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    for address in [service.grpc_address, service.http_address] * 10:
        with grpc.insecure_channel(address, options=options) as channel:
            for caller, outcome in (("member", OK), ("other member", UNAUTH), *REFUSED.items()):
                request = {"id": world.segment}
                assert await call(channel, "CatalogService/GetSegment", request, world.tokens[caller]) == outcome


async def call(channel: grpc.Channel, rpc: str, fields: dict[str, Any], token: str) -> str:
    """Call an RPC, with one message if it is a stream; what came of it."""
    return await asyncio.to_thread(_call, channel, methods()[rpc], fields, token)


def _call(channel: grpc.Channel, method: MethodDescriptor, fields: dict[str, Any], token: str) -> str:
    answer_type = GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    arrange = getattr(channel, f"{_arity(method.client_streaming)}_{_arity(method.server_streaming)}")
    make = arrange(path, lambda message: message.SerializeToString(), answer_type.FromString)
    request = GetMessageClass(method.input_type)(**fields)
    metadata = (("authorization", token),) if token else ()
    try:
        answer = make(iter([request]) if method.client_streaming else request, metadata=metadata, timeout=10)
        if method.server_streaming:
            calling, answer = answer, next(answer)
            calling.cancel()
    except grpc.RpcError as error:
        error_id = dict(error.trailing_metadata() or ()).get("error-id")
        return str(error_id if error_id in STATUSES else error.code().name)
    assert isinstance(answer, answer_type)
    if isinstance(answer, audience_pb2.ApplySegmentsResponse | audience_pb2.StreamSegmentsResponse):
        return WARNED if answer.response.warnings else OK
    return OK


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"


@pytest.mark.parametrize("port", ["gateway", "direct"])
@pytest.mark.parametrize("rpc", RPCS)
async def test_rpcs(channels: dict[str, grpc.Channel], world: World, rpc: str, port: str) -> None:
    row = RPCS[rpc]
    outcomes = {}
    for caller in CALLERS:
        if row.uses_up:
            await world.renew_spare()
        token = await world.spare_token(caller) if row.ends_token else world.tokens[caller]
        outcomes[caller] = await call(channels[port], rpc, row.request(world), token)
    assert outcomes == {caller: row.outcome(caller) for caller in CALLERS}


@pytest.mark.parametrize("place", ["header", "parameter"])
@pytest.mark.parametrize("path", PATHS)
async def test_paths(rest: httpx.AsyncClient, world: World, path: str, place: str) -> None:
    row = PATHS[path]
    verb, url = path.split(" ")
    outcomes = {}
    for caller in CALLERS:
        if row.uses_up:
            await world.renew_spare()
        query = row.request(world)
        token = await world.spare_token(caller) if row.ends_token else world.tokens[caller]
        body = query.pop("body", None)
        content = None if body is None else json.dumps(body)
        headers = {"authorization": token} if token and place == "header" else {}
        if token and place == "parameter":
            query["access_token"] = token
        answer = await rest.request(verb, url, params=query, content=content, headers=headers)
        outcomes[caller] = _outcome_of(answer)
    assert outcomes == {caller: row.outcome(caller) for caller in CALLERS}


def _outcome_of(answer: httpx.Response) -> str:
    response = answer.json().get("response", {"status": "OK"})  # the console's answers have none
    if response["status"] == "OK":
        assert answer.status_code == 200
        return WARNED if response.get("warnings") else OK
    error_id = str(response["error_id"])
    if error_id in STATUSES:
        assert answer.status_code == STATUSES[error_id]
        return error_id
    return f"{answer.status_code} {error_id}"
