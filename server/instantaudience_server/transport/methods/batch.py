"""The methods of BatchSegmentService and BatchService."""

from google.protobuf.message import Message
from instantaudience.rest.v1 import batch_pb2 as rest_pb
from instantaudience.v1 import batch_pb2 as pb

from instantaudience_server.batch.rest_service import BatchService
from instantaudience_server.batch.service import BatchSegmentService
from instantaudience_server.catalog.access import Caller
from instantaudience_server.transport.calls.kinds import AnyMethod, CollectMethod, Method

SERVICE = pb.DESCRIPTOR.services_by_name["BatchSegmentService"].full_name
REST_SERVICE = rest_pb.DESCRIPTOR.services_by_name["BatchService"].full_name


def batch_methods(typed: BatchSegmentService, rest: BatchService) -> list[AnyMethod]:
    """Each method, wired to its service."""

    async def add(request: rest_pb.AddJobRequest, caller: Caller, deadline: float) -> Message:
        return rest_pb.AddJobResponse(response=await rest.add(request, caller, deadline))

    async def find(request: rest_pb.FindJobsRequest, caller: Caller, deadline: float) -> Message:
        return rest_pb.FindJobsResponse(response=await rest.find(request, caller, deadline))

    async def describe(request: rest_pb.DescribeJobsRequest, caller: Caller, deadline: float) -> Message:
        return rest_pb.DescribeJobsResponse(response=await rest.describe(request, caller, deadline))

    async def find_config(request: rest_pb.FindConfigRequest, caller: Caller, deadline: float) -> Message:
        return rest_pb.FindConfigResponse(response=await rest.find_config(request, caller, deadline))

    async def change_config(request: rest_pb.ChangeConfigRequest, caller: Caller, deadline: float) -> Message:
        return rest_pb.ChangeConfigResponse(response=await rest.change_config(request, caller, deadline))

    return [
        Method(f"/{SERVICE}/CreateBatchJob", pb.CreateBatchJobRequest, typed.create),
        CollectMethod(f"/{SERVICE}/UploadBatchFile", pb.UploadBatchFileRequest, typed.upload),
        Method(f"/{SERVICE}/GetBatchJob", pb.GetBatchJobRequest, typed.get),
        Method(f"/{SERVICE}/ListBatchJobs", pb.ListBatchJobsRequest, typed.list),
        Method(f"/{SERVICE}/CancelBatchJob", pb.CancelBatchJobRequest, typed.cancel),
        Method(f"/{SERVICE}/GetBatchUsage", pb.GetBatchUsageRequest, typed.usage),
        Method(f"/{REST_SERVICE}/AddJob", rest_pb.AddJobRequest, add),
        Method(f"/{REST_SERVICE}/FindJobs", rest_pb.FindJobsRequest, find),
        Method(f"/{REST_SERVICE}/DescribeJobs", rest_pb.DescribeJobsRequest, describe),
        Method(f"/{REST_SERVICE}/FindConfig", rest_pb.FindConfigRequest, find_config),
        Method(f"/{REST_SERVICE}/ChangeConfig", rest_pb.ChangeConfigRequest, change_config),
    ]
