package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsRequest;
import com.instantaudience.v1.ApplySegmentsResult;
import com.instantaudience.v1.AudienceServiceGrpc;
import com.instantaudience.v1.BatchGetMembershipsRequest;
import com.instantaudience.v1.GetMembershipsRequest;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.UserMemberships;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.function.Consumer;

/**
 * Puts users into segments, and reads back what stands.
 *
 * <p>It signs in with the first call and when a token ends, sends again what is safe to send again and helps, within the
 * time that the caller gives, keeps to the member's quota, and splits what is too large. All calls of one client share a
 * connection and a token; make one and keep it. Any number of threads may call at once.
 *
 * <p>Calls block. They throw an {@link AudienceException} when they fail, and a {@link
 * java.util.concurrent.CancellationException} when the calling thread is interrupted.
 */
public final class AudienceClient implements AutoCloseable {
  /** An {@code expiration} that takes the user out of the segment. */
  public static final int REMOVE = -1;
  /** An {@code expiration} that never comes. */
  public static final int NEVER = 0;

  private final Connection connection;
  private final Duration time;

  AudienceClient(Connection connection, Duration time) {
    this.connection = connection;
    this.time = time;
  }

  /**
   * Makes a client; it connects with its first call.
   *
   * @param endpoint {@code host:port}, secured by TLS unless the builder is told otherwise.
   * @throws IllegalArgumentException it has a scheme.
   */
  public static AudienceClientBuilder builder(String endpoint) {
    return new AudienceClientBuilder(endpoint);
  }

  /**
   * This client, but each of whose calls may take so long, all its attempts together; 30 seconds otherwise. It shares
   * everything with this one, and is closed with it.
   */
  public AudienceClient withDeadline(Duration deadline) {
    return new AudienceClient(connection, deadline);
  }

  /** Closes the connection; calls under way fail, and so do those that come. */
  @Override
  public void close() {
    connection.close();
  }

  /**
   * Puts users into segments and takes them out; answered when all is written.
   *
   * <p>What a request cannot hold goes in several, one after the other, and is answered as one. An invalid user or block
   * is skipped with a warning. Fails like a request that was split: what came before may be applied, and calling again
   * with the same users does no harm.
   *
   * @throws AudienceException the call failed; see its subclasses.
   */
  public ApplySegmentsResult apply(Iterable<RtSegment> users) {
    return apply(users, false);
  }

  /**
   * Checks users as {@link #apply} does, and answers as it does, but changes nothing.
   *
   * @throws AudienceException the call failed.
   */
  public ApplySegmentsResult validate(Iterable<RtSegment> users) {
    return apply(users, true);
  }

  /**
   * Puts any number of users into segments. What became of them is told in order, as many users at a time as went in a
   * request, to {@code results} on the calling thread; the call returns when all are answered.
   *
   * <p>Users are taken as they can be sent: memory is bounded, however many there are. A request that fails so that it
   * helps is sent again, each user's changes in order, until the client's deadline has passed without any progress. While
   * users are waited for, no time passes.
   *
   * <p>The iterator runs on a thread of its own, which is interrupted when the call ends early; the call waits until the
   * iterator has returned. What the iterator throws is thrown after the answers of the requests that were full before;
   * what {@code results} throws ends the call at once.
   *
   * @throws AudienceException there was no progress for so long, or signing in failed.
   */
  public void stream(Iterator<RtSegment> users, Consumer<StreamResult> results) {
    connection.stream(users, results, time);
  }

  /**
   * The live memberships of users, by the platform's own IDs, in the order asked for; any number of them.
   *
   * @throws AudienceException the call failed; {@link InvalidRequestException} for an ID that is none.
   */
  public List<UserMemberships> memberships(Iterable<String> userIds) {
    return memberships(userIds, "");
  }

  /**
   * The same by IDs of a domain: {@code idfa} or {@code aaid}, for example.
   *
   * @throws AudienceException the call failed; {@link InvalidRequestException} for an ID that is none of its domain.
   */
  public List<UserMemberships> memberships(Iterable<String> userIds, String domain) {
    Deadline deadline = Deadline.after(time);
    List<UserMemberships> users = new ArrayList<>();
    BatchGetMembershipsRequest.Builder request = BatchGetMembershipsRequest.newBuilder();
    for (Iterator<String> ids = userIds.iterator(); ids.hasNext(); ) {
      request.addUsers(GetMembershipsRequest.newBuilder().setUserId(ids.next()).setDomain(domain));
      if (request.getUsersCount() == Rules.BATCH_USERS || !ids.hasNext()) {
        var method = AudienceServiceGrpc.getBatchGetMembershipsMethod();
        var read = connection
            .calling()
            .call(method, request.build(), deadline, answer -> answer.hasResponse() ? answer.getResponse() : null);
        users.addAll(read.getRtSegmentList());
        request.clear();
      }
    }
    return users;
  }

  /**
   * The answer of any unary method of the service: {@code call(CatalogServiceGrpc.getGetSegmentMethod(), request)}. It is
   * sent again as the other calls are; where it would do harm to carry it out twice, only what was refused.
   *
   * @throws AudienceException the call failed.
   */
  public <Q, A> A call(MethodDescriptor<Q, A> method, Q request) {
    return connection.calling().call(method, request, Deadline.after(time), answer -> answer);
  }

  private ApplySegmentsResult apply(Iterable<RtSegment> users, boolean validateOnly) {
    Deadline deadline = Deadline.after(time);
    Limits limits = connection.limits(deadline);
    List<Part> parts = Splitter.split(users, limits);
    List<ApplySegmentsResult> results = new ArrayList<>();
    for (Part part : parts) {
      connection.pacer().await(part.users().size(), limits, deadline);
      ApplySegmentsRequest request =
          ApplySegmentsRequest.newBuilder().addAllRtSegment(part.users()).setValidateOnly(validateOnly).build();
      var method = AudienceServiceGrpc.getApplySegmentsMethod();
      results.add(connection
          .calling()
          .call(method, request, deadline, answer -> answer.hasResponse() ? answer.getResponse() : null));
    }
    return Joining.joined(parts, results);
  }
}
