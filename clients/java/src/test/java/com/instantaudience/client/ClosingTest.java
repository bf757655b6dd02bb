package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.instantaudience.v1.CatalogServiceGrpc;
import com.instantaudience.v1.CreateSegmentRequest;
import com.instantaudience.v1.Limits;
import com.instantaudience.v1.RtSegment;
import io.grpc.Status;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Calls that wait, for whatever it is, end with their client. */
@Timeout(120)
class ClosingTest {
  private static final int CALLS = 50;
  private static final Duration HOURS = Duration.ofHours(48);
  /** A pause is random, between 0 and 24 hours: all but surely longer than the test. */
  private static final Retries PATIENT = new Retries(Duration.ofHours(24), Duration.ofHours(24), Duration.ofSeconds(10));

  private final CountDownLatch isAtIt = new CountDownLatch(1);

  private AudienceClientBuilder nowhere() {
    return AudienceClient.builder("127.0.0.1:1")
        .plaintext()
        .credentials(Credentials.token("x"))
        .retries(PATIENT)
        .onAttempt(attempt -> isAtIt.countDown());
  }

  private void checkEnds(AudienceClient client, List<Runnable> calls) throws Exception {
    var threads = Executors.newCachedThreadPool();
    try {
      var underWay = calls.stream().map(call -> CompletableFuture.runAsync(call, threads)).toList();
      isAtIt.await();
      client.close();
      client.close();
      for (var each : underWay) {
        ExecutionException ended = assertThrows(ExecutionException.class, () -> each.get(1, TimeUnit.MINUTES));
        assertInstanceOf(UnavailableException.class, ended.getCause());
        assertEquals("UNAVAILABLE: the client is closed", ended.getCause().getMessage());
      }
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void callsThatComeLater() {
    AudienceClient client = nowhere().limits(Limits.getDefaultInstance()).build();
    client.close();
    List<Executable> calls = List.of(
        () -> client.memberships(List.of()),
        client::limits,
        () -> client.apply(List.of()),
        () -> client.stream(Collections.emptyIterator(), result -> {}));
    for (Executable call : calls) {
      assertEquals(
          "UNAVAILABLE: the client is closed",
          assertThrows(UnavailableException.class, call).getMessage());
    }
  }

  @Test
  void aStreamThatWaitsForUsers() throws Exception {
    AudienceClient client = nowhere().limits(Limits.getDefaultInstance()).build();
    Iterator<RtSegment> none = new Iterator<>() {
      @Override
      public boolean hasNext() {
        isAtIt.countDown();
        try {
          Thread.sleep(HOURS.toMillis());
        } catch (InterruptedException interrupt) {
          return false;
        }
        return true;
      }

      @Override
      public RtSegment next() {
        return RtSegment.getDefaultInstance();
      }
    };
    checkEnds(client, List.of(() -> client.stream(none, result -> {})));
  }

  @Test
  void anAttemptWhoseThreadIsInterruptedIsTold() throws Exception {
    List<Status.Code> told = new ArrayList<>();
    try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        AudienceClient client = AudienceClient.builder("127.0.0.1:" + silent.getLocalPort())
            .plaintext()
            .credentials(Credentials.token("x"))
            .onAttempt(attempt -> told.add(attempt.code()))
            .build()) {
      Thread caller = Thread.currentThread();
      CompletableFuture.runAsync(() -> {
        try {
          silent.accept(); // The call is under way then.
        } catch (IOException closed) {
          throw new UncheckedIOException(closed);
        }
        caller.interrupt();
      });
      assertThrows(CancellationException.class, () -> client.memberships(List.of("1")));
      assertTrue(Thread.interrupted());
    }
    assertEquals(List.of(Status.Code.CANCELLED), told);
  }

  @Test
  void callsUnderWayWhateverWouldBecomeOfThemElse() throws Exception {
    try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      AudienceClient client = AudienceClient.builder("127.0.0.1:" + silent.getLocalPort())
          .plaintext()
          .credentials(Credentials.token("x"))
          .limits(Limits.getDefaultInstance())
          .retries(PATIENT) // No other attempt is in time.
          .build();
      CompletableFuture.runAsync(() -> {
        try {
          silent.accept();
        } catch (IOException closed) {
          throw new UncheckedIOException(closed);
        }
        isAtIt.countDown();
      });
      RtSegment user = RtSegment.newBuilder().setUserId("1").build();
      var creating = CatalogServiceGrpc.getCreateSegmentMethod();
      checkEnds(
          client,
          List.of(
              () -> client.memberships(List.of("1")),
              () -> client.call(creating, CreateSegmentRequest.getDefaultInstance()),
              () -> client.stream(List.of(user).iterator(), result -> {})));
    }
  }

  @Test
  void aCallThatPauses() throws Exception {
    AudienceClient client = nowhere().build();
    checkEnds(client, List.of(() -> client.withDeadline(HOURS).memberships(List.of("1"))));
  }

  @Test
  void callsThatWaitForTheirMembersLimit() throws Exception {
    AudienceClient client =
        nowhere().limits(Limits.newBuilder().setPostsPerSecond(1).build()).build();
    Runnable call = () -> client.withDeadline(HOURS).apply(List.of(RtSegment.getDefaultInstance()));
    checkEnds(client, IntStream.range(0, CALLS).mapToObj(i -> call).toList());
  }
}
