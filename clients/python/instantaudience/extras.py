"""Packages that only some programs need: the extras of the client's package."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def needed(extra: str) -> Generator[None]:
    """Import packages of this extra.

    Raises:
        ModuleNotFoundError: one is missing; the text names the extra, since a package may have another name than its
            module (`jwt` is PyJWT's).
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: `pip install 'instant-audience-client[{extra}]'` installs it", name=error.name
        ) from None
