"""Receives uploads of files over HTTP/1.1, behind the gateway (docs/adr/0027-batch-service.md).

A file's bytes are passed on as they come; flow control holds the sender back while they are being stored. An upload is
answered as contract-neighbours says, any other request with one of the contract's errors.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import h11

from instantaudience_server.batch.uploads.limits import Limit, UploadRefusedError
from instantaudience_server.batch.uploads.uploading import (
    UPLOAD_FAILED,
    UPLOAD_INCOMPLETE,
    NoSuchUploadError,
    Upload,
    Uploads,
)
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.observation.metrics import BATCH_UPLOADS
from instantaudience_server.settings import UPLOAD_PATH
from instantaudience_server.store.interfaces.jobs import Job
from instantaudience_server.transport.calls.call_log import CallLog
from instantaudience_server.transport.status import DEFECT_TEXT, ROWS
from instantaudience_server.usage.counting import Usage, wait_counted
from instantaudience_server.usage.failures import REASONS

METHODS = ("POST", "PUT")
METHOD_NOT_ALLOWED = 405
REQUEST_ID = b"x-request-id"
READ_BYTES = 2**16
LARGEST_HEAD_BYTES = 2**16
"""The limit of a request's head; the gateway's is about the same."""
IDLE_SECONDS = 300.0
"""How long a connection of the gateway may be idle before it is closed."""
LINGER_SECONDS = 2.0
"""How long a refused body is read and discarded, before the answer and again after it: a sender whose connection is
closed while it sends may not read the answer."""
NO_SUCH_URL = "There is nothing to upload here: this URL is unknown, was used, has expired, or another took its place"

_count_outcome = {
    outcome: BATCH_UPLOADS.labels(outcome).inc for outcome in ("ok", "refused", "unknown", "incomplete", "failed")
}


class UploadServer:
    """An HTTP server for uploads, on a unix socket that only the gateway uses. Uploads that fail count in the usage of
    their member, except those that break off."""

    def __init__(self, uploads: Uploads, usage: Usage, log: CallLog) -> None:
        self._uploads = uploads
        self._usage = usage
        self._log = log
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    async def start(self, path: str) -> None:
        """Accept uploads on the socket at `path`."""
        self._server = await asyncio.start_unix_server(self._accept, path, limit=READ_BYTES)

    async def drain(self, grace_seconds: float) -> None:
        """Accept no new connections and requests, and wait `grace_seconds` for uploads to finish; others fail."""
        assert self._server is not None
        self._server.close()
        for connection in self._connections.values():
            connection.end()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace_seconds)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: asyncio would run it in a task of its own, and log an error when that is cancelled.
        connection = _Connection(self._uploads, self._usage, self._log, reader, writer)
        task = asyncio.create_task(_serve(connection, writer))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)


async def _serve(connection: "_Connection", writer: asyncio.StreamWriter) -> None:
    try:
        await connection.serve()
    except (ConnectionError, TimeoutError, h11.RemoteProtocolError):
        pass  # the gateway closed the connection, because its caller has left
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


class _Connection:
    """A connection of the gateway, with one or several requests after each other."""

    def __init__(
        self,
        uploads: Uploads,
        usage: Usage,
        log: CallLog,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._uploads = uploads
        self._usage = usage
        self._log = log
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=LARGEST_HEAD_BYTES)
        self._is_ending = False

    def end(self) -> None:
        """Close the connection if it is idle, else after the request under way."""
        self._is_ending = True
        if self._http.their_state is h11.IDLE:
            self._writer.close()

    async def serve(self) -> None:
        """Answer requests until the connection ends."""
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                event = await self._next_event()
            if not isinstance(event, h11.Request):
                return
            await self._answer(event)
            if self._http.their_state is h11.SEND_BODY:
                await self._linger()
                return
            if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is h11.MUST_CLOSE:
                return
            self._http.start_next_cycle()

    async def _answer(self, request: h11.Request) -> None:
        job: Job | None = None
        upload: Upload | None = None
        failure: Reason | None = None
        retry_seconds: int | None = None
        try:
            if request.method.decode() not in METHODS:
                outcome, answer = "unknown", _error(METHOD_NOT_ALLOWED, "SYNTAX", "This path takes POST and PUT")
            else:
                job = await self._uploads.find(_url_end(request))
                upload = await self._uploads.begin(job, _announced_bytes(request))
                await self._receive(upload)
                await upload.finish()
                outcome, answer = "ok", (200, {"status": "OK", "segment_upload": {"job_id": job.job_id}})
        except UploadRefusedError as error:
            outcome, answer, failure = "refused", _refusal(error.limit), error.limit.reason
            retry_seconds = error.retry_after_seconds
            await _fail(upload, error.limit.error_code)
        except NoSuchUploadError:
            outcome, answer, failure = "unknown", _error(404, "SYNTAX", NO_SUCH_URL), Reason.NOT_FOUND
            await _fail(upload, UPLOAD_INCOMPLETE)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            _count_outcome["incomplete"]()
            await _fail(upload, UPLOAD_INCOMPLETE)
            raise
        except AudienceError as error:
            failure = error.reason
            row = ROWS[failure]
            outcome, answer = "failed", _error(row.http_status, row.error_id, error.message)
            retry_seconds = error.retry_after_seconds
            member_id = None if job is None else job.member_id
            self._log.failed(UPLOAD_PATH, _header(request, REQUEST_ID), error, member_id)
            await _fail(upload, UPLOAD_FAILED)
        except Exception as error:
            self._log.defect(UPLOAD_PATH, _header(request, REQUEST_ID), error)
            failure = Reason.INTERNAL
            row = ROWS[failure]
            outcome, answer = "failed", _error(row.http_status, row.error_id, DEFECT_TEXT)
            await _fail(upload, UPLOAD_FAILED)
        _count_outcome[outcome]()
        if job is not None and failure is not None:
            await self._count(job.member_id, failure, request)
        await self._pass_over()
        await self._send(*answer, retry_seconds, has_body=request.method != b"HEAD")

    async def _count(self, member_id: int, failure: Reason, request: h11.Request) -> None:
        """Count a failed upload before its answer, except after UNAVAILABLE, when the cluster may be out of reach."""
        try:
            counted = self._usage.count_failure(member_id, REASONS[failure])
            if failure is not Reason.UNAVAILABLE:
                await wait_counted(counted)
        except Exception as error:
            self._log.not_noted(UPLOAD_PATH, _header(request, REQUEST_ID), error)

    async def _receive(self, upload: Upload) -> None:
        """Pass the body on to the upload.

        Raises:
            UploadRefusedError, NoSuchUploadError, AudienceError, ConnectionError, h11.RemoteProtocolError.
        """
        while True:
            seconds = upload.patience_seconds
            try:
                async with asyncio.timeout(seconds):
                    event = await self._next_event()
            except TimeoutError:
                raise UploadRefusedError(Limit.TIME) from None
            if isinstance(event, h11.Data):
                await upload.add(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise ConnectionResetError

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_BYTES))
        return event

    async def _send(
        self, status: int, response: Mapping[str, Any], retry_seconds: int | None, *, has_body: bool
    ) -> None:
        body = json.dumps({"response": response}, ensure_ascii=False, separators=(",", ":")).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        if retry_seconds is not None:
            headers.append(("retry-after", str(retry_seconds)))
        if status == METHOD_NOT_ALLOWED:
            headers.append(("allow", ", ".join(METHODS)))
        if self._is_ending or self._http.their_state is h11.SEND_BODY:
            headers.append(("connection", "close"))
        content = (h11.Data(data=body),) if has_body else ()  # RFC 9110, section 9.3.2
        events = (h11.Response(status_code=status, headers=headers), *content, h11.EndOfMessage())
        self._writer.write(b"".join([self._http.send(event) or b"" for event in events]))
        await self._writer.drain()

    async def _pass_over(self) -> None:
        """Discard the rest of a refused request for a while: many senders read no answer before they have sent all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self._http.their_state is h11.SEND_BODY:
                    await self._next_event()

    async def _linger(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._reader.read(READ_BYTES):
                    pass


def _url_end(request: h11.Request) -> str:
    path = request.target.decode("latin-1").partition("?")[0]
    return path.removeprefix(UPLOAD_PATH)


def _announced_bytes(request: h11.Request) -> int | None:
    length = _header(request, b"content-length")
    return int(length) if length else None


def _header(request: h11.Request, name: bytes) -> str:
    """The value of a header; empty if it is absent."""
    return next((value.decode("latin-1") for each, value in request.headers if each == name), "")


def _refusal(limit: Limit) -> tuple[int, Mapping[str, Any]]:
    return limit.http_status, {"status": "ERROR", "error_code": limit.error_code, "errors": [limit.text]}


def _error(status: int, error_id: str, text: str) -> tuple[int, Mapping[str, Any]]:
    return status, {"status": "ERROR", "error_id": error_id, "error": text}


async def _fail(upload: Upload | None, error_code: str) -> None:
    if upload is not None:
        await upload.fail(error_code)
