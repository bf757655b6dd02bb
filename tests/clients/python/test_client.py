"""The Python client against a service that does what it should not: nothing is lost, nothing comes out of order."""

import asyncio
import itertools
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from types import SimpleNamespace

import grpc
import pytest
from instantaudience import (
    REMOVE,
    AsyncClient,
    Attempt,
    Client,
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    Limits,
    Password,
    PermissionDeniedError,
    RateLimitedError,
    Retries,
    Token,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    audience,
    block,
    streaming,
    user,
)
from instantaudience.testing import FakeService, Fault
from instantaudience.v1 import authentication_pb2, authentication_pb2_grpc
from instantaudience.v1.audience_pb2 import RtSegment, StreamSegmentsRequest

DEMO = Password("demo", "demo")
FAST = Retries(first_seconds=0.01, most_seconds=0.05)
BUSY = Fault(grpc.StatusCode.UNAVAILABLE, "SYSTEM", retry_after_seconds=0.01)
LIMITED = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED", retry_after_seconds=0.01)


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, retries=FAST) as client:
        yield client


def value_of(service: FakeService, user_id: str) -> int:
    return service.memberships["", user_id][7][0]


async def test_it_signs_in_and_asks_for_the_limits_once_for_all_calls(service: FakeService) -> None:
    attempts: list[Attempt] = []
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, on_attempt=attempts.append) as client:
        await asyncio.gather(*(client.apply([user(index, block(7))]) for index in range(10)))
    assert service.sign_ins == 1
    assert len(service.memberships) == 10
    assert [each.method.rpartition("/")[2] for each in attempts].count("GetMember") == 1


async def test_a_token_that_has_ended_is_replaced(service: FakeService, client: AsyncClient) -> None:
    await client.apply([user(1, block(7))])
    service.forget_tokens()
    await client.apply([user(2, block(7))])
    service.forget_tokens()
    assert [result.error async for result in client.stream([user(3, block(7))])] == [None]
    assert service.sign_ins == 3


async def test_a_wrong_password_is_told_at_once(service: FakeService) -> None:
    async with AsyncClient(service.endpoint, Password("demo", "wrong"), plaintext=True, retries=FAST) as client:
        with pytest.raises(UnauthenticatedError):
            await client.apply([user(1, block(7))])


async def test_a_wrong_password_is_tried_once_for_all_who_wait(service: FakeService) -> None:
    """Ten of them lock the name for some minutes."""
    attempts: list[Attempt] = []
    wrong = Password("demo", "wrong")
    async with AsyncClient(service.endpoint, wrong, plaintext=True, on_attempt=attempts.append) as client:
        calls = await asyncio.gather(*(client.apply([user(1, block(7))]) for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in calls] == [UnauthenticatedError] * 5
        assert len(attempts) == 1
        with pytest.raises(UnauthenticatedError):
            await client.apply([user(1, block(7))])
        assert len(attempts) == 2


async def test_a_token_of_somebody_elses_is_used_until_it_ends(service: FakeService) -> None:
    async with AsyncClient(service.endpoint, Token("hbapi:1:x:y"), plaintext=True, limits=Limits()) as client:
        with pytest.raises(UnauthenticatedError):
            await client.apply([user(1, block(7))])
    assert service.sign_ins == 0


async def test_a_token_that_is_there_already_is_used_until_it_ends(service: FakeService) -> None:
    auth = authentication_pb2.Credentials(username="demo", password="demo")
    async with grpc.aio.insecure_channel(service.endpoint) as channel:
        stub = authentication_pb2_grpc.AuthenticationServiceStub(channel)
        token = (await stub.Authenticate(authentication_pb2.AuthenticateRequest(auth=auth))).response.token
    credentials = Password("demo", "demo", token)
    assert token not in repr(credentials)
    async with AsyncClient(service.endpoint, credentials, plaintext=True) as client:
        await client.apply([user(1, block(7))])
        assert service.sign_ins == 1
        service.forget_tokens()
        await client.apply([user(2, block(7))])
    assert service.sign_ins == 2


@pytest.mark.parametrize("token", ["hbapi:1:x:y\n", "hbapi:1:\u00e9:y", "x" * 4097])
@pytest.mark.parametrize("with_token", [Token, partial(Password, "demo", "demo")])
def test_a_token_with_what_no_header_holds_is_told(with_token: Callable[[str], object], token: str) -> None:
    """As it is read from a file, with the end of its line."""
    with pytest.raises(ValueError, match="characters that no token has") as raised:
        with_token(token)
    assert token not in str(raised.value)


def test_an_empty_token_is_told(subtests: pytest.Subtests) -> None:
    """As of a variable that is not set: the service would be asked as without a token, and refuse every call."""
    for with_token in [Token, partial(Password, "demo", "demo")]:
        with subtests.test(with_token=with_token), pytest.raises(ValueError, match="the token is empty"):
            with_token("")


@pytest.mark.parametrize("token", ["x", "hbapi", "hbapi:x:y:z", "hbapi:99999999999:y:z"])
async def test_a_token_of_another_form_is_told(service: FakeService, token: str) -> None:
    async with AsyncClient(service.endpoint, Token(token), plaintext=True) as client:
        with pytest.raises(InvalidRequestError, match="none of this service's"):
            await client.apply([user(1, block(7))])


@pytest.mark.parametrize(
    "faults",
    [
        [BUSY, LIMITED, BUSY],
        [Fault(grpc.StatusCode.UNAVAILABLE, applies=True)],
        [Fault(pause_seconds=0.6)],
    ],
    ids=["refused", "answer lost", "hangs"],
)
async def test_what_helps_is_sent_again(service: FakeService, faults: list[Fault]) -> None:
    retries = Retries(first_seconds=0.01, attempt_seconds=0.3)
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, retries=retries) as client:
        service.faults.extend(faults)
        answer = await client.apply([user(1, block(7, value=5))])
        assert answer.message.users_in_request == 1
        service.faults.extend(faults)
        assert [result.error async for result in client.stream([user(2, block(7, value=6))])] == [None]
    assert (value_of(service, "1"), value_of(service, "2")) == (5, 6)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(grpc.StatusCode.INVALID_ARGUMENT, "SYNTAX"), InvalidRequestError),
        (Fault(grpc.StatusCode.PERMISSION_DENIED, "UNAUTH"), PermissionDeniedError),
        (Fault(grpc.StatusCode.INTERNAL, "SYSTEM"), InternalError),
    ],
)
async def test_what_does_not_help_is_told(
    service: FakeService, client: AsyncClient, fault: Fault, error: type[Exception]
) -> None:
    service.faults.append(fault)
    with pytest.raises(error, match=r"request [0-9a-f]{32}"):
        await client.apply([user(1, block(7))])
    service.faults.append(fault)
    errors = [result.error async for result in client.stream([user(1, block(7))])]
    assert [type(each) for each in errors] == [error]
    assert service.requests == []


async def test_nothing_is_sent_after_the_deadline(service: FakeService, client: AsyncClient) -> None:
    await client.limits()
    service.faults.extend([Fault(grpc.StatusCode.UNAVAILABLE, "SYSTEM", retry_after_seconds=0.3)] * 9)
    with pytest.raises(UnavailableError):
        await client.apply([user(1, block(7))], deadline_seconds=0.5)
    left = len(service.faults)
    await asyncio.sleep(0.5)
    assert len(service.faults) == left
    assert left in (7, 8)  # on a busy machine, the first attempt may take the time of the second
    with pytest.raises(DeadlineExceededError):
        await client.apply([user(1, block(7))], deadline_seconds=0.0)
    assert len(service.faults) == left


async def test_no_more_than_the_quota_is_sent(service: FakeService) -> None:
    limits = Limits(posts_per_second=3, users_per_second=100)
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, limits=limits) as client:
        began = time.monotonic()
        await asyncio.gather(*(client.apply([user(index, block(7))]) for index in range(7)))
        assert time.monotonic() - began >= 2.0
        with pytest.raises(DeadlineExceededError):
            await asyncio.gather(*(client.apply([user(1, block(7))], deadline_seconds=0.5) for _ in range(7)))


async def test_a_quota_without_room_is_an_error_of_its_own(service: FakeService, client: AsyncClient) -> None:
    service.faults.append(Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED", retry_after_seconds=60.0))
    with pytest.raises(RateLimitedError):
        await client.apply([user(1, block(7))], deadline_seconds=5.0)


async def test_a_hundred_thousand_users_with_refusals_and_broken_streams(
    service: FakeService, client: AsyncClient
) -> None:
    draw = random.Random(7)
    expected: dict[str, int] = {}

    def users() -> Iterator[RtSegment]:
        for value in range(100_000):
            user_id = str(draw.randint(1, 3000))
            expected[user_id] = value
            yield user(user_id, block(7, value=value))

    kinds = [BUSY, LIMITED, Fault(grpc.StatusCode.UNAVAILABLE, "SYSTEM", applies=True, ends_stream=True)]
    service.faults.extend(draw.choice(kinds) if draw.random() < 0.2 else Fault() for _ in range(1000))
    next_user = 0
    async for result in client.stream(users()):
        assert (result.error, result.first_user) == (None, next_user)
        next_user += result.users
    assert next_user == 100_000
    assert {user_id: stands[7][0] for (_, user_id), stands in service.memberships.items()} == expected


async def test_requests_that_are_ready_go_as_they_are_and_larger_ones_in_several(
    service: FakeService, client: AsyncClient
) -> None:
    draw = random.Random(8)
    expected: dict[str, int] = {}
    sizes = [draw.choice((0, 1, 7, 300, 1000, 1001)) for _ in range(60)]

    def requests() -> Iterator[StreamSegmentsRequest]:
        for size in sizes:
            values = {str(draw.randint(1, 3000)): draw.randint(0, 10**6) for _ in range(size)}
            expected.update(values)
            users = [user(user_id, block(7, value=value)) for user_id, value in values.items()]
            yield StreamSegmentsRequest(rt_segment=users + users[: size - len(values)])

    service.faults.extend(draw.choice([BUSY, LIMITED]) if draw.random() < 0.2 else Fault() for _ in range(100))
    results = [result async for result in client.stream_requests(requests())]
    assert [result.error for result in results] == [None] * len(results)
    answered = [size for size in sizes if 0 < size <= 1000] + [1000, 1] * sizes.count(1001)
    assert sorted(result.users for result in results) == sorted(answered)
    assert [result.first_user for result in results] == list(
        itertools.accumulate((r.users for r in results[:-1]), initial=0)
    )
    assert {user_id: stands[7][0] for (_, user_id), stands in service.memberships.items()} == expected


async def test_a_server_that_starts_again(service: FakeService, client: AsyncClient) -> None:
    """What is under way is broken off; the users come as before."""

    async def users() -> AsyncIterator[RtSegment]:
        for value in range(40):
            yield user(value % 3, *[block(7, value=value)] * 100)
            await asyncio.sleep(0.02)

    async def restart() -> None:
        await asyncio.sleep(0.2)
        await service.stop()
        await asyncio.sleep(0.2)
        await service.start()

    restarting = asyncio.create_task(restart())
    results = [result async for result in client.stream(users())]
    await restarting
    assert sum(result.users for result in results) >= 40
    assert [value_of(service, str(index)) for index in range(3)] == [39, 37, 38]


async def test_a_service_that_is_away_is_looked_for_as_often_as_calls_are_sent_again() -> None:
    """gRPC's own pauses before it connects again are as long as two minutes in the end."""
    tenth = asyncio.Event()
    connections = itertools.count(1)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(connections) == 10:
            tenth.set()
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as away:
        endpoint = f"127.0.0.1:{away.sockets[0].getsockname()[1]}"
        async with AsyncClient(endpoint, DEMO, plaintext=True, retries=FAST) as client:
            call = asyncio.create_task(client.memberships(["1"]))
            async with asyncio.timeout(20):
                await tenth.wait()
        with pytest.raises(UnavailableError):
            await call


async def test_a_stream_that_waits_for_users_sends_again_meanwhile(service: FakeService) -> None:
    limits = Limits(users_per_call=1, users_per_second=10_000, posts_per_second=10_000)
    more = asyncio.Event()

    async def users() -> AsyncIterator[RtSegment]:
        yield user(1, block(7))
        yield user(2, block(7))
        await more.wait()

    async with AsyncClient(service.endpoint, DEMO, plaintext=True, limits=limits, retries=FAST) as client:
        service.faults.append(BUSY)
        results = client.stream(users())
        assert (await anext(results)).first_user == 0
        more.set()
        assert [result.first_user async for result in results] == [1]


async def test_a_full_window_is_sent_again(service: FakeService) -> None:
    """A sender that waits for room in the window does not keep the stream from its end."""
    limits = Limits(users_per_call=1)
    async with (
        AsyncClient(service.endpoint, DEMO, plaintext=True, limits=limits, retries=FAST, window=2) as client,
        asyncio.timeout(60),
    ):
        service.faults.append(BUSY)
        results = [result async for result in client.stream([user(index, block(7)) for index in range(1, 6)])]
        assert [(result.first_user, result.error) for result in results] == [(index, None) for index in range(5)]


async def test_a_caller_who_is_slow_with_an_answer_uses_up_no_patience(
    service: FakeService, clock: SimpleNamespace
) -> None:
    async with AsyncClient(
        service.endpoint, DEMO, plaintext=True, limits=Limits(users_per_call=1), retries=FAST, window=1
    ) as client:
        service.faults.extend([Fault(), BUSY])
        answered: list[int] = []
        async for result in client.stream([user(1, block(7)), user(2, block(7))]):
            answered.append(result.first_user)
            clock.ahead += 1000.0
        assert answered == [0, 1]


async def test_a_caller_who_is_slow_with_an_answer_has_the_stream_wait_not_begin_again(
    service: FakeService, clock: SimpleNamespace
) -> None:
    """The next answer comes only after the stream was looked at some times."""
    told: list[Attempt] = []
    limits = Limits(users_per_call=1)
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, limits=limits, on_attempt=told.append) as client:
        service.faults.extend([Fault(), Fault(pause_seconds=3 * streaming.LOOK_SECONDS)])
        async for result in client.stream([user(1, block(7)), user(2, block(7))]):
            assert result.error is None
            clock.ahead += 1000.0
    assert [each.code for each in told if each.method == streaming.PATH] == [grpc.StatusCode.OK]


async def test_users_are_not_taken_before_they_can_be_sent(service: FakeService) -> None:
    taken = 0

    def users() -> Iterator[RtSegment]:
        nonlocal taken
        while True:
            taken += 1
            yield user(taken, block(7))

    limits = Limits(users_per_call=10, users_per_second=10_000_000, posts_per_second=1_000_000)
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, limits=limits, window=4) as client:
        results = client.stream(users())
        await anext(results)
        await asyncio.sleep(0.3)
        assert taken <= 70
        await results.aclose()


async def test_an_iterator_that_raises_ends_the_stream(service: FakeService, client: AsyncClient) -> None:
    def users() -> Iterator[RtSegment]:
        yield user(1, block(7))
        raise LookupError("no more of them")

    with pytest.raises(LookupError):
        _ = [result async for result in client.stream(users())]


async def test_an_answer_that_is_larger_than_the_client_takes(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "_OPTIONS", (("grpc.max_receive_message_length", 1000),))
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, retries=FAST) as client:
        await client.apply([user(index, block(7)) for index in range(1, 200)])
        with pytest.raises(TooLargeError):
            await client.memberships([str(index) for index in range(1, 200)])
        assert len(await client.memberships([str(index) for index in range(1, 10)])) == 9


async def test_attempts_are_told(service: FakeService) -> None:
    told: list[Attempt] = []
    async with AsyncClient(
        service.endpoint, DEMO, plaintext=True, limits=Limits(), retries=FAST, on_attempt=told.append
    ) as client:
        service.faults.append(BUSY)
        await client.apply([user(1, block(7))])
    applied = [each for each in told if each.method.endswith("ApplySegments")]
    assert [(each.number, each.code.name, each.reason) for each in applied] == [
        (1, "UNAVAILABLE", "SYSTEM"),
        (2, "OK", ""),
    ]
    assert len({each.request_id for each in applied}) == 1


async def test_the_ids_of_users_are_those_of_their_memberships(service: FakeService, client: AsyncClient) -> None:
    """The characters of one ID would be IDs themselves."""
    await client.apply([user(12, block(7, value=5))])
    assert [[each.value for each in read.seg_block] for read in await client.memberships([12, "12", "1"])] == [
        [5],
        [5],
        [],
    ]
    with pytest.raises(TypeError, match="for one user, a list with one"):
        await client.memberships("12")


async def test_the_service_for_tests_knows_a_user_whatever_the_case_of_its_id(
    service: FakeService, client: AsyncClient
) -> None:
    await client.apply([user("1BA9", block(7, value=5), domain="idfa"), user("1ba9", block(8), domain="idfa")])
    (read,) = await client.memberships(["1Ba9"], domain="idfa")
    assert (read.user_id, [each.seg_id for each in read.seg_block]) == ("1ba9", [7, 8])
    assert set(service.memberships) == {("idfa", "1ba9")}


async def test_the_service_for_tests_tells_segments_that_are_named_by_codes_apart(
    service: FakeService, client: AsyncClient
) -> None:
    names = [(1, "tea"), (1, "coffee"), (2, "tea")]
    await client.apply([user(1, *(block(seg_code=code, member_id=member) for member, code in names))])
    await client.apply([user(1, block(seg_code="coffee", member_id=1, expiration=REMOVE))])
    (read,) = await client.memberships(["1"])
    assert [(each.member_id, each.seg_code) for each in read.seg_block] == [(1, "tea"), (2, "tea")]
    assert set(service.memberships["", "1"]) == {service.codes[1, "tea"], service.codes[2, "tea"]}


async def test_the_service_for_tests_knows_the_segments_of_its_list_alone() -> None:
    async with FakeService(segments=[7, 8]) as service:
        service.codes[1, "tea"] = 8
        async with AsyncClient(service.endpoint, DEMO, plaintext=True) as client:
            names = [block(7), block(9), block(seg_code="tea", member_id=1), block(seg_code="tea", member_id=2)]
            answer = await client.apply([user(1, *names)])
    assert [each.message for each in answer.warnings] == ["Invalid segment: 9", "Invalid segment: tea of member 2"]
    assert set(service.memberships["", "1"]) == {7, 8}


async def test_the_blocking_client(service: FakeService) -> None:
    def work() -> tuple[int, int, int]:
        with Client(service.endpoint, DEMO, plaintext=True, retries=FAST) as client:
            applied = client.apply(user(index, block(7)) for index in range(1, 2500)).message.users_in_request
            service.faults.append(BUSY)
            streamed = sum(result.users for result in client.stream(user(i, block(8)) for i in range(1, 2500)))
            streamed += sum(
                result.users for result in client.stream_requests(StreamSegmentsRequest() for _ in range(3))
            )
            for _ in client.stream(user(index, block(9)) for index in range(1, 10**9)):
                break
            read = sum(len(each.seg_block) for each in client.memberships([str(i) for i in range(1, 2500)]))
        client.close()
        return applied, streamed, read

    applied, streamed, read = await asyncio.to_thread(work)
    assert (applied, streamed) == (2499, 2499)
    assert read >= 2 * 2499


async def test_a_window_or_limit_without_room_is_refused(subtests: pytest.Subtests) -> None:
    for kind in [Client, AsyncClient]:
        with subtests.test(kind=kind):
            for none in (0, math.nan):
                with pytest.raises(ValueError, match="window is 1 at least"):
                    kind("127.0.0.1:1", DEMO, plaintext=True, window=none)  # type: ignore[arg-type]
                with pytest.raises(ValueError, match=f"^gets_per_second is {none}: a limit is 1 at least$"):
                    kind("127.0.0.1:1", DEMO, plaintext=True, limits=Limits(gets_per_second=none))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [1e10, math.inf])
async def test_a_call_may_have_all_the_time_there_is(service: FakeService, seconds: float) -> None:
    retries = Retries(attempt_seconds=seconds)
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, retries=retries) as client:
        async with asyncio.timeout(30):
            assert (await client.apply([user(1, block(7))], deadline_seconds=seconds)).message.users_in_request == 1


async def test_a_time_that_is_none_is_refused(client: AsyncClient) -> None:
    with pytest.raises(ValueError, match="not NaN"):
        await client.memberships(["1"], deadline_seconds=math.nan)
    with pytest.raises(ValueError, match="not NaN"):
        await anext(client.stream([user(1, block(7))], patience_seconds=math.nan))


async def test_a_request_of_a_stream_that_is_split_is_only_validated_where_it_says_so(service: FakeService) -> None:
    users = [user(1, block(7)), user(2, block(7), block(8))]
    limits = Limits(users_per_call=1, segments_per_user=1)
    async with AsyncClient(service.endpoint, DEMO, plaintext=True, limits=limits) as client:
        for validate_only in (True, False):
            request = StreamSegmentsRequest(rt_segment=users, validate_only=validate_only)
            assert [each.error async for each in client.stream_requests([request])] == [None] * 3
            assert set(service.memberships) == (set() if validate_only else {("", "1"), ("", "2")})
