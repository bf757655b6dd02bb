package com.instantaudience.client;

import io.grpc.Status;
import java.time.Duration;

/**
 * What became of an attempt of a call, for metrics and logs.
 *
 * @param method its full name: {@code instantaudience.v1.AudienceService/ApplySegments}.
 * @param number which attempt of the call it was, from 1.
 * @param code gRPC's status code; CANCELLED where the caller gave it up.
 * @param reason the reason that the service gave, as listed in errors.proto; empty where it gave none.
 * @param took how long it was under way.
 * @param requestId what the service's log names it by; that of all attempts of a call.
 */
public record Attempt(
    String method, int number, Status.Code code, String reason, Duration took, String requestId) {}
