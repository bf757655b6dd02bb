"""TLS options of the commands: trusted CAs and the client certificate."""

import functools
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

_FILE = click.Path(path_type=Path)


@dataclass(frozen=True)
class Tls:
    """Paths of PEM files. Without `ca`, the well-known CAs are trusted; `cert` and `key` are either both set or both
    None."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """An SSL context for REST calls.

        Raises:
            click.ClickException: a file cannot be used.
        """
        self.pem()  # says which file cannot be read
        try:
            context = httpx.create_ssl_context() if self.ca is None else ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password="")  # else it would ask for one
        except ssl.SSLError as error:
            files = ", ".join(str(path) for path in dict.fromkeys((self.ca, self.cert, self.key)) if path is not None)
            text = f"{files}: this is no PEM, or a key with a passphrase or of another certificate: {error}"
            raise click.ClickException(text) from error
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The contents for gRPC: CA certificates, client certificate, its key.

        Raises:
            click.ClickException: a file cannot be read.
        """
        return _read(self.ca), _read(self.cert), _read(self.key)


def tls_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator: adds the TLS options, and passes them as `tls`: None if no option is given."""

    @functools.wraps(function)
    def command(cacert: Path | None, cert: Path | None, cert_key: Path | None, **arguments: Any) -> None:
        function(tls=_told(cacert, cert, cert_key), **arguments)

    for flag, description in {
        "--cert-key": "The certificate's key, where it is not in the same file.",
        "--cert": "The client certificate, for a service that asks for one (PEM).",
        "--cacert": "The CAs to trust for https:// (PEM). Default: well-known ones.",
    }.items():
        name = flag.removeprefix("--").upper().replace("-", "_")
        option = click.option(
            flag, type=_FILE, metavar="FILE", envvar=f"INSTANT_AUDIENCE_{name}", show_envvar=True, help=description
        )
        command = option(command)
    return command


def _told(ca: Path | None, cert: Path | None, key: Path | None) -> Tls | None:
    if key is not None and cert is None:
        raise click.UsageError("--cert-key is the key of --cert: give that, too")
    if ca is None and cert is None:
        return None
    return Tls(*(None if path is None else path.absolute() for path in (ca, cert, key or cert)))


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
