"""Hypothesis strategies for requests that the schema allows, most of them close to the contract's rules."""

from typing import Any

from hypothesis import strategies as st

UUID = "1ba98a6c-d1a5-49ef-ad1c-2d9230ebcd13"
EXTERNAL_IDS = {(958, "crm-0001"): "1", (958, "crm-0002"): "12", (958, "{crm}"): "1"}
"""External IDs and the platform users that they map to; two map to the same user."""

texts = st.text(max_size=20)
int32s = st.integers(-(2**31), 2**31 - 1)
user_ids = st.sampled_from(
    [
        *("1", "12", str(2**64 - 1), str(2**64), "0", "01", "", "٣"),
        *(UUID, UUID.upper(), "a" * 32, "A" * 32, "b" * 40, "B" * 40),
        *("crm-0001", "CRM-0001", "crm-0002", "{crm}", "crm\n", "x" * 256, "x" * 257),
    ]
)
domains = st.sampled_from(["", "idfa", "aaid", "sha1udid", "openudid", "md5udid", "sha1mac", "IDFA", "email"])
segment_ids = st.sampled_from([10001, 10002, 12, 20001, 30001, 40001, 50001, 99, 0])
codes = st.sampled_from(["", "sports_fans", "SPORTS_FANS", "abcd", "secret", "old_campaign", "ext_buyers"])
owners = st.sampled_from([123, 1661, 1262, 958, 777, 0])
expirations = st.sampled_from([-3, -2, -1, 0, 1, 1440, 525_600_000, 525_600_001, 2**31 - 1])


def _mostly(usual: st.SearchStrategy[Any], any_other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, any_other)


def _with_some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _spelled(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int | float | str]:
    """Spellings of numbers in JSON: `12`, `12.0` or `"12"`."""
    return _mostly(numbers, st.one_of(numbers.map(float), numbers.map(str)))


def _repeated(lists: st.SearchStrategy[list[Any]], *times: int) -> st.SearchStrategy[list[Any]]:
    return st.builds(lambda items, count: items * count, lists, st.sampled_from(times))


blocks = st.one_of(
    _with_some(seg_id=segment_ids, value=int32s, expiration=expirations),
    _with_some(
        seg_id=_spelled(_mostly(segment_ids, int32s)),
        seg_code=_mostly(codes, texts),
        value=_spelled(int32s),
        expiration=_spelled(_mostly(expirations, int32s)),
        member_id=_spelled(_mostly(owners, int32s)),
    ),
)
plain_users = st.fixed_dictionaries({"user_id": user_ids, "seg_block": st.lists(blocks, min_size=1, max_size=3)})
users = st.one_of(
    plain_users,
    _with_some(
        user_id=_mostly(user_ids, texts),
        domain=_mostly(domains, texts),
        seg_block=_repeated(st.lists(blocks, max_size=4), 1, 1, 1, 1, 1, 34, 101),
    ),
)
_groups = st.lists(users, max_size=8)
_crowds = _repeated(st.lists(plain_users, min_size=1, max_size=3), 334, 1001)
requests = _with_some(rt_segment=st.one_of(*[_groups] * 15, _crowds))
"""Requests in the contract's JSON form."""
