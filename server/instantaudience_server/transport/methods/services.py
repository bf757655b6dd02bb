"""The services of the API, whose methods are in the modules of this package."""

from instantaudience.rest.v1 import batch_pb2 as rest_batch_pb2
from instantaudience.rest.v1 import member_pb2, public_key_pb2, segment_pb2, sign_in_pb2
from instantaudience.rest.v1 import privacy_pb2 as rest_privacy_pb2
from instantaudience.v1 import (
    audience_pb2,
    authentication_pb2,
    batch_pb2,
    catalog_pb2,
    identity_pb2,
    privacy_pb2,
    status_pb2,
    usage_pb2,
)

FILES = (
    audience_pb2.DESCRIPTOR,
    authentication_pb2.DESCRIPTOR,
    status_pb2.DESCRIPTOR,
    catalog_pb2.DESCRIPTOR,
    identity_pb2.DESCRIPTOR,
    segment_pb2.DESCRIPTOR,
    usage_pb2.DESCRIPTOR,
    member_pb2.DESCRIPTOR,
    sign_in_pb2.DESCRIPTOR,
    batch_pb2.DESCRIPTOR,
    rest_batch_pb2.DESCRIPTOR,
    privacy_pb2.DESCRIPTOR,
    rest_privacy_pb2.DESCRIPTOR,
    public_key_pb2.DESCRIPTOR,
)
"""The proto files whose services are served."""
SERVICES = tuple(service.full_name for file in FILES for service in file.services_by_name.values())
