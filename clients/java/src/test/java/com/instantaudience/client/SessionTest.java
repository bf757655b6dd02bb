package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.instantaudience.v1.AuthenticateRequest;
import com.instantaudience.v1.AuthenticateResponse;
import com.instantaudience.v1.AuthenticateResult;
import com.instantaudience.v1.AuthenticateWithJwtRequest;
import com.instantaudience.v1.AuthenticateWithJwtResponse;
import com.instantaudience.v1.AuthenticationServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.security.KeyPairGenerator;
import java.security.spec.ECGenParameterSpec;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A token is got once for all calls, and again when it ends. */
@Timeout(60)
class SessionTest {
  private static final Session.Issued ISSUED = new Session.Issued("b", TimeUnit.HOURS.toNanos(1));

  private static Deadline patient() {
    return Deadline.after(Duration.ofMinutes(1));
  }

  @Test
  void aSignInGoesOnWhenItsCallersHaveGivenUp() throws Exception {
    AtomicInteger signIns = new AtomicInteger();
    CountDownLatch begun = new CountDownLatch(1);
    CompletableFuture<Session.Issued> issued = new CompletableFuture<>();
    Session session = new Session(
        deadline -> {
          signIns.incrementAndGet();
          begun.countDown();
          return issued.join();
        },
        null);
    Thread first = new Thread(() -> assertThrows(CancellationException.class, () -> session.token(patient())));
    first.start();
    begun.await();
    first.interrupt();
    first.join();
    // Whoever waits for it waits no longer than its own time.
    Deadline hurried = Deadline.after(Duration.ofMillis(20));
    assertThrows(DeadlineExceededException.class, () -> session.token(hurried));
    issued.complete(ISSUED);
    assertEquals("b", session.token(patient()));
    assertEquals(1, signIns.get());
  }

  @Test
  void callsWithLessTimeThanASignInTakesGetThroughInTheEnd() throws Exception {
    CountDownLatch goOn = new CountDownLatch(1);
    AtomicInteger signIns = new AtomicInteger();
    Server server = slow(signIns, goOn);
    try (AudienceClient client = AudienceClient.builder("127.0.0.1:" + server.getPort())
        .plaintext()
        .credentials(Credentials.password("x", "y"))
        .build()) {
      for (int i = 0; i < 3; i++) {
        AudienceClient hurried = client.withDeadline(Duration.ofMillis(100));
        assertThrows(DeadlineExceededException.class, () -> hurried.memberships(List.of("1")));
      }
      goOn.countDown();
      var failure = assertThrows(AudienceException.class, () -> client.memberships(List.of("1")));
      assertEquals(Status.Code.UNIMPLEMENTED, failure.code()); // It has signed in; there are no users.
      assertEquals(1, signIns.get());
    } finally {
      server.shutdownNow();
    }
  }

  @Test
  void aSignInThatNobodyWaitsForEndsWithTheClient() throws Exception {
    CountDownLatch goOn = new CountDownLatch(1);
    Server server = slow(new AtomicInteger(), goOn);
    try (AudienceClient client = AudienceClient.builder("127.0.0.1:" + server.getPort())
        .plaintext()
        .credentials(Credentials.password("x", "y"))
        .build()) {
      AudienceClient hurried = client.withDeadline(Duration.ofMillis(100));
      assertThrows(DeadlineExceededException.class, () -> hurried.memberships(List.of("1")));
      assertTrue(signingIn().isPresent());
      Thread signingIn = signingIn().get();
      client.close();
      signingIn.join(5000); // An attempt may take ten seconds.
      assertFalse(signingIn.isAlive());
    } finally {
      goOn.countDown();
      server.shutdownNow();
    }
  }

  /** The thread that obtains what calls share. */
  private static Optional<Thread> signingIn() {
    return Thread.getAllStackTraces().keySet().stream()
        .filter(thread -> thread.getName().equals("instantaudience-shared"))
        .findAny();
  }

  /** A service whose sign-ins wait until they may go on. */
  private static Server slow(AtomicInteger signIns, CountDownLatch goOn) throws IOException {
    return Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
        .addService(new AuthenticationServiceGrpc.AuthenticationServiceImplBase() {
          @Override
          public void authenticate(AuthenticateRequest request, StreamObserver<AuthenticateResponse> answers) {
            signIns.incrementAndGet();
            try {
              goOn.await();
            } catch (InterruptedException interrupt) {
              return;
            }
            var result = AuthenticateResult.newBuilder().setToken("hbapi:1:0:0");
            answers.onNext(AuthenticateResponse.newBuilder().setResponse(result).build());
            answers.onCompleted();
          }
        })
        .build()
        .start();
  }

  @Test
  void aRefusalIsToldToAllWhoWait() throws Exception {
    AtomicInteger signIns = new AtomicInteger();
    CountDownLatch waiting = new CountDownLatch(5);
    CompletableFuture<Void> goOn = new CompletableFuture<>();
    Shared<String> shared = new Shared<>(
        deadline -> {
          signIns.incrementAndGet();
          goOn.join();
          throw new UnauthenticatedException(
              new Failure(Status.Code.UNAUTHENTICATED, "wrong", "", "", null, Map.of(), null));
        },
        Retries.DEFAULT,
        pause -> {},
        () -> null);
    List<CompletableFuture<String>> calls = IntStream.range(0, 5)
        .mapToObj(i -> CompletableFuture.supplyAsync(
            () -> shared.value(
                () -> {
                  waiting.countDown();
                  return null;
                },
                patient()),
            task -> new Thread(task).start()))
        .toList();
    waiting.await();
    goOn.complete(null);
    for (var call : calls) {
      var told = assertThrows(ExecutionException.class, call::get);
      assertInstanceOf(UnauthenticatedException.class, told.getCause());
    }
    assertEquals(1, signIns.get());
  }

  @Test
  void onlyWhoHasMoreTimeThanWhatFailedGoesOn() {
    AtomicInteger asked = new AtomicInteger();
    AtomicLong slept = new AtomicLong();
    Shared<String> shared = new Shared<>(
        deadline -> {
          if (asked.getAndIncrement() % 2 == 1) {
            return "a";
          }
          Duration later = Duration.ofSeconds(40);
          throw new UnavailableException(
              new Failure(Status.Code.UNAVAILABLE, "away", "", "", later, Map.of(), null));
        },
        new Retries(Duration.ZERO, Duration.ZERO, Duration.ofSeconds(10)),
        slept::set,
        () -> null);
    assertEquals("a", shared.value(() -> null, patient()));
    assertEquals(TimeUnit.SECONDS.toNanos(40), slept.get());
    Deadline hurried = Deadline.after(Duration.ofSeconds(20));
    assertThrows(UnavailableException.class, () -> shared.value(() -> null, hurried));
    assertEquals(3, asked.get());
  }

  @Test
  void aTokenThatWasRefusedIsReplaced() {
    AtomicInteger signIns = new AtomicInteger();
    Session session =
        new Session(deadline -> new Session.Issued("t" + signIns.incrementAndGet(), Long.MAX_VALUE / 1000), null);
    assertEquals("t1", session.token(patient()));
    session.refused("t1");
    assertEquals("t2", session.token(patient()));
    session.refused("t1");
    assertEquals("t2", session.token(patient()));
  }

  @ParameterizedTest
  @CsvSource({
    ", 9223372036854775807",
    "0, 0",
    "90, 90000000000",
    "-9223372036854775808, 0",
    "253402300799, 9223372036854775807"
  })
  void aTokenMayEndAtAnyTime(Long seconds, long lifetimeNanos) {
    var answer = AuthenticateResult.newBuilder().setToken("a");
    answer.getExpireTimeBuilder().setSeconds(1); // It is over where this machine's clock is a day ahead.
    if (seconds != null) {
      answer.getLifetimeBuilder().setSeconds(seconds).setNanos(-1);
    }
    assertEquals(lifetimeNanos, Session.Issued.by(answer.build()).lifetimeNanos());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "a\n", "é"})
  void aSignInWithoutATokenThatCanBeSentIsADefect(String token) throws Exception {
    var result = AuthenticateResult.newBuilder().setToken(token);
    Server server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
        .addService(new AuthenticationServiceGrpc.AuthenticationServiceImplBase() {
          @Override
          public void authenticate(AuthenticateRequest request, StreamObserver<AuthenticateResponse> answers) {
            answers.onNext(AuthenticateResponse.newBuilder().setResponse(result).build());
            answers.onCompleted();
          }
        })
        .build()
        .start();
    List<Attempt> told = new ArrayList<>();
    try (AudienceClient client = AudienceClient.builder("127.0.0.1:" + server.getPort())
        .plaintext()
        .credentials(Credentials.password("x", "y"))
        .onAttempt(told::add)
        .build()) {
      var failure = assertThrows(InternalException.class, () -> client.memberships(List.of("1")));
      assertEquals(1, told.size());
      assertEquals(Status.Code.INTERNAL, told.get(0).code());
      assertEquals(told.get(0).requestId(), failure.requestId());
    } finally {
      server.shutdownNow();
    }
  }

  /** The service takes no assertion that is older than five minutes, and a call may take longer. */
  @Test
  void eachAttemptOfASignInHasAnAssertionOfItsOwn() throws Exception {
    List<String> assertions = new ArrayList<>();
    Server server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create())
        .addService(new AuthenticationServiceGrpc.AuthenticationServiceImplBase() {
          @Override
          public void authenticateWithJwt(
              AuthenticateWithJwtRequest request, StreamObserver<AuthenticateWithJwtResponse> answers) {
            assertions.add(request.getJwt());
            if (assertions.size() < 3) {
              answers.onError(Status.UNAVAILABLE.asException());
              return;
            }
            var result = AuthenticateResult.newBuilder().setToken("hbapi:1:0:0");
            answers.onNext(AuthenticateWithJwtResponse.newBuilder().setResponse(result).build());
            answers.onCompleted();
          }
        })
        .build()
        .start();
    KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
    generator.initialize(new ECGenParameterSpec("secp256r1"));
    try (AudienceClient client = AudienceClient.builder("127.0.0.1:" + server.getPort())
        .plaintext()
        .credentials(Credentials.keyPair("demo", "pods", generator.generateKeyPair().getPrivate()))
        .retries(new Retries(Duration.ZERO, Duration.ZERO, Duration.ofSeconds(10)))
        .build()) {
      var failure = assertThrows(AudienceException.class, () -> client.memberships(List.of("1")));
      assertEquals(Status.Code.UNIMPLEMENTED, failure.code()); // It has signed in; there are no users.
      assertEquals(3, assertions.size());
      assertEquals(3, Set.copyOf(assertions).size());
    } finally {
      server.shutdownNow();
    }
  }

  @Test
  void aTokenThatHasEndedWhenItComesIsUsedByWhoHasGotIt() {
    AtomicInteger signIns = new AtomicInteger();
    Session session = new Session(deadline -> new Session.Issued("t" + signIns.incrementAndGet(), 0), null);
    assertEquals("t1", session.token(patient()));
    assertEquals("t2", session.token(patient()));
  }

  @Test
  void aTokenIsUsedAsLongAsItLivesWhereTooManyHaveSignedIn() {
    AtomicInteger signIns = new AtomicInteger();
    AtomicLong now = new AtomicLong();
    long lifetime = TimeUnit.HOURS.toNanos(1);
    Session session = new Session(
        deadline -> {
          if (signIns.getAndIncrement() == 0) {
            return new Session.Issued("a", lifetime);
          }
          throw new RateLimitedException(new Failure(
              Status.Code.RESOURCE_EXHAUSTED, "too many", "", "", Duration.ofMinutes(1), Map.of(), null));
        },
        null,
        Retries.DEFAULT,
        now::get,
        () -> null);
    assertEquals("a", session.token(patient()));
    now.set(lifetime / 100 * 92);
    assertEquals("a", session.token(patient()));
    assertEquals("a", session.token(patient()));
    assertEquals(2, signIns.get());
    now.set(lifetime);
    assertThrows(RateLimitedException.class, () -> session.token(patient()));
  }

  @Test
  void aTokenIsUsedAsLongAsItLivesWhileTheServiceIsAway() {
    AtomicInteger signIns = new AtomicInteger();
    AtomicLong now = new AtomicLong();
    AtomicReference<Session> session = new AtomicReference<>();
    long lifetime = TimeUnit.HOURS.toNanos(1);
    session.set(new Session(
        deadline -> {
          if (signIns.getAndIncrement() == 0) {
            return new Session.Issued("a", lifetime);
          }
          if (now.get() < lifetime) {
            assertEquals("a", session.get().token(patient())); // No other call waits.
          }
          throw new UnavailableException(
              new Failure(Status.Code.UNAVAILABLE, "away", "", "", null, Map.of(), null));
        },
        null,
        Retries.DEFAULT,
        now::get,
        () -> null));
    assertEquals("a", session.get().token(patient()));
    now.set(lifetime / 100 * 92);
    assertEquals("a", session.get().token(patient()));
    assertEquals("a", session.get().token(patient()));
    assertEquals(2, signIns.get());
    now.set(lifetime);
    Deadline hurried = Deadline.after(Duration.ofSeconds(20));
    assertThrows(UnavailableException.class, () -> session.get().token(hurried));
  }

  @Test
  void aClientThatIsClosedWhileItSignsInUsesNoToken() {
    AtomicLong now = new AtomicLong();
    AtomicReference<Session> session = new AtomicReference<>();
    session.set(new Session(
        deadline -> {
          if (now.get() == 0) {
            return new Session.Issued("a", 100);
          }
          session.get().close();
          throw Failure.unavailable("the client is closed", "");
        },
        null,
        Retries.DEFAULT,
        now::get,
        () -> null));
    assertEquals("a", session.get().token(patient()));
    now.set(92);
    assertThrows(UnavailableException.class, () -> session.get().token(patient()));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aCallGoesOnThatWaitsForAnotherTokenWhileItsOwnEnds(boolean isRefused) {
    AtomicInteger signIns = new AtomicInteger();
    AtomicLong now = new AtomicLong();
    AtomicReference<Session> session = new AtomicReference<>();
    long lifetime = TimeUnit.HOURS.toNanos(1);
    session.set(new Session(
        deadline -> {
          int signIn = signIns.incrementAndGet();
          if (signIn == 2) {
            if (isRefused) {
              session.get().refused("t1");
            } else {
              now.set(lifetime);
            }
            throw Failure.late("the caller's time is over");
          }
          assertTrue(deadline.leftNanos() > TimeUnit.SECONDS.toNanos(20));
          return new Session.Issued("t" + signIn, lifetime);
        },
        null,
        Retries.DEFAULT,
        now::get,
        () -> null));
    assertEquals("t1", session.get().token(patient()));
    now.set(lifetime / 100 * 99);
    assertEquals("t3", session.get().token(patient()));
  }
}
