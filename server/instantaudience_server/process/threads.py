"""Runs long work in a thread that ends when nobody waits for the work any more: a process cannot end before its
threads."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""A callback for progress, which gets how much is done, and of how much."""


async def in_thread(work: Callable[[Progress], Result], progress: Progress, given_up: BaseException) -> Result:
    """Run `work` in a thread. When this is cancelled, the work's next call of its progress raises `given_up`."""
    is_given_up = threading.Event()

    def go_on(done: int, of: int) -> None:
        if is_given_up.is_set():
            raise given_up
        progress(done, of)

    try:
        return await asyncio.to_thread(work, go_on)
    finally:
        is_given_up.set()
