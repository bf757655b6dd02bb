"""The methods of PrivacyService, and of the REST contract's ConsumerRequestService, which combines them in one."""

from google.protobuf.message import Message
from instantaudience.rest.v1 import privacy_pb2 as rest_pb
from instantaudience.v1 import privacy_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.errors import AudienceError, Reason
from instantaudience_server.memberships.privacy_service import PrivacyService
from instantaudience_server.process.steps import in_steps
from instantaudience_server.transport.calls.kinds import AnyMethod, Method

SERVICE = pb.DESCRIPTOR.services_by_name["PrivacyService"].full_name
REST_SERVICE = rest_pb.DESCRIPTOR.services_by_name["ConsumerRequestService"].full_name

PART = 1000
"""How many segments of an answer are copied before other calls run."""


def privacy_methods(privacy: PrivacyService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def get(request: pb.GetUserSegmentsRequest, caller: Caller, deadline: float) -> Message:
        response = pb.GetUserSegmentsResponse()
        async for part in in_steps(await privacy.user_segments(request, caller, deadline), PART):
            response.segments.extend(part)
        return response

    async def forget(request: pb.ForgetUserRequest, caller: Caller, deadline: float) -> Message:
        response = pb.ForgetUserResponse()
        async for part in in_steps(await privacy.forget_user(request, caller, deadline), PART):
            response.segments.extend(part)
        return response

    async def lift(request: pb.LiftSuppressionRequest, caller: Caller, deadline: float) -> Message:
        return await privacy.lift_suppression(request, caller, deadline)

    async def answer_consumer(request: rest_pb.AnswerConsumerRequest, caller: Caller, deadline: float) -> Message:
        asked = request.request
        if request.HasField("member_id"):
            asked.member_id = request.member_id
        try:
            answer = await privacy.answer_consumer(asked, caller, deadline)
        except AudienceError as error:
            if error.reason is not Reason.SYNTAX:
                raise
            raise AudienceError(
                Reason.INVALID, error.message, retry_after_seconds=None, cause=error.cause, **error.metadata
            ) from None
        response = rest_pb.AnswerConsumerResponse()
        response.response.status = "OK"
        if answer.lifting is not None:
            response.response.lifted = answer.lifting.lifted
            response.response.still_suppressed = answer.lifting.still_suppressed
        async for part in in_steps(answer.segments, PART):
            response.response.segments.extend(rest_pb.ConsumerSegment(id=each.id, name=each.name) for each in part)
        return response

    return [
        Method(f"/{SERVICE}/GetUserSegments", pb.GetUserSegmentsRequest, get),
        Method(f"/{SERVICE}/ForgetUser", pb.ForgetUserRequest, forget),
        Method(f"/{SERVICE}/LiftSuppression", pb.LiftSuppressionRequest, lift),
        Method(f"/{REST_SERVICE}/AnswerConsumer", rest_pb.AnswerConsumerRequest, answer_consumer),
    ]
