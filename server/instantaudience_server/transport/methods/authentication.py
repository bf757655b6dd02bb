"""The methods of AuthenticationService, and of the REST contract's SignInService."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from instantaudience.rest.v1 import answers_pb2
from instantaudience.rest.v1 import sign_in_pb2 as rest
from instantaudience.v1 import authentication_pb2 as pb

from instantaudience_server.errors import NOT_EMPTY, invalid
from instantaudience_server.sign_in.service import SignInService
from instantaudience_server.sign_in.tokens import LIFETIME_MS, Issued, TokenService, bare_token
from instantaudience_server.transport.calls.call import Call
from instantaudience_server.transport.calls.kinds import AnyMethod, PublicMethod

SERVICE = pb.DESCRIPTOR.services_by_name["AuthenticationService"].full_name
REST_SERVICE = rest.DESCRIPTOR.services_by_name["SignInService"].full_name


def authentication_methods(signing_in: SignInService, tokens: TokenService) -> list[AnyMethod]:
    """Each method, wired to its service. Only those that revoke a token need one."""

    async def by_password(credentials: pb.Credentials, call: Call, deadline: float) -> Issued:
        for field in ("username", "password"):
            if not getattr(credentials, field):
                raise invalid(f"auth.{field}", NOT_EMPTY)
        return await signing_in.by_password(credentials.username, credentials.password, call.address, deadline)

    async def authenticate(request: pb.AuthenticateRequest, call: Call, deadline: float) -> Message:
        return pb.AuthenticateResponse(response=_result(await by_password(request.auth, call, deadline)))

    async def sign_in(request: rest.SignInRequest, call: Call, deadline: float) -> Message:
        return rest.SignInResponse(response=_rest_result(await by_password(request.auth, call, deadline)))

    async def authenticate_with_jwt(request: pb.AuthenticateWithJwtRequest, _: Call, deadline: float) -> Message:
        return pb.AuthenticateWithJwtResponse(response=_result(await signing_in.by_jwt(request.jwt, deadline)))

    async def sign_in_with_jwt(request: rest.SignInWithJwtRequest, _: Call, deadline: float) -> Message:
        return rest.SignInWithJwtResponse(response=_rest_result(await signing_in.by_jwt(request.jwt, deadline)))

    async def revoke(call: Call, deadline: float) -> None:
        await tokens.revoke(bare_token(call.authorization), deadline)

    async def revoke_token(_: pb.RevokeTokenRequest, call: Call, deadline: float) -> Message:
        await revoke(call, deadline)
        return pb.RevokeTokenResponse()

    async def sign_out(_: rest.SignOutRequest, call: Call, deadline: float) -> Message:
        await revoke(call, deadline)
        return rest.SignOutResponse(response=rest.SignOutResult(status="OK"))

    return [
        PublicMethod(f"/{SERVICE}/Authenticate", pb.AuthenticateRequest, authenticate),
        PublicMethod(f"/{SERVICE}/AuthenticateWithJwt", pb.AuthenticateWithJwtRequest, authenticate_with_jwt),
        PublicMethod(f"/{SERVICE}/RevokeToken", pb.RevokeTokenRequest, revoke_token),
        PublicMethod(f"/{REST_SERVICE}/SignIn", rest.SignInRequest, sign_in),
        PublicMethod(f"/{REST_SERVICE}/SignInWithJwt", rest.SignInWithJwtRequest, sign_in_with_jwt),
        PublicMethod(f"/{REST_SERVICE}/SignOut", rest.SignOutRequest, sign_out),
    ]


def _result(issued: Issued) -> pb.AuthenticateResult:
    expire_time = Timestamp()
    expire_time.FromMilliseconds(issued.end_ms)
    lifetime = Duration(seconds=LIFETIME_MS // 1000)
    return pb.AuthenticateResult(status="OK", token=issued.token, expire_time=expire_time, lifetime=lifetime)


def _rest_result(issued: Issued) -> rest.SignInResult:
    return rest.SignInResult(status="OK", token=issued.token, dbg_info=answers_pb2.DebugInfo(output_term="token"))
