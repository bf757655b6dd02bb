package com.instantaudience.client;

import io.grpc.Status;
import java.time.Duration;

/**
 * The result of an attempt of a call, for metrics and logs.
 *
 * @param method the method's full name: {@code instantaudience.v1.AudienceService/ApplySegments}.
 * @param number the number of the attempt within the call, from 1.
 * @param code gRPC's status code; CANCELLED if the caller cancelled the call.
 * @param reason the reason that the service gave, as listed in errors.proto; empty if it gave none.
 * @param took the duration of the attempt.
 * @param requestId the call's ID in the service's log; all attempts of a call have the same.
 */
public record Attempt(
    String method, int number, Status.Code code, String reason, Duration took, String requestId) {}
