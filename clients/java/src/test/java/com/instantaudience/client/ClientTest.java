package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.instantaudience.v1.CatalogServiceGrpc;
import com.instantaudience.v1.GetSegmentRequest;
import com.instantaudience.v1.IdentityServiceGrpc;
import com.instantaudience.v1.Limits;
import com.instantaudience.v1.MapUserRequest;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.SegBlock;
import com.instantaudience.v1.UserMapping;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the client does beside the cases of clients/conformance, on a live service and one that does wrong. */
@Timeout(120)
class ClientTest {
  private static final int SEGMENT = 10001;

  private static AudienceClientBuilder builder() {
    Limits limits =
        Limits.newBuilder().setUsersPerCall(1).setUsersPerSecond(1_000_000).setPostsPerSecond(1_000_000).build();
    return asking().limits(limits);
  }

  /** The builder of a client that asks the service for its limits. */
  private static AudienceClientBuilder asking() {
    return AudienceClient.builder(Surroundings.told("FAULTS"))
        .plaintext()
        .credentials(Credentials.keyPair(
            Surroundings.told("USERNAME"), Surroundings.told("KEY_NAME"), Surroundings.read("KEY_FILE")));
  }

  private static void sleep(long ms) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    }
  }

  private static Iterator<RtSegment> users(int count) {
    return IntStream.range(0, count).mapToObj(i -> user(7_880_000_000L + i)).iterator();
  }

  private static RtSegment user(long id) {
    return RtSegment.newBuilder()
        .setUserId(Long.toString(id))
        .addSegBlock(SegBlock.newBuilder().setSegId(SEGMENT).setExpiration(AudienceClient.NEVER))
        .build();
  }

  @Test
  void itSignsInAndAsksForTheLimitsOnceForAllCalls() throws Exception {
    Surroundings.plan("[]");
    try (AudienceClient client = asking().build()) {
      List<Thread> threads = IntStream.range(0, 10)
          .mapToObj(i -> new Thread(() -> client.apply(List.of(user(7_850_000_000L + i)))))
          .toList();
      threads.forEach(Thread::start);
      for (Thread thread : threads) {
        thread.join();
      }
      assertEquals(1000, client.limits().getUsersPerCall());
    }
    assertEquals(1, Surroundings.seen("AuthenticateWithJwt"));
    assertEquals(1, Surroundings.seen("GetMember"));
    assertEquals(10, Surroundings.seen("ApplySegments"));
  }

  @Test
  void limitsThatAreNotGivenAreTheServicesDefaults() {
    Limits given = Limits.newBuilder().setUsersPerSecond(7).build();
    try (AudienceClient client = AudienceClient.builder("127.0.0.1:1").plaintext().limits(given).build()) {
      Limits kept = client.limits();
      assertEquals(List.of(1000, 7), List.of(kept.getUsersPerCall(), kept.getUsersPerSecond()));
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aCallThatWaitsForOthersLearnsWhatFailsWhenItsTimeIsOver(boolean signsIn) {
    Credentials credentials =
        signsIn ? Credentials.password("demo", "demo") : Credentials.token("hbapi:1:0:0");
    try (AudienceClient client =
        AudienceClient.builder("127.0.0.1:1").plaintext().credentials(credentials).build()) {
      AudienceClient hurried = client.withDeadline(Duration.ofMillis(300));
      assertThrows(UnavailableException.class, () -> hurried.apply(List.of(user(1))));
    }
  }

  @Test
  void whatIsNoUtf8IsRefusedSinceEncodedItWouldBeAnotherUsersId() {
    String half = "crm-\ud800";
    SegBlock byCode = SegBlock.newBuilder().setSegCode(half).build();
    AudienceClientBuilder builder = AudienceClient.builder("127.0.0.1:1")
        .plaintext()
        .credentials(Credentials.token("x"))
        .limits(Limits.getDefaultInstance());
    try (AudienceClient client = builder.build()) {
      for (RtSegment user : List.of(
          user(1).toBuilder().setUserId(half).build(),
          user(1).toBuilder().setDomain(half).build(),
          user(1).toBuilder().addSegBlock(byCode).build())) {
        String text = "the user ID, domain or a segment's code of user \"" + user.getUserId() + "\" is no UTF-8";
        assertRefused(text, () -> client.apply(List.of(user(2), user)));
      }
      assertRefused("users.user_id is no UTF-8", () -> client.memberships(List.of(half)));
      UserMapping.Builder mapping = UserMapping.newBuilder().setUserId("1").addExternalIds("\ud83d\ude00");
      MapUserRequest request = MapUserRequest.newBuilder().setMapuid(mapping.addExternalIds(half)).build();
      assertRefused(
          "mapuid.external_ids is no UTF-8", () -> client.call(IdentityServiceGrpc.getMapUserMethod(), request));
    }
  }

  private static void assertRefused(String text, Executable call) {
    String said = assertThrows(InvalidRequestException.class, call).getMessage();
    assertEquals("INVALID_ARGUMENT: " + text, said);
  }

  @Test
  void aCallerWhoIsSlowWithAnAnswerHasTheStreamWait() {
    Surroundings.plan("[]");
    Retries retries = new Retries(Duration.ofMillis(10), Duration.ofMillis(50), Duration.ofSeconds(2));
    List<Integer> told = new ArrayList<>();
    try (AudienceClient client = builder().retries(retries).build()) {
      client.stream(users(3), result -> {
        told.add(result.firstUser());
        if (result.firstUser() == 0) {
          sleep(2500);
        }
      });
    }
    assertEquals(List.of(0, 1, 2), told);
    assertEquals(3, Surroundings.seen("StreamSegments"));
  }

  @Test
  void usersAreNotTakenBeforeTheyCanBeSent() {
    Surroundings.plan("[]");
    int[] taken = {0};
    Iterator<RtSegment> users =
        Stream.generate(() -> user(7_860_000_000L + taken[0]++ % 100)).iterator();
    try (AudienceClient client = builder().window(4).build()) {
      assertThrows(IllegalStateException.class, () -> client.stream(users, result -> {
        sleep(300);
        throw new IllegalStateException("enough");
      }));
    }
    assertTrue(taken[0] <= 7, () -> taken[0] + " were taken");
  }

  @Test
  void whatTheUsersThrowIsThrownAfterTheAnswers() {
    Surroundings.plan("[]");
    List<Integer> told = new ArrayList<>();
    Iterator<RtSegment> users = IntStream.range(0, 3)
        .mapToObj(i -> {
          if (i == 2) {
            throw new UnsupportedOperationException("no more of them");
          }
          return user(7_870_000_000L + i);
        })
        .iterator();
    try (AudienceClient client = builder().build()) {
      assertThrows(
          UnsupportedOperationException.class, () -> client.stream(users, result -> told.add(result.firstUser())));
    }
    assertEquals(List.of(0), told); // The second one's request was not full yet.
  }

  @Test
  void anInterruptEndsACall() {
    try (AudienceClient client = builder().build()) {
      Thread.currentThread().interrupt();
      assertThrows(CancellationException.class, () -> client.memberships(List.of("1")));
      assertTrue(Thread.interrupted());
    }
  }

  @Test
  void aClientThatIsClosedSendsNothing() {
    AudienceClient client = builder().build();
    client.close();
    assertThrows(UnavailableException.class, () -> client.memberships(List.of("1")));
    assertThrows(UnavailableException.class, () -> client.stream(users(1), result -> {}));
  }

  @Test
  void anyMethodCanBeCalledAndAttemptsAreTold() {
    List<Attempt> attempts = new ArrayList<>();
    try (AudienceClient client = builder().onAttempt(attempts::add).build()) {
      GetSegmentRequest request = GetSegmentRequest.newBuilder().setId(SEGMENT).build();
      var answer = client.call(CatalogServiceGrpc.getGetSegmentMethod(), request);
      assertEquals("sports_fans", answer.getSegment().getCode());
    }
    assertEquals(
        List.of(
            "instantaudience.v1.AuthenticationService/AuthenticateWithJwt",
            "instantaudience.v1.CatalogService/GetSegment"),
        attempts.stream().map(Attempt::method).toList());
  }

  @Test
  void whatAHookThrowsIsThrownAndNothingIsSentAgain() {
    Surroundings.plan("[]");
    AudienceClientBuilder builder = builder()
        .credentials(Credentials.token(Surroundings.told("TOKEN")))
        .onAttempt(attempt -> {
          throw Status.UNAVAILABLE.asRuntimeException(); // As a call of the hook's own does that fails.
        });
    try (AudienceClient client = builder.build()) {
      assertThrows(StatusRuntimeException.class, () -> client.apply(List.of(user(7_890_000_000L))));
    }
    assertEquals(1, Surroundings.seen("ApplySegments"));
  }

  @Test
  void aConnectionIsSecuredAndShowsTheClientsCertificate() throws Exception {
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder()
        .trustManager(new File(Surroundings.told("TLS_ROOTS")))
        .keyManager(new File(Surroundings.told("TLS_CERT")), new File(Surroundings.told("TLS_KEY")));
    try (AudienceClient client = AudienceClient.builder(Surroundings.told("TLS"))
        .credentials(Credentials.token(Surroundings.told("TOKEN")))
        .tls(tls.build())
        .build()) {
      assertEquals("7800000000000000009", client.memberships(List.of("7800000000000000009")).get(0).getUserId());
    }
  }

  @Test
  void aLimitWithoutRoomIsRefused() {
    Limits limits = Limits.newBuilder().setGetsPerSecond(0).build();
    Executable given = () -> AudienceClient.builder("127.0.0.1:1").limits(limits);
    String said = assertThrows(IllegalArgumentException.class, given).getMessage();
    assertEquals("gets_per_second is 0: a limit is 1 at least", said);
  }
}
