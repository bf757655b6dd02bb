"""Pages of lists: for CatalogService, in the order of IDs (source: catalog.proto, CatalogService;
https://google.aip.dev/158), and for REST (source: contract, "/segment"; contract-neighbours, "lists")."""

import base64
import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from instantaudience.rest.v1 import batch_pb2, segment_pb2

from instantaudience_server.catalog.records import Object
from instantaudience_server.catalog.rules import LARGEST_ID
from instantaudience_server.errors import AudienceError, invalid

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000
MOST_BYTES = 4_000_000
"""The most bytes of the objects of a page, unless the first one alone has more: the default limit of gRPC clients is
4 MB."""
MOST_ELEMENTS = 100
"""The most objects of a page over REST."""

Listed = TypeVar("Listed", bound=Object)


class _Request(Protocol):
    page_size: int
    page_token: str


class Page(NamedTuple):
    """A page to fill: at most `size` objects, whose IDs are greater than `after_id`.

    To fill it, look for `size + 1` objects: the extra one shows that there is a next page.
    """

    size: int
    after_id: int

    def first_ids(self, ids: Iterable[int]) -> list[int]:
        """The IDs, out of all of them, of the page and of the object after it."""
        return heapq.nsmallest(self.size + 1, (each for each in ids if each > self.after_id))

    def filled(self, found: Sequence[Listed], ids: Sequence[int]) -> tuple[Sequence[Listed], str]:
        """The objects of the page, and the token of the next one, which is empty where there is none. `ids` are those
        of the page and of the object after it, and `found` the objects of the page, by ID, as far as they still exist;
        what is past `MOST_BYTES` is left to the next page."""
        left = MOST_BYTES
        for place, each in enumerate(found):
            left -= each.ByteSize()
            if left < 0 < place:
                return found[:place], _token(found[place - 1].id)
        return found, _token(ids[self.size - 1]) if len(ids) > self.size else ""


def page_of(request: _Request) -> Page:
    """The page that a request asks for.

    Raises:
        AudienceError: SYNTAX, the size or the token is invalid.
    """
    if not 0 <= request.page_size <= LARGEST_SIZE:
        raise invalid("page_size", f"must be 0 to {LARGEST_SIZE}")
    return Page(request.page_size or DEFAULT_SIZE, _after_id(request.page_token) if request.page_token else 0)


def elements_of(request: segment_pb2.FindSegmentsRequest | batch_pb2.FindJobsRequest) -> tuple[int, int]:
    """How many objects a REST request wants to skip, and how many to get; at most `MOST_ELEMENTS`.

    Raises:
        AudienceError: SYNTAX, one of them is invalid.
    """
    size = request.num_elements if request.HasField("num_elements") else MOST_ELEMENTS
    if request.start_element < 0:
        raise invalid("start_element", "must be 0 or more")
    if size < 1:
        raise invalid("num_elements", "must be 1 or more")
    return request.start_element, min(size, MOST_ELEMENTS)


def unknown_token() -> AudienceError:
    """The error for a page token that is not one of ours."""
    return invalid("page_token", "must be the 'next_page_token' of another page")


def _token(last_id: int) -> str:
    return base64.urlsafe_b64encode(last_id.to_bytes(4, "big")).decode()


def _after_id(token: str) -> int:
    try:
        last_id = int.from_bytes(base64.urlsafe_b64decode(token), "big")
    except ValueError:
        raise unknown_token() from None
    if last_id > LARGEST_ID or _token(last_id) != token:
        raise unknown_token()
    return last_id
