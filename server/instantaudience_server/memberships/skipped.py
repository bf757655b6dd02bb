"""What of a request was skipped, and why: the warnings of an answer (source: contract, the tables of "POST
/rt-segment").

An entity repeats what was received, without the keys that were absent; an empty list counts as absent.
"""

from collections.abc import Iterable

from google.protobuf.struct_pb2 import ListValue, Struct
from instantaudience.v1 import audience_pb2 as pb

BLOCK_MESSAGES = {
    pb.WARNING_CODE_SEGMENT_REQUIRED: "'seg_id' or 'seg_code' and 'member_id' are required",
    pb.WARNING_CODE_SEGMENT_AMBIGUOUS: "'seg_id' and 'seg_code' cannot be used together",
    pb.WARNING_CODE_INVALID_EXPIRATION: "'expiration' cannot be less than -1",
    pb.WARNING_CODE_UNKNOWN_SEGMENT: "Invalid segment: {segment}",
    pb.WARNING_CODE_UNAUTHORIZED_SEGMENT: "Unauthorized segment: {segment}",
    pb.WARNING_CODE_INACTIVE_SEGMENT: "Inactive segment: {segment}",
}

USER_MESSAGES = {
    pb.WARNING_CODE_TOO_MANY_USERS: "Too many user_ids in request.",
    pb.WARNING_CODE_USER_ID_REQUIRED: "'user_id' is required and cannot be empty",
    pb.WARNING_CODE_SEG_BLOCK_REQUIRED: "'seg_block' is required",
    pb.WARNING_CODE_INVALID_DOMAIN: "Invalid domain: {user.domain}",
    pb.WARNING_CODE_INVALID_USER_ID: "Invalid user_id: {user.user_id}",
    pb.WARNING_CODE_TOO_MANY_SEGMENTS: "Too many segments for user_id: {user.user_id}.",
    pb.WARNING_CODE_NO_VALID_SEGMENTS: "No valid segments for user_id: {user.user_id}.",
    pb.WARNING_CODE_UNKNOWN_USER_ID: "Unknown user_id: {user.user_id}",
}

NO_VALID_USERS = "No valid rt_segment in request."


def skip_block(
    warnings: list[pb.Warning], code: pb.WarningCode, user_index: int, index: int, block: pb.SegBlock
) -> None:
    """Warn about a block."""
    message = BLOCK_MESSAGES[code].format(segment=_segment_name(block))
    warning = pb.Warning(message=message, code=code, path=f"rt_segment[{user_index}].seg_block[{index}]")
    _describe_block(block, warning.entity)
    warnings.append(warning)


def skip_user(
    warnings: list[pb.Warning], code: pb.WarningCode, index: int, user: pb.RtSegment, blocks: Iterable[pb.SegBlock]
) -> None:
    """Warn about a user; `blocks` are the ones to show."""
    message = USER_MESSAGES[code].format(user=user)
    warning = pb.Warning(message=message, code=code, path=f"rt_segment[{index}]")
    _describe_user(user, blocks, warning.entity)
    warnings.append(warning)


def skip_request(warnings: list[pb.Warning], users: Iterable[pb.RtSegment]) -> None:
    """Warn that none of the users is valid."""
    warning = pb.Warning(message=NO_VALID_USERS, code=pb.WARNING_CODE_NO_VALID_USERS, path="")
    described = ListValue()
    for user in users:
        _describe_user(user, user.seg_block, described.values.add().struct_value)
    if described.values:
        warning.entity.fields["rt_segment"].list_value.MergeFrom(described)
    else:
        warning.entity.SetInParent()
    warnings.append(warning)


def _segment_name(block: pb.SegBlock) -> str:
    if block.HasField("seg_id"):
        return str(block.seg_id)
    return f"{block.seg_code} of member {block.member_id}"


def _describe_block(block: pb.SegBlock, entity: Struct) -> None:
    entity.SetInParent()
    fields = entity.fields
    if block.HasField("seg_id"):
        fields["seg_id"].number_value = block.seg_id
    if block.HasField("seg_code"):
        fields["seg_code"].string_value = block.seg_code
    if block.HasField("value"):
        fields["value"].number_value = block.value
    if block.HasField("expiration"):
        fields["expiration"].number_value = block.expiration
    if block.HasField("member_id"):
        fields["member_id"].number_value = block.member_id


def _describe_user(user: pb.RtSegment, blocks: Iterable[pb.SegBlock], entity: Struct) -> None:
    entity.SetInParent()
    fields = entity.fields
    if user.HasField("user_id"):
        fields["user_id"].string_value = user.user_id
    if user.HasField("domain"):
        fields["domain"].string_value = user.domain
    described = ListValue()
    for block in blocks:
        _describe_block(block, described.values.add().struct_value)
    if described.values:
        fields["seg_block"].list_value.MergeFrom(described)
