"""HTTP/2 frames, built by hand (source: RFC 9113, "Frame Format" and "Frame Definitions")."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
PREFIX_BYTES = 9


def http2_frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """A frame with its header."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream_id) + payload
