"""Requests that are nearly right: good ones, mutated."""

import gzip
from dataclasses import dataclass
from random import Random

import hpack
from grpc_health.v1 import health_pb2
from instantaudience.v1 import audience_pb2 as pb
from instantaudience_server.transport.framing import frame
from support.contract.messages import APPLY, GET_STATUS, PACKAGE, STREAM, apply_request, one_user
from support.wire.http2 import PREFACE, http2_frame
from support.wire.peer import Headers, grpc_headers, prefix

HEALTH = "/grpc.health.v1.Health"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
MANY_USERS = {"rt_segment": [one_user(str(number))["rt_segment"][0] for number in range(1, 200)]}
MESSAGES = {
    APPLY: [apply_request(one_user()).SerializeToString(), apply_request(MANY_USERS).SerializeToString()],
    STREAM: [apply_request(one_user()).SerializeToString(), b""],
    f"/{PACKAGE}.AudienceService/GetMemberships": [pb.GetMembershipsRequest(user_id="1").SerializeToString()],
    GET_STATUS: [b""],
    f"{HEALTH}/Check": [b"", health_pb2.HealthCheckRequest(service="x").SerializeToString()],
    f"{HEALTH}/Watch": [b""],
    REFLECTION: [b"\x3a\x00", b"\x22\x01x"],
}
"""Good requests by method."""
ODD_PATHS = ["/", "/nope", APPLY + "/", APPLY + "?a=%ff", APPLY + "%20", "/%ff", "//", "*", "", "/\xff", "/a/../b"]
ODD_HEADERS = [
    (b"grpc-encoding", [b"gzip", b"deflate", b"identity", b"snappy", b"", b"gzip,deflate"]),
    (b"grpc-timeout", [b"1S", b"1n", b"0S", b"99999999H", b"123456789S", b"x", b"", b"-1S"]),
    (b"content-type", [b"application/grpc+proto", b"application/grpc-web", b"application/grpc-web-text", b"", b"a/b"]),
    (b"te", [b"trailers", b"gzip", b"trailers, deflate", b""]),
    (b":method", [b"GET", b"PUT", b"OPTIONS", b"CONNECT", b"X", b""]),
    (b"authorization", [b"", b"x", b"Bearer x", b"\xff" * 20, b"a" * 5000]),
    (b"content-length", [b"0", b"5", b"1000000", b"x", b"-1"]),
    (b"x-request-id", [b"", b"\xff", b"x" * 1000]),
    (b"x-a-bin", [b"!!!", b"YQ", b"=", b""]),
    (b"expect", [b"100-continue"]),
    (b"transfer-encoding", [b"chunked"]),
    (b"X-Capitals", [b"1"]),
]
LENGTHS = [0, 1, 4, 5, 127, 65_535, 1_048_576, 1_048_577, 2**31 - 1, 2**31, 2**32 - 1]


@dataclass(frozen=True)
class Case:
    """A request. Where it neither ends nor is answered early, it is reset."""

    headers: Headers
    chunks: tuple[bytes, ...]
    ends: bool
    resets: bool

    @property
    def ends_at_once(self) -> bool:
        """Whether there is no body at all."""
        return self.ends and not self.chunks


def random_case(random: Random, token: bytes) -> Case:
    """One in four has a good body, one in two good headers."""
    path = random.choice(list(MESSAGES))
    messages = [random.choice(MESSAGES[path]) for _ in range(random.choice([1, 1, 1, 0, 2, 5]))]
    headers = {b"authorization": token}
    body = b"".join(map(frame, messages))
    if random.random() < 0.2:
        headers[b"grpc-encoding"] = b"gzip"
        body = b"".join(_compressed(message) for message in messages)
    if random.random() < 0.75:
        body = mutated(random, body)
    if random.random() < 0.1:
        path = random.choice(ODD_PATHS)
    for _ in range(random.choice([0, 0, 1, 2])):
        name, values = random.choice(ODD_HEADERS)
        headers[name] = random.choice(values)
    ends = random.random() < 0.85
    waits = path.endswith("Watch") or not ends
    raw_path = path.encode("latin-1")
    return Case(grpc_headers(raw_path, *headers.items()), _cut(random, body), ends, waits or random.random() < 0.1)


def mutated(random: Random, data: bytes) -> bytes:
    """The bytes with some changes."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5])):
        place = random.randrange(len(changed) + 1)
        match random.randrange(7):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << random.randrange(8)
            case 1:
                del changed[place : place + random.choice([1, 2, 50])]
            case 2:
                changed[place:place] = random.randbytes(random.choice([1, 5, 100]))
            case 3:
                changed[place:place] = changed[: random.randrange(len(changed) + 1)]
            case 4:
                del changed[place:]
            case 5:
                changed[1:5] = random.choice(LENGTHS).to_bytes(4, "big")
            case 6:
                changed += random.choice([bytes(1), bytes(5), bytes(2000), b"\xff" * 300_000])
    return bytes(changed)


def broken_connection(random: Random, token: bytes) -> bytes:
    """What a client sends on a connection: a few calls, with changed bytes; the preface is mostly left alone."""
    encoder = hpack.Encoder()
    frames = [http2_frame(4, 0, 0, b"")]
    for stream_id in range(1, 2 * random.randrange(1, 6), 2):
        path = random.choice(list(MESSAGES))
        block = encoder.encode(grpc_headers(path, (b"authorization", token)))
        body = frame(random.choice(MESSAGES[path]))
        frames += [http2_frame(1, 4, stream_id, block), http2_frame(0, 1, stream_id, body)]
    if random.random() < 0.5:
        kind, payload = random.randrange(12), random.randbytes(random.choice([0, 4, 8, 100]))
        frames.insert(
            random.randrange(len(frames)),
            http2_frame(kind, random.randrange(256), random.randrange(12), payload),
        )
    sent = b"".join(frames)
    if random.random() < 0.8:
        sent = mutated(random, sent)
    return (mutated(random, PREFACE) if random.random() < 0.05 else PREFACE) + sent


def _compressed(message: bytes) -> bytes:
    body = gzip.compress(message)
    return prefix(1, len(body)) + body


def _cut(random: Random, body: bytes) -> tuple[bytes, ...]:
    places = sorted(random.randrange(len(body) + 1) for _ in range(random.choice([0, 0, 1, 5])))
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]
    return tuple(piece for piece in pieces if piece)
