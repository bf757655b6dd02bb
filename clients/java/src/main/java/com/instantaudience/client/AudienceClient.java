package com.instantaudience.client;

import com.google.protobuf.Message;
import com.instantaudience.v1.ApplySegmentsRequest;
import com.instantaudience.v1.ApplySegmentsResult;
import com.instantaudience.v1.AudienceServiceGrpc;
import com.instantaudience.v1.BatchGetMembershipsRequest;
import com.instantaudience.v1.GetMembershipsRequest;
import com.instantaudience.v1.Limits;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.UserMemberships;
import io.grpc.MethodDescriptor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.function.Consumer;

/**
 * Puts users into segments, and reads memberships.
 *
 * <p>The client signs in with the first call and renews the token before it ends; retries what is safe and useful to
 * retry, within the caller's deadline; keeps to the member's quota; and splits requests that are too large. All calls
 * of a client share one connection and one token, so make one client and keep it. It may be used by any number of
 * threads.
 *
 * <p>Calls block. They throw an {@link AudienceException} when they fail, and a {@link
 * java.util.concurrent.CancellationException} when the calling thread is interrupted.
 */
public final class AudienceClient implements AutoCloseable {
  /** The {@code expiration} that takes the user out of the segment. */
  public static final int REMOVE = -1;
  /** The {@code expiration} of a membership that never ends. */
  public static final int NEVER = 0;

  private final Connection connection;
  private final Duration time;

  AudienceClient(Connection connection, Duration time) {
    this.connection = connection;
    this.time = time;
  }

  /**
   * Creates a builder of a client; the connection is made by the first call.
   *
   * @param endpoint {@code host:port}, with brackets around an IPv6 address, secured by TLS unless the builder is
   *     configured otherwise.
   * @throws IllegalArgumentException the endpoint is none.
   */
  public static AudienceClientBuilder builder(String endpoint) {
    return new AudienceClientBuilder(endpoint);
  }

  /**
   * A client with this deadline for each call, including all its attempts; the default is 30 seconds. It shares
   * everything with this client, and is closed with it.
   */
  public AudienceClient withDeadline(Duration deadline) {
    return new AudienceClient(connection, deadline);
  }

  /** Closes the connection; current and later calls fail. */
  @Override
  public void close() {
    connection.close();
  }

  /**
   * Puts users into segments and takes them out; returns once everything is written.
   *
   * <p>Users that do not fit into one request are sent in several, one after the other, and the results are combined.
   * An invalid user or block is skipped with a warning. If a request fails, earlier ones may have been applied; it is
   * safe to call again with the same users.
   *
   * @throws AudienceException the call failed; see its subclasses.
   */
  public ApplySegmentsResult apply(Iterable<RtSegment> users) {
    return apply(users, false);
  }

  /**
   * Checks users as {@link #apply} does, with the same result, but changes nothing.
   *
   * @throws AudienceException the call failed.
   */
  public ApplySegmentsResult validate(Iterable<RtSegment> users) {
    return apply(users, true);
  }

  /**
   * Puts any number of users into segments. {@code results} receives a result for each request, in order, on the
   * calling thread; the call returns when all users are answered.
   *
   * <p>Users are read only as fast as they can be sent, so memory stays bounded. A failed request is retried, if that
   * is useful, keeping the order of each user's changes, until the client's deadline has passed without progress. Time
   * spent waiting for users, or in which the process is stopped, does not count.
   *
   * <p>The iterator runs on a thread of its own, which is interrupted when the call ends early; the call waits until
   * the iterator has returned. An exception of the iterator is thrown after the results of the requests that were
   * complete before; an exception of {@code results} ends the call at once.
   *
   * @throws AudienceException there was no progress for too long, or signing in failed.
   */
  public void stream(Iterator<RtSegment> users, Consumer<StreamResult> results) {
    connection.stream(users, results, time);
  }

  /**
   * The current memberships of any number of users, by the platform's own IDs, in the given order. Users that do not
   * fit into one request are read in several, one after the other.
   *
   * @throws AudienceException the call failed; {@link InvalidRequestException} for an invalid ID.
   */
  public List<UserMemberships> memberships(Iterable<String> userIds) {
    return memberships(userIds, "");
  }

  /**
   * The current memberships of users, by IDs of a domain, such as {@code idfa} or {@code aaid}.
   *
   * @throws AudienceException the call failed; {@link InvalidRequestException} for an ID that is not valid in its
   * domain.
   */
  public List<UserMemberships> memberships(Iterable<String> userIds, String domain) {
    connection.checkOpen();
    Deadline deadline = Deadline.after(time);
    List<String> ids = new ArrayList<>();
    userIds.forEach(ids::add);
    // One user is read at once, without a question for the limits.
    boolean isOne = ids.size() <= 1;
    var limits = isOne ? com.instantaudience.client.Limits.DEFAULT : connection.limits(deadline);
    List<UserMemberships> users = new ArrayList<>();
    for (int first = 0; first < ids.size(); ) {
      List<String> asked = ids.subList(first, Math.min(ids.size(), first + limits.usersPerRead()));
      first += asked.size();
      if (!isOne) {
        connection.reading().await(asked.size(), limits.ofReads(), deadline);
      }
      BatchGetMembershipsRequest.Builder request = BatchGetMembershipsRequest.newBuilder();
      asked.forEach(id -> request.addUsers(GetMembershipsRequest.newBuilder().setUserId(id).setDomain(domain)));
      Text.check(request);
      var method = AudienceServiceGrpc.getBatchGetMembershipsMethod();
      var read = connection
          .calling()
          .call(method, request.build(), deadline, answer -> {
            var response = answer.getResponse();
            return response.getRtSegmentCount() == asked.size() ? response : null;
          });
      users.addAll(read.getRtSegmentList());
    }
    return users;
  }

  /**
   * Calls any unary method of the service: {@code call(CatalogServiceGrpc.getGetSegmentMethod(), request)}. Idempotent
   * methods are retried like other calls, others only if they were refused.
   *
   * @throws AudienceException the call failed.
   */
  public <Q, A> A call(MethodDescriptor<Q, A> method, Q request) {
    if (request instanceof Message message) {
      Text.check(message);
    }
    return connection.calling().call(method, request, Deadline.after(time), answer -> answer);
  }

  /**
   * The member's limits that the client keeps to: as given to the builder, or as requested from the service, once. All
   * fields are set.
   *
   * @throws AudienceException the call failed.
   */
  public Limits limits() {
    return connection.limits(Deadline.after(time)).message();
  }

  private ApplySegmentsResult apply(Iterable<RtSegment> users, boolean validateOnly) {
    Deadline deadline = Deadline.after(time);
    var limits = connection.limits(deadline);
    List<Part> parts = Splitter.split(users, limits.ofCalls());
    List<ApplySegmentsResult> results = new ArrayList<>();
    for (Part part : parts) {
      AudienceException refused = part.unreadable();
      if (refused != null) {
        throw refused;
      }
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
