package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import com.instantaudience.v1.ApplySegmentsResult;
import com.instantaudience.v1.AudienceServiceGrpc;
import com.instantaudience.v1.RequestCounts;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.SegBlock;
import com.instantaudience.v1.StreamSegmentsRequest;
import com.instantaudience.v1.StreamSegmentsResponse;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** How streams end, and begin again, on a service that does with them what it is told to. */
@Timeout(60)
class StreamingTest {
  private static final Duration PATIENCE = Duration.ofSeconds(30);
  private static final Retries RETRIES = new Retries(Duration.ofMillis(1), Duration.ofMillis(5), Duration.ofSeconds(10));

  private final List<Status.Code> told = new ArrayList<>();
  private final CountDownLatch hasFailed = new CountDownLatch(1);
  /** How far the clock of the patience is ahead. */
  private final AtomicLong ahead = new AtomicLong();
  /** Runs after that clock is read. */
  private Runnable onTime = () -> {};
  private Server server;

  /** What becomes of a stream; the first one's number is 1. */
  private interface Stream {
    StreamObserver<StreamSegmentsRequest> begin(int number, StreamObserver<StreamSegmentsResponse> responses);
  }

  /** Answers every request. */
  private static class Answering implements StreamObserver<StreamSegmentsRequest> {
    private final StreamObserver<StreamSegmentsResponse> responses;

    Answering(StreamObserver<StreamSegmentsResponse> responses) {
      this.responses = responses;
    }

    @Override
    public void onNext(StreamSegmentsRequest request) {
      RequestCounts counts =
          RequestCounts.newBuilder().setUsersInRequest(request.getRtSegmentCount()).build();
      responses.onNext(StreamSegmentsResponse.newBuilder()
          .setResponse(ApplySegmentsResult.newBuilder().setMessage(counts))
          .build());
    }

    @Override
    public void onError(Throwable thrown) {}

    @Override
    public void onCompleted() {
      responses.onCompleted();
    }
  }

  /** So many users; {@code waiting} is waited for before each of them, and before the end. */
  private record Users(int count, Waiting waiting, AtomicInteger given) implements Iterator<RtSegment> {
    interface Waiting {
      /** Returns when the user of this number, from 1, may be given, or the end. */
      void until(int number) throws InterruptedException;
    }

    @Override
    public boolean hasNext() {
      try {
        waiting.until(given.get() + 1);
      } catch (InterruptedException interrupt) {
        return false;
      }
      return given.get() < count;
    }

    @Override
    public RtSegment next() {
      return user(Integer.toString(given.incrementAndGet()));
    }
  }

  private static RtSegment user(String id) {
    return RtSegment.newBuilder()
        .setUserId(id)
        .addSegBlock(SegBlock.newBuilder().setSegId(7))
        .build();
  }

  private static Users users(int count, Users.Waiting waiting) {
    return new Users(count, waiting, new AtomicInteger());
  }

  private AudienceClient client(Stream stream) throws Exception {
    AtomicInteger streams = new AtomicInteger();
    server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
        .addService(new AudienceServiceGrpc.AudienceServiceImplBase() {
          @Override
          public StreamObserver<StreamSegmentsRequest> streamSegments(StreamObserver<StreamSegmentsResponse> responses) {
            return stream.begin(streams.incrementAndGet(), responses);
          }
        })
        .build()
        .start();
    var channel = Grpc.newChannelBuilder("127.0.0.1:" + server.getPort(), InsecureChannelCredentials.create()).build();
    Connection connection = new Connection(
        channel,
        Credentials.token("x"),
        new Limits(1, 100, 1_000_000, 1_000_000, 1_000_000, 1_000_000),
        RETRIES,
        Rules.STREAM_WINDOW,
        attempt -> {
          told.add(attempt.code());
          hasFailed.countDown();
        },
        () -> {
          long now = System.nanoTime() + ahead.get();
          onTime.run();
          return now;
        });
    return new AudienceClient(connection, PATIENCE);
  }

  @AfterEach
  void stop() {
    server.shutdownNow();
  }

  @Test
  void aStreamThatEndsWhileUsersAreToComeBeginsAgain() throws Exception {
    Stream stream = (number, responses) -> new Answering(responses) {
      @Override
      public void onNext(StreamSegmentsRequest request) {
        super.onNext(request);
        if (number == 1) {
          onCompleted();
        }
      }
    };
    Users users = users(2, number -> {
      if (number > 2) {
        hasFailed.await();
      }
    });
    try (AudienceClient client = client(stream)) {
      client.stream(users, result -> assertNull(result.error()));
    }
    assertEquals(List.of(Status.Code.UNAVAILABLE, Status.Code.OK), told);
  }

  @Test
  void aServiceThatIsNotThereIsWaitedForAsLongAsThePatienceLasts() throws Exception {
    try (AudienceClient client = client((number, responses) -> new Answering(responses))) {
      server.shutdownNow().awaitTermination();
      AudienceClient hurried = client.withDeadline(Duration.ofMillis(500));
      assertThrows(UnavailableException.class, () -> hurried.stream(users(1, number -> {}), result -> {}));
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void usersWhoAreWaitedForUseUpNoPatience(boolean isIdleWhenItFails) throws Exception {
    CountDownLatch answered = new CountDownLatch(1);
    CountDownLatch isProgress = new CountDownLatch(1);
    CountDownLatch late = new CountDownLatch(1);
    Stream stream = (number, responses) -> new Answering(responses) {
      private int requests;

      @Override
      public void onNext(StreamSegmentsRequest request) {
        if (number > 1 || ++requests == 1) {
          super.onNext(request);
        }
        if (number == 1 && (isIdleWhenItFails || requests > 1)) {
          await(isIdleWhenItFails ? late : answered);
          responses.onError(Status.UNAVAILABLE.asRuntimeException());
        }
      }
    };
    Users users = users(2, number -> {
      if (number > 2 && late.getCount() > 0) { // The end may be asked for again.
        isProgress.await();
        ahead.addAndGet(PATIENCE.toNanos());
        late.countDown();
        if (isIdleWhenItFails) {
          hasFailed.await();
        }
      }
    });
    onTime = () -> {
      if (answered.getCount() == 0) { // The patience begins anew.
        isProgress.countDown();
      }
    };
    try (AudienceClient client = client(stream)) {
      client.stream(users, result -> {
        assertNull(result.error());
        answered.countDown();
      });
    }
    assertEquals(List.of(Status.Code.UNAVAILABLE, Status.Code.OK), told);
  }

  @Test
  void timeInWhichTheProcessWasStoppedMakesNoStreamStuck() throws Exception {
    Stream stream = (number, responses) -> new Answering(responses) {
      @Override
      public void onNext(StreamSegmentsRequest request) {
        ahead.addAndGet(Duration.ofHours(1).toNanos());
        try {
          Thread.sleep(1000); // The client looks after it meanwhile.
        } catch (InterruptedException interrupt) {
          throw new IllegalStateException(interrupt);
        }
        super.onNext(request);
      }
    };
    try (AudienceClient client = client(stream)) {
      client.stream(List.of(user("1")).iterator(), result -> assertNull(result.error()));
    }
    assertEquals(List.of(Status.Code.OK), told);
  }

  @Test
  void timeInWhichTheProcessWasStoppedUsesUpNoPatience() throws Exception {
    Runnable stop = () -> ahead.addAndGet(Duration.ofHours(1).toNanos());
    Stream stream = (number, responses) -> new Answering(responses) {
      @Override
      public void onNext(StreamSegmentsRequest request) {
        if (number > 2) {
          super.onNext(request);
        } else {
          stop.run();
          responses.onError(Status.UNAVAILABLE.asRuntimeException());
        }
      }
    };
    try (AudienceClient client = client(stream)) {
      client.stream(List.of(user("1")).iterator(), result -> assertNull(result.error()));
    }
    assertEquals(List.of(Status.Code.UNAVAILABLE, Status.Code.UNAVAILABLE, Status.Code.OK), told);
  }

  @Test
  void noUserIsTakenAfterTheEndThoughTheIteratorHasOne() throws Exception {
    Users users = users(2, number -> {
      if (number > 1) {
        assertThrows(InterruptedException.class, new CountDownLatch(1)::await);
      }
    });
    try (AudienceClient client = client((number, responses) -> new Answering(responses))) {
      assertThrows(
          IllegalStateException.class,
          () -> client.stream(users, result -> {
            throw new IllegalStateException("enough");
          }));
    }
    assertEquals(1, users.given().get());
  }

  @Test
  void anIteratorThatTakesNoNoticeOfAnInterruptKeepsNoStreamFromItsEnd() throws Exception {
    CountDownLatch never = new CountDownLatch(1);
    Users users = users(2, number -> {
      if (number > 2) {
        never.await(); // Its interrupt is the users' end.
      }
    });
    try (AudienceClient client = client((number, responses) -> new Answering(responses))) {
      assertTimeoutPreemptively(
          Duration.ofSeconds(30),
          () -> assertThrows(
              IllegalStateException.class,
              () -> client.stream(users, result -> {
                throw new IllegalStateException("enough");
              })));
    }
    assertEquals(List.of(Status.Code.CANCELLED), told);
  }

  @Test
  void whatIsCheckedAndThrownByTheUsersIsThrownAsItIs() throws Exception {
    Users users = users(1, number -> StreamingTest.<RuntimeException>thrown(new IOException("no more of them")));
    try (AudienceClient client = client((number, responses) -> new Answering(responses))) {
      assertThrows(IOException.class, () -> client.stream(users, result -> {}));
    }
  }

  @Test
  void anInterruptThatIsTheUsersOwnEndsTheStream() throws Exception {
    Iterator<RtSegment> users = List.of("1").stream()
        .map(id -> {
          StreamingTest.<RuntimeException>thrown(new InterruptedException("from elsewhere"));
          return user(id);
        })
        .iterator();
    try (AudienceClient client = client((number, responses) -> new Answering(responses))) {
      assertTimeoutPreemptively(
          Duration.ofSeconds(30),
          () -> assertThrows(InterruptedException.class, () -> client.stream(users, result -> {})));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"?", "??", "1?", "?1", "1??11"})
  void whatIsNoUtf8IsRefusedInItsPlaceAndAStreamGoesOn(String ids) throws Exception {
    StringBuilder told = new StringBuilder();
    Semaphore settled = new Semaphore(1);
    Iterator<RtSegment> users = ids.chars()
        .mapToObj(id -> {
          settled.acquireUninterruptibly(); // As a queue that is acknowledged user by user.
          return user(id == '?' ? "\ud800" : "1");
        })
        .iterator();
    try (AudienceClient client = client((number, responses) -> new Answering(responses))) {
      client.stream(users, result -> {
        told.append(result.error() instanceof InvalidRequestException ? '?' : '1');
        settled.release();
      });
    }
    assertEquals(ids, told.toString());
  }

  @Test
  void whatIsNoUtf8IsNotSentAgainEither() throws Exception {
    List<String> sent = new ArrayList<>();
    Stream stream = (number, responses) -> new Answering(responses) {
      @Override
      public void onNext(StreamSegmentsRequest request) {
        sent.add(request.getRtSegment(0).getUserId());
        if (number > 1) {
          super.onNext(request);
        } else if (sent.size() == 2) {
          responses.onError(Status.UNAVAILABLE.asRuntimeException());
        }
      }

      @Override
      public void onCompleted() {
        if (number > 1) { // The first one has ended.
          super.onCompleted();
        }
      }
    };
    List<Boolean> refused = new ArrayList<>();
    try (AudienceClient client = client(stream)) {
      Iterator<RtSegment> users = List.of(user("1"), user("\ud800"), user("2")).iterator();
      client.stream(users, result -> refused.add(result.error() instanceof InvalidRequestException));
    }
    assertEquals(List.of("1", "2", "1", "2"), sent);
    assertEquals(List.of(false, true, false), refused);
  }

  /** As other languages of the JVM throw, which know no checked exceptions. */
  @SuppressWarnings("unchecked")
  private static <T extends Throwable> void thrown(Throwable whatever) throws T {
    throw (T) whatever;
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException interrupt) {
      throw new IllegalStateException(interrupt);
    }
  }
}
