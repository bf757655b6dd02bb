package com.instantaudience.client;

import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Configures a client: how it connects and signs in, and how it makes calls. */
public final class AudienceClientBuilder {
  private final String endpoint;
  private Credentials credentials;
  private ChannelCredentials security;
  private Limits limits;
  private Retries retries = Retries.DEFAULT;
  private int window = Rules.STREAM_WINDOW;
  private Consumer<Attempt> onAttempt;
  private ClientInterceptor[] interceptors = {};

  AudienceClientBuilder(String endpoint) {
    if (endpoint.contains("://")) {
      throw new IllegalArgumentException(
          endpoint + " has a scheme: name host:port, with plaintext() where it is without TLS");
    }
    this.endpoint = endpoint;
  }

  /** Sets who signs in. Without credentials, the connection's client certificate identifies the account. */
  public AudienceClientBuilder credentials(Credentials credentials) {
    this.credentials = credentials;
    return this;
  }

  /**
   * Sets the TLS credentials, for other roots than those of the JDK, or for a client certificate; see {@link
   * TlsChannelCredentials#newBuilder}.
   */
  public AudienceClientBuilder tls(ChannelCredentials tls) {
    security = tls;
    return this;
  }

  /** Disables TLS. */
  public AudienceClientBuilder plaintext() {
    security = InsecureChannelCredentials.create();
    return this;
  }

  /**
   * Sets the member's limits; missing fields have the service's defaults. Without this, they are requested from the
   * service once.
   *
   * @throws IllegalArgumentException a limit is less than 1.
   */
  public AudienceClientBuilder limits(com.instantaudience.v1.Limits limits) {
    limits.getAllFields().forEach((field, limit) -> {
      if ((int) limit < 1) {
        throw new IllegalArgumentException(field.getName() + " is " + limit + ": a limit is 1 at least");
      }
    });
    this.limits = Limits.of(limits);
    return this;
  }

  /** Sets the pauses between attempts. */
  public AudienceClientBuilder retries(Retries retries) {
    this.retries = retries;
    return this;
  }

  /**
   * Sets the maximum number of a stream's requests in flight; 32 by default.
   *
   * @throws IllegalArgumentException it is less than 1.
   */
  public AudienceClientBuilder window(int requests) {
    if (requests < 1) {
      throw new IllegalArgumentException("a stream's window is 1 at least");
    }
    window = requests;
    return this;
  }

  /** Sets a function that is called after every attempt of a call, possibly by several threads at once. */
  public AudienceClientBuilder onAttempt(Consumer<Attempt> onAttempt) {
    this.onAttempt = onAttempt;
    return this;
  }

  /** Sets gRPC interceptors, for traces for example. */
  public AudienceClientBuilder interceptors(ClientInterceptor... interceptors) {
    this.interceptors = interceptors.clone();
    return this;
  }

  /** Creates the client; the connection is made by the first call. */
  public AudienceClient build() {
    ManagedChannel channel = Grpc.newChannelBuilder(
            endpoint, security == null ? TlsChannelCredentials.create() : security)
        .maxInboundMessageSize(Rules.RECEIVE_BYTES)
        .intercept(interceptors)
        // Retries are made by this client, within the caller's deadline.
        .disableRetry()
        .keepAliveTime(Rules.PING_EVERY_MS, TimeUnit.MILLISECONDS)
        .keepAliveTimeout(Rules.PING_ANSWER_MS, TimeUnit.MILLISECONDS)
        .build();
    Connection connection = new Connection(channel, credentials, limits, retries, window, onAttempt, System::nanoTime);
    return new AudienceClient(connection, Duration.ofMillis(Rules.DEADLINE_MS));
  }
}
