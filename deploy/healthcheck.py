"""Whether the service in this container is alive, for the image's health check: exit status 0 or 1.

It reads the settings that say where the service listens, as the service does, but for flags. Where callers must show
certificates (`--client-certificates required`), it has none to show: give the container another health check then.
"""

import http.client
import ipaddress
import os
import ssl
import sys
import tomllib
from pathlib import Path
from typing import Any

SECONDS = 3.0


def setting(name: str) -> Any:
    """What the environment says, or else the file of settings; None where neither does."""
    file = os.environ.get("INSTANT_AUDIENCE_CONFIG")
    read = tomllib.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    return os.environ.get(f"INSTANT_AUDIENCE_{name.upper()}") or read.get(name)


def main() -> None:
    """Ask GET /healthz where the service listens. The certificate is for other names than that: it is not checked."""
    host, port = setting("host") or "127.0.0.1", int(setting("http_port") or 8080)
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    connection: http.client.HTTPConnection
    if setting("tls_cert"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"no answer: {error}")
    if status != http.client.OK:
        sys.exit(f"HTTP {status}")


if __name__ == "__main__":
    main()
