"""Gathers the posts that arrive in one turn of the event loop into batches (docs/adr/0020-gathering.md).

Posts are not delayed to fill a batch: a single post forms a batch at the end of the turn in which it arrived.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from instantaudience_server.admission.quotas import UNANSWERED
from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import unavailable
from instantaudience_server.memberships.pacing import Pacing
from instantaudience_server.memberships.posts import Batch, Post, fail
from instantaudience_server.observation import metrics, tracing
from instantaudience_server.process.waiting import Sweeper

MOST_POSTS = 256
MOST_USERS = 6400
MOST_BYTES = 2**18
"""Limits of a batch, so that reading it blocks the event loop for a few milliseconds at most. A single post may exceed
them. Posts beyond a limit wait for the next turn, so that every other caller gets a batch first."""
SLOW_SECONDS = 0.05
"""After this time, and then at this interval, a batch is checked for posts that are done before the others."""


class Gathering:
    """Gathers posts by caller, and runs `carry_out(batch, caller, in_order)` for each batch."""

    def __init__(self, carry_out: Callable[[Batch, Caller, bool], Awaitable[None]]) -> None:
        self._carry_out = carry_out
        self.pacing = Pacing()
        self._loop = asyncio.get_running_loop()
        self._queues: dict[tuple[int, bool], tuple[Caller, deque[Post]]] = {}
        """Posts for the next batches, by `id()` of the caller and by whether they are in order."""
        self._batches: dict[asyncio.Task[None], Batch] = {}
        self._left: set[asyncio.Task[None]] = set()
        """Batches all of whose posts had ended at the last sweep."""
        self._sweeper = Sweeper()

    def add(self, posts: Sequence[Post], caller: Caller, *, in_order: bool = False) -> None:
        """Queue posts for the caller's next batch. Posts with `in_order` change users in the order they were added."""
        key = id(caller), in_order
        queue = self._queues.get(key)
        if queue is None:
            if not self._queues:
                self._loop.call_soon(self._flush)
            queue = self._queues[key] = caller, deque()
        queue[1].extend(posts)
        if in_order:
            self.pacing.begin(caller.member.id, posts)

    @property
    def busy(self) -> bool:
        """Whether batches are under way."""
        return bool(self._batches)

    def fail_overdue(self, now: float) -> None:
        """Fail the posts whose deadline has passed. Where the batch's own has passed too, `carry_out` notices.

        A batch all of whose posts have ended, now and at the last sweep, is cancelled: its callers may have sent newer
        requests since, and a command of this batch that is sent again would overwrite those.
        """
        left = {task for task, batch in self._batches.items() if all(post.ended for post in batch.posts)}
        for task in left & self._left:
            task.cancel()
        self._left = left
        for batch in self._batches.values():
            if batch.look is not None and now > batch.look_from:
                batch.look_from = now + SLOW_SECONDS
                batch.look()
            if now < batch.deadline:
                fail([post for post in batch.posts if post.deadline <= now], unavailable(batch.overdue_text))

    async def close(self) -> None:
        """Cancel all batches under way."""
        self._sweeper.close()
        for task in self._batches:
            task.cancel()
        await asyncio.gather(*self._batches, return_exceptions=True)

    def _flush(self) -> None:
        """Start one batch for each caller."""
        queues, self._queues = self._queues, {}
        self._sweeper.arm(self)
        left_over: set[tuple[int, bool]] = set()
        for (name, in_order), (caller, posts) in queues.items():
            account = caller.account.id, in_order
            taken: list[Post] = []
            # After a new lookup, an account has two Caller objects; the queue of the newer one must not overtake.
            if account not in left_over:
                taken, dropped = _take(posts, alone=caller.member.external_member_id is not None)
                if in_order:
                    self.pacing.end(caller.member.id, dropped)
            if posts:
                left_over.add(account)
                if not self._queues:
                    self._loop.call_soon(self._flush)
                self._queues[name, in_order] = caller, posts
            if taken:
                metrics.gathered.observe(len(taken))
                batch = Batch(taken, self._loop.time() + SLOW_SECONDS, UNANSWERED)
                task = self._loop.create_task(self._run(batch, caller, in_order))
                self._batches[task] = batch
                task.add_done_callback(self._batches.__delitem__)

    async def _run(self, batch: Batch, caller: Caller, in_order: bool) -> None:
        began = self._loop.time()
        try:
            with tracing.together("apply", [post.span for post in batch.posts] if tracing.is_on() else ()):
                await self._carry_out(batch, caller, in_order)
            if not all(post.ended for post in batch.posts):
                raise RuntimeError("a post has neither a result nor an error")
            metrics.acknowledged.observe_all([self._loop.time() - began] * len(batch.posts))
        except asyncio.CancelledError:
            for post in batch.posts:
                post.owner.give_up(post)
            raise
        except Exception as error:
            fail(batch.posts, error)
        finally:
            if in_order:
                self.pacing.end(caller.member.id, batch.posts)


def _fit(posts: "deque[Post]") -> bool:
    """Whether all posts together are within a batch's limits of users and bytes."""
    users = sum([post.user_count for post in posts])
    return users <= MOST_USERS and sum([post.size_bytes for post in posts]) <= MOST_BYTES


def _take(posts: "deque[Post]", *, alone: bool) -> tuple[list[Post], list[Post]]:
    """Remove the posts of the next batch from the queue; `alone`: one post only.

    Returns them, and the posts among them that had already ended and are in no batch.
    """
    if len(posts) <= (1 if alone else MOST_POSTS) and _fit(posts):
        every = list(posts)
        posts.clear()
        return [post for post in every if not post.ended], [post for post in every if post.ended]
    taken: list[Post] = []
    dropped: list[Post] = []
    users = size_bytes = 0
    while posts:
        post = posts[0]
        if not post.ended:
            users += post.user_count
            size_bytes += post.size_bytes
            full = alone or len(taken) >= MOST_POSTS or users > MOST_USERS or size_bytes > MOST_BYTES
            if taken and full:
                break
            taken.append(post)
        else:
            dropped.append(post)
        posts.popleft()
    return taken, dropped
