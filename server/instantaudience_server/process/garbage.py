"""Keeps what lives long from the garbage collector, which stops a process for as long as it looks at it."""

import gc


def spare_all() -> None:
    """Collect garbage, and never look again at any object that there is now.

    Those that nothing refers to any more are still freed, unless they refer to each other in a circle. Takes about
    0.3 ms for each 1000 objects since the last call (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
