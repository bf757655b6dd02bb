"""The batch service for REST callers (source: contract-neighbours, "Batch Segment Service")."""

from typing import Any

from google.protobuf import json_format
from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import batch_pb2 as pb
from instantaudience.v1 import catalog_pb2

from instantaudience_server.batch.desk import JobDesk
from instantaudience_server.batch.shapes import FIELDS, FILTERS, job_object, job_objects, time_text
from instantaudience_server.catalog.access import Caller, require_admin
from instantaudience_server.catalog.batch_settings import BatchSettings, settings_of
from instantaudience_server.catalog.editor import CatalogEditor, not_found
from instantaudience_server.catalog.feed import CatalogFeed
from instantaudience_server.catalog.paging import MOST_ELEMENTS, elements_of
from instantaudience_server.errors import AudienceError, Reason, invalid, required
from instantaudience_server.process.clock import Clock
from instantaudience_server.settings import UPLOAD_PATH
from instantaudience_server.store.interfaces.catalog import Kind
from instantaudience_server.store.interfaces.jobs import Order

TERM, CONFIG_TERM = "batch_segment_upload_job", "batch_segment_config"
"""The keys of the objects in answers (`output_term`)."""
_SEPARATORS = {
    "separator_1": "user_separator",
    "separator_2": "segment_separator",
    "separator_3": "field_separator",
    "separator_4": "removal_separator",
    "separator_5": "domain_separator",
}
"""Field of `BatchConfig` → field of `BatchSettings`."""


class BatchService:
    """The commands of rest/v1/batch.proto. `public_url` is the beginning of upload URLs; "": scheme and host of the
    caller's request. Deadlines and errors are as in `JobDesk`."""

    def __init__(self, desk: JobDesk, editor: CatalogEditor, feed: CatalogFeed, clock: Clock, public_url: str) -> None:
        self._desk = desk
        self._editor = editor
        self._feed = feed
        self._clock = clock
        self._public_url = public_url

    async def add(self, request: pb.AddJobRequest, caller: Caller, deadline: float) -> pb.JobResult:
        """Create a job, and return its upload URL."""
        member_id = await self._desk.member_id(request, caller, deadline)
        job, url_end = await self._desk.create(member_id, caller, deadline)
        found = {
            "id": job.number,
            "job_id": job.job_id,
            "member_id": job.member_id,
            "last_modified": time_text(job.modified_ms),
            "upload_url": f"{self._public_url or request.origin}{UPLOAD_PATH}{url_end}",
        }
        return _result(found, 1, number=job.number)

    async def find(self, request: pb.FindJobsRequest, caller: Caller, deadline: float) -> pb.JobResult:
        """Read a job (as a list of one, if its member's `batch_job_as_list` is set), or list jobs.

        Raises:
            AudienceError: SYNTAX; others as above.
        """
        order, start, size = _order(request.sort), *elements_of(request)
        member_id = await self._desk.member_id(request, caller, deadline)
        now_ms = self._clock.now_ms()
        if request.job_id:
            job = await self._desk.find(request.job_id, caller, deadline)
            if request.HasField("member_id") and job.member_id != member_id:
                text = f"'job_id': member {member_id} has no job {job.job_id}"
                raise AudienceError(Reason.NOT_FOUND, text, field="job_id")
            found = job_object(job, now_ms)
            member = self._feed.catalog.members.get(job.member_id)
            as_list = member is not None and member.batch.batch_job_as_list
            return _result([found] if as_list else found, 1, number=job.number)
        page = await self._desk.page(member_id, order, start, size, caller, deadline)
        return _result(await job_objects(page.jobs, now_ms), page.total, start, size)

    async def describe(self, _: pb.DescribeJobsRequest, caller: Caller, deadline: float) -> answers_pb2.Meta:
        """Describe the fields of a job.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self._desk.count_get(caller, deadline)
        fields = [
            answers_pb2.MetaField(
                name=name,
                type=field.type,
                sort_by=field.order is not None,
                filter_by=name in FILTERS,
                read_only=True,
            )
            for name, field in FIELDS.items()
        ]
        return answers_pb2.Meta(status="OK", fields=fields, dbg_info=answers_pb2.DebugInfo(output_term="fields"))

    async def find_config(self, request: pb.FindConfigRequest, caller: Caller, deadline: float) -> pb.ConfigResult:
        """Read a member's settings for files; changes that any worker acknowledged before are included.

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; others as above.
        """
        await self._desk.count_get(caller, deadline)
        await self._feed.catch_up(deadline)
        member_id = await self._desk.member_id(request, caller, deadline)
        member = self._feed.catalog.members.get(member_id)
        if member is None:  # the caller's member was deleted just now
            raise not_found(Kind.MEMBER, member_id, "member_id")
        return _config(member_id, member.batch)

    async def change_config(self, request: pb.ChangeConfigRequest, caller: Caller, deadline: float) -> pb.ConfigResult:
        """Change a member's settings for files.

        Raises:
            AudienceError: SYNTAX; others as above.
        """
        require_admin(caller)
        if not request.HasField(CONFIG_TERM):
            raise required(CONFIG_TERM)
        config = request.batch_segment_config
        naming = request if request.HasField("member_id") else config
        member_id = await self._desk.member_id(naming, caller, deadline)

        def edit(member: catalog_pb2.Member) -> None:
            _change(member.batch, config)

        try:
            member = await self._editor.update(Kind.MEMBER, member_id, edit, "", deadline)
        except AudienceError as error:
            raise _in_rest_words(error) from None
        assert isinstance(member, catalog_pb2.Member)
        return _config(member_id, settings_of(member.batch))


def _order(sort: str) -> Order:
    if not sort:
        return Order()
    name, _, direction = sort.partition(".")
    order = FIELDS[name].order if name in FIELDS else None
    if order is None or direction not in ("asc", "desc"):
        names = ", ".join(name for name, field in FIELDS.items() if field.order is not None)
        raise invalid("sort", f"must be one of {names}, with .asc or .desc")
    return order._replace(newest_first=direction == "desc")


def _result(
    found: Any, count: int, start: int = 0, size: int = MOST_ELEMENTS, number: int | None = None
) -> pb.JobResult:
    result = pb.JobResult(status="OK", id=number, start_element=start, count=count, num_elements=size)
    json_format.ParseDict(found, result.batch_segment_upload_job)
    result.dbg_info.output_term = TERM
    return result


def _config(member_id: int, settings: BatchSettings) -> pb.ConfigResult:
    config = pb.BatchConfig(member_id=member_id, segment_fields=",".join(settings.fields))
    for name, separator in zip(_SEPARATORS, settings.separators, strict=True):
        setattr(config, name, separator)
    result = pb.ConfigResult(status="OK", batch_segment_config=config)
    result.dbg_info.output_term = CONFIG_TERM
    return result


def _change(settings: catalog_pb2.BatchSettings, config: pb.BatchConfig) -> None:
    for name, field in _SEPARATORS.items():
        if config.HasField(name):
            setattr(settings, field, getattr(config, name))
    if config.HasField("segment_fields"):
        known = dict(catalog_pb2.BatchField.items())
        names = [f"BATCH_FIELD_{name.strip().upper()}" for name in config.segment_fields.split(",") if name.strip()]
        # Unknown names become UNSPECIFIED, which the rules of these settings refuse.
        del settings.fields[:]
        numbers: list[Any] = [known.get(name, catalog_pb2.BATCH_FIELD_UNSPECIFIED) for name in names]
        settings.fields.extend(numbers)


def _in_rest_words(error: AudienceError) -> AudienceError:
    metadata = {key: _renamed(value) for key, value in error.metadata.items()}
    if "object" in metadata:
        metadata["object"] = CONFIG_TERM
    retry_seconds = error.retry_after_seconds
    return AudienceError(
        error.reason, _renamed(error.message), retry_after_seconds=retry_seconds, cause=error.cause, **metadata
    )


def _renamed(text: str) -> str:
    """The text with fields' names in REST in place of those in gRPC."""
    text = text.replace("batch.fields", "segment_fields").replace("'fields'", "'segment_fields'")
    for name, field in _SEPARATORS.items():
        text = text.replace(f"batch.{field}", name).replace(field, name)
    return text.replace("batch.separators", "separators")
