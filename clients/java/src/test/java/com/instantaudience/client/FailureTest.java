package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What an error says. */
class FailureTest {
  private static Optional<java.time.Duration> retryAfter(long seconds, int nanos) {
    Duration delay = Duration.newBuilder().setSeconds(seconds).setNanos(nanos).build();
    Status status = Status.newBuilder()
        .setCode(Code.UNAVAILABLE.value())
        .addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(delay).build()))
        .build();
    return Failure.ofStatus(status, "").retryAfter();
  }

  @Test
  void detailsThatCannotBeReadSayNothing() {
    Metadata trailers = new Metadata();
    trailers.put(Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER), new byte[] {-1});
    var thrown = Code.PERMISSION_DENIED.toStatus().withDescription("no").asRuntimeException(trailers);
    AudienceException failure = Failure.ofCall(thrown, "7");
    assertEquals("PERMISSION_DENIED: no (request 7)", failure.getMessage());
    assertEquals(ErrorKind.PERMISSION_DENIED, failure.kind());
  }

  @Test
  void whatFailedHereIsToldInALine() {
    Throwable cause = new java.io.IOException("handshake", new java.net.ConnectException("Connection refused"));
    var thrown = Code.UNAVAILABLE.toStatus().withDescription("io exception\nChannel Pipeline: [a]").withCause(cause);
    AudienceException failure = Failure.ofCall(thrown.asRuntimeException(), "7");
    assertEquals("UNAVAILABLE: io exception: Connection refused (request 7)", failure.getMessage());
  }

  @Test
  void theTimeToTryAgainIsAsTheServiceSays() {
    assertEquals(Optional.of(java.time.Duration.ofMillis(1500)), retryAfter(1, 500_000_000));
    assertEquals(Optional.of(java.time.Duration.ZERO), retryAfter(0, 0));
  }

  @Test
  void aTimeBelowZeroIsNone() {
    assertEquals(Optional.empty(), retryAfter(-1, 0));
    assertEquals(Optional.empty(), retryAfter(0, -1));
    assertEquals(Optional.empty(), retryAfter(Long.MIN_VALUE, Integer.MIN_VALUE));
  }

  @Test
  void aTimeThatIsTooLongForADurationIsAVeryLongOne() {
    assertEquals(315_576_000_002L, retryAfter(Long.MAX_VALUE, Integer.MAX_VALUE).orElseThrow().toSeconds());
  }
}
