"""The methods for public keys: those of CatalogService, and the REST contract's PublicKeyService."""

from google.protobuf.message import Message
from instantaudience.rest.v1 import public_key_pb2 as rest
from instantaudience.v1 import catalog_pb2 as pb

from instantaudience_server.catalog.access import Caller
from instantaudience_server.catalog.accounts.public_keys import PublicKeyService
from instantaudience_server.catalog.rules import LARGEST_ID
from instantaudience_server.errors import invalid, required
from instantaudience_server.process.clock import written_time
from instantaudience_server.transport.calls.kinds import AnyMethod, Method

SERVICE = pb.DESCRIPTOR.services_by_name["CatalogService"].full_name
REST_SERVICE = rest.DESCRIPTOR.services_by_name["PublicKeyService"].full_name


def public_key_methods(keys: PublicKeyService) -> list[AnyMethod]:
    """Each method, wired to the service."""

    async def add(request: pb.AddPublicKeyRequest, caller: Caller, deadline: float) -> Message:
        added = await keys.add(request.user_id, request.name, request.pem, caller, deadline)
        return pb.AddPublicKeyResponse(public_key=added)

    async def list_all(request: pb.ListPublicKeysRequest, caller: Caller, deadline: float) -> Message:
        return pb.ListPublicKeysResponse(public_keys=await keys.list(request.user_id, caller, deadline))

    async def update(request: pb.UpdatePublicKeyRequest, caller: Caller, deadline: float) -> Message:
        _require(request.HasField("active"), "active")
        changed = await keys.set_active(request.user_id, request.key_id, request.active, caller, deadline)
        return pb.UpdatePublicKeyResponse(public_key=changed)

    async def rest_add(request: rest.AddPublicKeyRequest, caller: Caller, deadline: float) -> Message:
        _require(request.HasField("public_key"), "public-key")
        new = request.public_key
        added = await keys.add(request.user_id, new.name, new.encoded_value, caller, deadline)
        return rest.AddPublicKeyResponse(response=_result(added, request.user_id or caller.account.id))

    async def rest_find(request: rest.FindPublicKeysRequest, caller: Caller, deadline: float) -> Message:
        found = await keys.list(request.user_id, caller, deadline)
        entries = [_entry(key, request.user_id or caller.account.id) for key in found]
        result = rest.PublicKeysResult(status="OK", count=len(entries), public_keys=entries)
        return rest.FindPublicKeysResponse(response=result)

    async def rest_change(request: rest.ChangePublicKeyRequest, caller: Caller, deadline: float) -> Message:
        if request.key_id < 1:
            raise invalid("key_id", f"is required, and must be 1 to {LARGEST_ID}")
        _require(request.public_key.HasField("active"), "public-key.active")
        active = request.public_key.active
        changed = await keys.set_active(request.user_id, request.key_id, active, caller, deadline)
        return rest.ChangePublicKeyResponse(response=_result(changed, request.user_id or caller.account.id))

    return [
        Method(f"/{SERVICE}/AddPublicKey", pb.AddPublicKeyRequest, add),
        Method(f"/{SERVICE}/ListPublicKeys", pb.ListPublicKeysRequest, list_all),
        Method(f"/{SERVICE}/UpdatePublicKey", pb.UpdatePublicKeyRequest, update),
        Method(f"/{REST_SERVICE}/AddPublicKey", rest.AddPublicKeyRequest, rest_add),
        Method(f"/{REST_SERVICE}/FindPublicKeys", rest.FindPublicKeysRequest, rest_find),
        Method(f"/{REST_SERVICE}/ChangePublicKey", rest.ChangePublicKeyRequest, rest_change),
    ]


def _require(is_there: bool, field: str) -> None:
    if not is_there:
        raise required(field)


def _result(key: pb.PublicKey, user_id: int) -> rest.PublicKeyResult:
    return rest.PublicKeyResult(status="OK", id=key.id, public_key=_entry(key, user_id))


def _entry(key: pb.PublicKey, user_id: int) -> rest.PublicKeyEntry:
    return rest.PublicKeyEntry(
        id=key.id,
        user_id=user_id,
        name=key.name,
        encoded_value=key.pem,
        active=key.active,
        created_on=written_time(key.create_time.seconds),
    )
