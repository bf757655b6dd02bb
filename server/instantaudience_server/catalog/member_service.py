"""The caller's member, for REST callers (source: contract-neighbours, "Conventions of all REST answers")."""

from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import member_pb2 as pb

from instantaudience_server.admission.quotas import Quotas
from instantaudience_server.catalog.access import Caller


class MemberService:
    """The command of rest/v1/member.proto."""

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas

    async def show(self, caller: Caller, deadline: float) -> pb.MemberResult:
        """The caller's member; counts as a `GET` (contract, "Limits").

        Raises:
            AudienceError: RATE_LIMIT_EXCEEDED; UNAVAILABLE.
        """
        member = caller.member
        await self._quotas.ask_gets(member, "member", 1, deadline)
        limits = pb.MemberLimits(
            **{field.name: getattr(member.limits, field.name) for field in pb.MemberLimits.DESCRIPTOR.fields}
        )
        entry = pb.MemberEntry(
            id=member.id,
            name=member.name,
            state="active",
            default_expiration_minutes=member.default_expiration_minutes,
            longest_expiration_minutes=member.longest_expiration_minutes,
            limits=limits,
        )
        return pb.MemberResult(status="OK", member=entry, dbg_info=answers_pb2.DebugInfo(output_term="member"))
