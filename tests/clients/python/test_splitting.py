"""What a request cannot hold goes in several, and is answered as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from instantaudience import block, user
from instantaudience.splitting import Limits, Part, Splitter, joined, split
from instantaudience.v1 import audience_pb2 as pb

LIMITS = Limits(users_per_call=3, segments_per_user=2, body_bytes=150)


def shapes(parts: list[Part]) -> list[list[tuple[int, int, int]]]:
    """Of each request, for each of its users: whose it is, from which block on, and how many blocks."""
    return [
        [(*place, len(user.seg_block)) for place, user in zip(part.places, part.users, strict=True)] for part in parts
    ]


def result(*warnings: tuple["pb.WarningCode", str], users: int = 0, blocks: int = 0) -> pb.ApplySegmentsResult:
    answer = pb.ApplySegmentsResult(status="OK", message=pb.RequestCounts())
    answer.message.users_in_request, answer.message.segments_in_request = users, blocks
    for code, path in warnings:
        answer.warnings.add(code=code, path=path)
    return answer


def told(answer: pb.ApplySegmentsResult) -> list[tuple[int, str]]:
    return [(warning.code, warning.path) for warning in answer.warnings]


def test_how_users_are_split(subtests: pytest.Subtests) -> None:
    for blocks, shape in [
        ([], [[]]),
        ([0], [[(0, 0, 0)]]),
        ([1, 2, 1], [[(0, 0, 1), (1, 0, 2), (2, 0, 1)]]),
        ([1, 1, 1, 1], [[(0, 0, 1), (1, 0, 1), (2, 0, 1)], [(3, 0, 1)]]),
        ([5], [[(0, 0, 2), (0, 2, 2), (0, 4, 1)]]),
        ([1, 5], [[(0, 0, 1), (1, 0, 2), (1, 2, 2)], [(1, 4, 1)]]),
    ]:
        with subtests.test(blocks=blocks, shape=shape):
            assert shapes(split([user(1, *[block(7)] * count) for count in blocks], LIMITS)) == shape


def test_one_that_is_larger_than_a_request_is_split_too() -> None:
    large = user("1", *[block(seg_code="x" * 80, member_id=1)] * 2)
    assert shapes(split([large, large], LIMITS)) == [[(0, 0, 1)], [(0, 1, 1)], [(1, 0, 1)], [(1, 1, 1)]]


def test_a_request_goes_as_it_is_where_it_may(subtests: pytest.Subtests) -> None:
    for blocks, shape, is_given in [
        ([], [], []),
        ([1, 2, 0], [[(1, 0, 1), (2, 0, 2), (3, 0, 0)]], [True]),
        ([1] * 4, [[(1, 0, 1), (2, 0, 1), (3, 0, 1)], [(4, 0, 1)]], [False, False]),
        ([3], [[(1, 0, 2), (1, 2, 1)]], [False]),
    ]:
        with subtests.test(blocks=blocks, shape=shape, is_given=is_given):
            splitter = Splitter(LIMITS)
            request = pb.StreamSegmentsRequest(rt_segment=[user(1, *[block(7)] * count) for count in blocks])
            one = pb.StreamSegmentsRequest(rt_segment=[user(1, block(7))])
            parts = [part for each in (one, request, one) for part in splitter.add_request(each)]
            assert shapes(parts) == [[(0, 0, 1)], *shape, [(len(blocks) + 1, 0, 1)]]
            assert [part.given is not None for part in parts] == [True, *is_given, True]
            assert [len(part.stream_request().rt_segment) for part in parts] == [len(part.users) for part in parts]


@given(
    st.lists(st.tuples(st.text(max_size=30), st.none() | st.text(max_size=5), st.integers(0, 8)), max_size=20),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(100, 400),
)
def test_nothing_is_lost_and_nothing_is_too_large(
    users: list[tuple[str, str | None, int]], per_call: int, per_user: int, size: int
) -> None:
    limits = Limits(users_per_call=per_call, segments_per_user=per_user, body_bytes=size)
    given_users = [user(name, *map(block, range(count)), domain=domain) for name, domain, count in users]
    parts = split(given_users, limits)
    whole: dict[int, pb.RtSegment] = {}
    for part in parts:
        assert len(part.users) <= per_call
        assert part.request().ByteSize() <= size
        for (index, first), piece in zip(part.places, part.users, strict=True):
            assert len(piece.seg_block) <= per_user
            if index in whole:
                assert len(whole[index].seg_block) == first
                whole[index].seg_block.extend(piece.seg_block)
            else:
                whole[index] = pb.RtSegment.FromString(piece.SerializeToString())
    assert list(whole.values()) == given_users


def test_paths_are_those_of_the_callers_users() -> None:
    parts = split([user(1, *[block(7)] * 5), user(2, block(7)), user(3, block(7))], LIMITS)
    unknown, code = pb.WARNING_CODE_UNKNOWN_SEGMENT, pb.WARNING_CODE_INVALID_USER_ID
    answer = joined(
        parts,
        [
            result((unknown, "rt_segment[1].seg_block[1]"), users=3, blocks=5),
            result((unknown, "rt_segment[0].seg_block[0]"), (code, "rt_segment[1]"), users=1, blocks=1),
        ],
    )
    assert told(answer) == [
        (unknown, "rt_segment[0].seg_block[3]"),
        (unknown, "rt_segment[1].seg_block[0]"),
        (code, "rt_segment[2]"),
    ]
    assert (answer.message.users_in_request, answer.message.segments_in_request) == (2, 6)


NO_SEGMENTS, NO_USERS = pb.WARNING_CODE_NO_VALID_SEGMENTS, pb.WARNING_CODE_NO_VALID_USERS


def test_a_user_is_skipped_where_all_its_pieces_are() -> None:
    limits = Limits(users_per_call=1, segments_per_user=1)
    parts = split([user(1, block(7), block(8))], limits)
    skipped = result((NO_SEGMENTS, "rt_segment[0]"), (NO_USERS, ""))
    assert told(joined(parts, [skipped, result(users=1, blocks=1)])) == []
    skipped = [result((NO_SEGMENTS, "rt_segment[0]"), (NO_USERS, "")) for _ in parts]
    assert told(joined(parts, skipped)) == [(NO_SEGMENTS, "rt_segment[0]"), (NO_USERS, "")]
