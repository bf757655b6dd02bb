"""The server of the metrics, and callers that take their time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from instantaudience_server.running import metrics_server
from instantaudience_server.running.metrics_server import MOST_CONNECTIONS, server_of

HOST = "127.0.0.1"
END_SECONDS = 20.0


@contextmanager
def serving(directory: Path) -> Iterator[int]:
    """The port of a server that runs."""
    listening = socket.create_server((HOST, 0))
    server = server_of(listening, directory, {}, None)
    running = threading.Thread(target=server.serve_forever)
    running.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.shutdown()
        running.join()
        server.server_close()


def connected(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=END_SECONDS)


def test_who_connects_and_says_nothing_holds_few_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "SILENT_SECONDS", 3 * END_SECONDS)
    with ExitStack() as stack:
        port = stack.enter_context(serving(tmp_path))
        before = threading.active_count()
        silent = [stack.enter_context(connected(port)) for _ in range(3 * MOST_CONNECTIONS)]
        # Those that came first are closed.
        assert {each.recv(1) for each in silent[: 2 * MOST_CONNECTIONS]} == {b""}
        assert httpx.get(f"http://{HOST}:{port}/metrics").status_code == 200
        end = time.monotonic() + END_SECONDS
        while threading.active_count() > before + MOST_CONNECTIONS and time.monotonic() < end:
            time.sleep(0.01)
        assert threading.active_count() <= before + MOST_CONNECTIONS


def test_answers_tell_nothing_of_what_is_inside(tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        for path in ("metrics", "else"):
            assert httpx.get(f"http://{HOST}:{port}/{path}").headers["server"] == "instant-audience"


def test_who_sends_on_and_on_is_not_listened_to_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTION_SECONDS", 0.5)
    with serving(tmp_path) as port, connected(port) as slow:
        slow.sendall(b"GET /")
        slow.settimeout(0.02)
        for _ in range(round(END_SECONDS / 0.02)):
            try:
                slow.sendall(b"x")
                if slow.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
        pytest.fail("it is listened to still")
