"""Text is cut into lines, whatever the pieces."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from instantaudience_server.batch.reading.format import LONGEST_LINE_BYTES
from instantaudience_server.batch.reading.lines import SLICE_BYTES, SLICE_LINES, LineCutter, LineSlice, lines_of


def cut(text: bytes, sizes: list[int], position: int = 0) -> list[LineSlice]:
    """Cut a text that comes in pieces of these sizes, again and again."""
    cutter, slices, start = LineCutter(position), list[LineSlice](), position
    while start < len(text):
        for size in sizes:
            slices += cutter.cut(text[start : start + size])
            start += size
    return [*slices, *cutter.cut(b"", last=True)]


def lines_in(slices: list[LineSlice]) -> list[bytes]:
    return [line for each in slices for line in lines_of(each.text)]


TEXTS = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"\r", b"\xef\xbb\xbf", b"d" * 300]), max_size=60).map(
    b"".join
)


@given(TEXTS, st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_lines_and_places_do_not_depend_on_the_pieces(text: bytes, sizes: list[int]) -> None:
    expected = [line.removesuffix(b"\r") for line in text.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    slices = cut(text, sizes)
    assert lines_in(slices) == [line for line in expected if line]
    assert not text or slices[-1].end == len(text)
    for index, each in enumerate(slices):
        rest = lines_in(slices[index + 1 :])
        assert lines_in(cut(text, sizes, each.end)) == rest, "it goes on from any place"


def test_slices_are_small() -> None:
    short, long = b"a\n" * 5000, (b"x" * 99 + b"\n") * 1000
    slices = cut(short + long, [2**20])
    assert max(len(lines_of(each.text)) for each in slices) == SLICE_LINES
    assert max(sum(len(line) + 1 for line in lines_of(each.text)) for each in slices) < SLICE_BYTES + 200
    assert len(lines_in(slices)) == 6000


def test_the_longest_line_is_whole_and_a_longer_one_is_seen_to_be() -> None:
    for end in (b"\n", b"\r\n", b""):
        whole = b"x" * LONGEST_LINE_BYTES
        assert lines_in(cut(b"a\n" + whole + end, [70_000])) == [b"a", whole]
        (longer,) = lines_in(cut(b"x" + whole + end, [70_000]))
        assert len(longer) > LONGEST_LINE_BYTES


def test_an_endless_line_takes_no_memory() -> None:
    cutter = LineCutter(0)
    piece = b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert not list(cutter.cut(piece))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    slices = list(cutter.cut(b"\nb\n"))
    overlong, after = lines_in(slices)
    assert len(overlong) > LONGEST_LINE_BYTES
    assert (after, slices[-1].end) == (b"b", 65_536_000 + 3)
