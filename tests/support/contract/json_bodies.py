"""JSON bodies of `POST /rt-segment`: good ones, and all that can be wrong with one (source: RFC 8259)."""

import json
import random
from collections.abc import AsyncIterator, Iterator

from hypothesis import strategies as st

from support.contract.vectors import rt_segment_vectors

GOOD_BODIES = [
    "{}",
    ' \t\r\n{ "rt_segment" : [ ] } \n',
    '{"rt_segment":null}',
    '{"rt_segment":[{}]}',
    '{"rt_segment":[{"user_id":null,"domain":null,"seg_block":null}]}',
    '{"rt_segment":[{"user_id":null,"user_id":"1"}]}',
    '{"rt_segment":[{"user_id":"1","seg_block":[{"seg_id":"12","value":-4,"expiration":1440.0,"member_id":null}]}]}',
    '{"rt_segment":[{"user_id":"1","seg_block":[{"seg_id":-2147483648,"value":2147483647}]}]}',
    '{"unknown":[null,true,false,0,-0,1.5E+3,1e-2,"\\u00e9\\ud83d\\ude00\\n\\/",[[]],{"a":{"a":1,"a":[2]}}]}',
    '{"rt_segment":[{"unknown":{"seg_block":3},"seg_block":[{"unknown":[{"seg_id":[]}]}]}]}',
    '{"userId":1,"rtsegment":3,"validate_only":"x","validateOnly":1,"detail":{},"x":{"":1},"rt_segment\\u0000":1}',
    '{"rtSegment":[{"userId":"1","segBlock":[{"segId":1,"segCode":null,"memberId":"2","value":3,"Value":"x"}]}]}',
    '{"rt_segment":null,"rtSegment":[{"user_id":null,"user\\u0049d":"1","seg_block":[{"segId":1}]}]}',
    '{"":1,"rt_segment":[{"":{"":[]},"user_id":"a","":2}]}',
    '{"rt_segment":[{"user_id":"\\u0000\\"\x7f"}]}',
    '{"rt_segment":[{"user_id":"\\ud800\\udc00\\udbff\\udfff\\udbff\\udc00\\ud800\\udfff"}]}',
    '{"a\\n":"\\ud7ff\\ue000","é":"é\\\\ud800"}',
    '{"x":' + "[" * 63 + "]" * 63 + "}",
]

NOT_JSON = [
    *("", " ", "nope", "{", "}", "{}{}", "{} x", "{},", "\ufeff{}", "{}\0", "\0"),
    *("{'a':1}", "{a:1}", '{"a":1,}', '{,"a":1}', '{"a"}', '{"a":}', '{"a" 1}', '{"a":1 "b":2}', '{"a":1;}', "{1:2}"),
    *('{"a":[1,]}', '{"a":[,1]}', '{"a":[1 2]}', '{"a":[1}', '{"a":[}', '{"a":]', '{"a":[1]]}', '{"a":{]}', '{"a":['),
    *('{"a":01}', '{"a":-}', '{"a":+1}', '{"a":1.}', '{"a":.5}', '{"a":1e}', '{"a":1e+}', '{"a":0x1}', '{"a":-01}'),
    *('{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":True}', '{"a":nul}', '{"a":truex}', '{"a":None}'),
    *('{"a":1:}', '{"a":1/}', '{"a":"\x1f"}', '{"a":"0123456789\x1f"}', '{"a":"\\\'"}'),
    *('{"a":"\t"}', '{"a":"\n"}', '{"a":"\\x"}', '{"a":"\\u12g4"}', '{"a":"\\u12"}', '{"a":"b}', '{"a":"\\"}', '{"a'),
    *('{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\ud800\\u0041"}', '{"a\\ud800":1}', '{"a":"\\U0041"}'),
    *(
        "/**/{}",
        '{"a":1}//',
        '{"a":1#}',
        "\u00a0{}",
        '{"a":1}\u2028',
        "\v{}",
        "{\"a\":'b'}",
        "{\"a':1}",
        '{"a":tru',
        "{}\v",
    ),
    '{"x":' + "[" * 64 + "]" * 64 + "}",
]

NOT_UTF8 = [b'{"a":"\xff"}', b'{"\xc3":1}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf4\x90\x80\x80"}']

WRONG_SHAPES = [
    ("[]", "The body must be an object."),
    ("null", "The body must be an object."),
    ('"a"', "The body must be an object."),
    ("3", "The body must be an object."),
    ("true", "The body must be an object."),
    ('{"rt_segment":{"user_id":"1"}}', "rt_segment: must be a list."),
    ('{"rt_segment":"a"}', "rt_segment: must be a list."),
    ('{"rt_segment":1}', "rt_segment: must be a list."),
    ('{"rt_segment":false}', "rt_segment: must be a list."),
    ('{"rt_segment":[null]}', "rt_segment[0]: must be an object."),
    ('{"rt_segment":[{},1]}', "rt_segment[1]: must be an object."),
    ('{"rt_segment":[{},{},[]]}', "rt_segment[2]: must be an object."),
    ('{"rt_segment":[{},{"seg_block":{}}]}', "rt_segment[1].seg_block: must be a list."),
    ('{"rt_segment":[{"x":[1],"seg_block":[{},null]}]}', "rt_segment[0].seg_block[1]: must be an object."),
    ('{"rt_segment":[{"seg\\u005fblock":1}]}', "rt_segment[0].seg_block: must be a list."),
    ('{"rt_segment":[{"user_id":["1"]}]}', "rt_segment[0].user_id: must be a string."),
    ('{"rt_segment":[{"user_id":12}]}', "rt_segment[0].user_id: must be a string."),
    ('{"rt_segment":[{"user_id":true}]}', "rt_segment[0].user_id: must be a string."),
    (
        '{"rt_segment":[{"seg_block":[{"seg_id":{}}]}]}',
        "rt_segment[0].seg_block[0].seg_id: must be an integer of 32 bits.",
    ),
    *(
        (
            '{"rt_segment":[{"seg_block":[{"value":' + value + "}]}]}",
            "rt_segment[0].seg_block[0].value: must be an integer of 32 bits.",
        )
        for value in ("2147483648", "-2147483649", "1.5", "true", '"x"', '""', '"2147483648"', '"\\n: invalid"')
    ),
    ('{"rt_segment":[{"user_id":"1","user_id":"2"}]}', "rt_segment[0].user_id: must not stand twice."),
    ('{"rt_segment":[],"rt_segment":[]}', "rt_segment: must not stand twice."),
    ('{"rtSegment":[],"rt_segment":[]}', "rt_segment: must not stand twice."),
    ('{"rt_segment":[],"rtSegment":[]}', "rt_segment: must not stand twice."),
    ('{"rtSegment":[{"user_id":"1","userId":"1"}]}', "rt_segment[0].user_id: must not stand twice."),
    ('{"rtSegment":[{"userId":1}]}', "rt_segment[0].user_id: must be a string."),
    (
        '{"rtSegment":[{"segBlock":[{"segId":"x"}]}]}',
        "rt_segment[0].seg_block[0].seg_id: must be an integer of 32 bits.",
    ),
]

UNREADABLE = [
    ('{"a":"\\ud800"}', "The body must have no lone surrogate (byte 7)."),
    ('{"a":"\\ud83d\\ude00\\uD83D\\u0041"}', "The body must have no lone surrogate (byte 19)."),
    ('{"\\udc00":1}', "The body must have no lone surrogate (byte 3)."),
    ('{"a":"\\udfff"}', "The body must have no lone surrogate (byte 7)."),
    ('{"a":"\\udbff\\ue000"}', "The body must have no lone surrogate (byte 7)."),
    ('{"a":"\\ud800xudc00"}', "The body must have no lone surrogate (byte 7)."),
    ('{"a":"\\ud800\\ndc00"}', "The body must have no lone surrogate (byte 7)."),
    ('{"rt_segment":[{"user_id":"é\\ud800"}]}', "rt_segment[0].user_id: must have no lone surrogate (byte 30)."),
    ('{"rt_segment":[{"user_id":"a\udce9"}]}', "rt_segment[0].user_id: must be UTF-8 (byte 29)."),
    ('{"rt_segment":[{"x\udcff":"\\ud800"}]}', "The body must be UTF-8 (byte 19)."),
    ('{"rt_segment":[{"x":["é","\\n\udcff\\ud800"]}]}', "The body must be UTF-8 (byte 30)."),
    ('{"rt_segment":[{"user_id":"\\ud800\udcff"}]}', "rt_segment[0].user_id: must have no lone surrogate (byte 28)."),
    ('{"a":[1e308,-1e309]}', "The body must have no number beyond a double (byte 13)."),
    ('{"a":1' + "0" * 309 + "}", "The body must have no number beyond a double (byte 6)."),
    ('{"a":' + "9" * 309 + "}", "The body must have no number beyond a double (byte 6)."),
    *(
        (
            '{"rt_segment":[{"seg_block":[{"value":1.5,"seg_id":' + value + ',"expiration":"x"}]}]}',
            "rt_segment[0].seg_block[0].seg_id: must be an integer of 32 bits.",
        )
        for value in ("1e999", "-1" + "0" * 400, "1e99999999999999999999")
    ),
]
"""Bodies that are valid JSON by its grammar, but unreadable. The first such fault is reported, even after wrong values.
Invalid bytes are written as surrogates (`surrogateescape`)."""

WRONG_VALUES = [
    *(
        "1e400",
        "-1e400",
        "1e309",
        "1e308",
        "2147483648.0",
        "-2147483648.5",
        "-2147483649.0",
        "1" + "0" * 400,
        "18446744073709551616",
        "1e-2",
    ),
    *(
        '" 12"',
        '"12 "',
        '"\\t12"',
        '"12\\n"',
        '"+-1"',
        '"1.0"',
        '"1e2"',
        '"0x1"',
        '"1_0"',
        '"\\u00a012"',
        '"1\\u0000"',
        '"+"',
    ),
    *(
        '"99999999999999999999"',
        '"\u0660"',
        '"for type TYPE_BOOL "',
        '"x: invalid value y for type TYPE_STRING"',
        "false",
    ),
    *('"\\ud83d"', '"\\ude00"', '"\\ud83dx"', '"\\ud83d\\ud83d\\ude00"', '"\\ud83d\\ue000"', '"\\udc00\\ud800"'),
]
"""JSON values that are not an int32, or not even readable."""

NUMBERS = [
    *("1.0", "1e2", "100e-2", "-0", "-0.0", "0e5", "2147483647.0", "-2147483648.0", "1.0000000000000000001", "1E0"),
    *("-0e9999999", "0.0E+00009999999", "1e00000", "10e-01"),
    *('"12"', '"+12"', '"-12"', '"-0"', '"010"', '"00"', '"\\u0031\\u0032"', '"2147483647"', '"-2147483648"'),
]
"""JSON values that are an int32, written unusually."""


def block(value: str) -> str:
    """A body with this value in a block."""
    return '{"rt_segment":[{"user_id":"1","seg_block":[{"seg_id":1,"value":' + value + "}]}]}"


SEVERAL_FAULTS = [
    '{"rt_segment":[{"seg_block":[{"seg_id":"x","value":"y"}]},{"seg_block":[{"value":"z"},{"value":1}]}]}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}],"a":1e400}',
    '{"a":1e400,"rt_segment":[{"seg_block":[{"value":"x"}]}]}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}],"a":"\\ud800"}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}],"a":"\\ud800      "}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}],"a":"\\udc00"}',
    '{"a":"\\ud800","rt_segment":[{"seg_block":[{"value":"x"}]}]}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]},{"user_id":"1","user_id":"2"}]}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]},{"user_id":1}]}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}]} x',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}],"a":"\udcff"}',
    '{"a":"\udcff","rt_segment":[{"seg_block":[{"value":"x"}]}]}',
    '{"a":"\udcff","b":1e400}',
    '{"a":1e400,"b":"\udcff"}',
    '{"rt_segment":[{"seg_block":[{"value":"x"}]}],"a":"\udcff","b":1e400}',
    '{"rt_segment":[{"seg_block":[{"value":"\\ud800"},{"value":"x"}]}]}',
]
"""Bodies with several faults, and the one that is reported. Invalid bytes are written as surrogates
(`surrogateescape`)."""

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
SNIPPETS = st.sampled_from(
    [*'{}[]:,"\\ntu0.-+eE19 \t\n\r\0', "\\u00", "\\ud83d", "\\ude00", "null", "é", "\x7f", "//", "1e5"]
)

BODIES: list[bytes] = [
    *(body.encode() for body in GOOD_BODIES),
    *(body.encode() for body in NOT_JSON),
    *NOT_UTF8,
    *(body.encode(errors="surrogateescape") for body, _ in [*WRONG_SHAPES, *UNREADABLE]),
    *(block(value).encode() for value in WRONG_VALUES + NUMBERS),
    *(body.replace('"1"', value).encode() for value in WRONG_VALUES for body in [block("1")]),
    *(body.encode(errors="surrogateescape") for body in SEVERAL_FAULTS),
    *(json.dumps(vector.request, ensure_ascii=False).encode() for vector in rt_segment_vectors()),
    '{"rt_segment":[{"user_id":"\\uD83D\\uDE00 \\u00e9é\\b\\f\\n\\r\\t\\/\\\\\\"\\uffff"}]}'.encode(),
    b'{"rt_segment":['
    + b",".join(
        [b'{"user_id":"1","seg_block":[{"seg_id":1,"value":2},{"seg_id":2,"value":3},{"seg_id":3,"value":"4"}]}'] * 3
    )
    + b"]}",
    b'{"rt_segment":[{"user_id":"' + b"x" * 200 + b'","seg_block":[' + b",".join([b'{"seg_id":-1}'] * 99) + b"]}]}",
]
PIECES = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\0",
        b" ",
        b"null",
        b"true",
        b"1",
        b"-",
        b".",
        b"e9",
        b"\xc3\xa9",
    ),
    *(
        b'"rt_segment":',
        b'"user_id":',
        b'"seg_block":',
        b'"value":',
        b'"seg\\u005fid":',
        b'"segBlock":',
        b'"userId":',
        b"\\ud83d",
        b"\\ude00",
        b"\xff",
    ),
    *(value.encode() for value in [*WRONG_VALUES, *NUMBERS]),
]


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Random mutations of valid bodies."""
    chance = random.Random(seed)
    for _ in range(count):
        body = chance.choice(BODIES)
        for _ in range(chance.randint(1, 3)):
            start = chance.randint(0, len(body))
            end = min(len(body), start + chance.choice([0, 0, 1, 1, 2, chance.randint(0, 40)]))
            piece = chance.choice([b"", chance.choice(PIECES), body[start:end] * 2, chance.randbytes(1)])
            body = body[:start] + piece + body[end:]
        yield body


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """A body in chunks, so that the request has no `content-length`."""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]
