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

/** Says how a client connects, who it is, and how it goes about its calls. */
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

  /** Who calls. Without any, that is the account of the connection's client certificate. */
  public AudienceClientBuilder credentials(Credentials credentials) {
    this.credentials = credentials;
    return this;
  }

  /**
   * Secures connections in this way, rather than by TLS with the roots of the JDK: by other roots, or with a client
   * certificate; see {@link TlsChannelCredentials#newBuilder}.
   */
  public AudienceClientBuilder tls(ChannelCredentials tls) {
    security = tls;
    return this;
  }

  /** Secures nothing. */
  public AudienceClientBuilder plaintext() {
    security = InsecureChannelCredentials.create();
    return this;
  }

  /** What the member may send; the service's defaults where that says nothing. Without it, the service is asked once. */
  public AudienceClientBuilder limits(com.instantaudience.v1.Limits limits) {
    this.limits = Limits.of(limits);
    return this;
  }

  /** How long to wait before a call is sent again. */
  public AudienceClientBuilder retries(Retries retries) {
    this.retries = retries;
    return this;
  }

  /**
   * How many requests of a stream may be under way at once; 32 by default.
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

  /** Is told of every attempt of a call, for metrics and logs, by several threads at once. */
  public AudienceClientBuilder onAttempt(Consumer<Attempt> onAttempt) {
    this.onAttempt = onAttempt;
    return this;
  }

  /** gRPC's own interceptors, for traces for example. */
  public AudienceClientBuilder interceptors(ClientInterceptor... interceptors) {
    this.interceptors = interceptors.clone();
    return this;
  }

  /** The client; it connects with its first call. */
  public AudienceClient build() {
    ManagedChannel channel = Grpc.newChannelBuilder(
            endpoint, security == null ? TlsChannelCredentials.create() : security)
        .maxInboundMessageSize(Rules.RECEIVE_BYTES)
        .intercept(interceptors)
        // What is sent again is decided here, within the caller's time.
        .disableRetry()
        .keepAliveTime(Rules.PING_EVERY_MS, TimeUnit.MILLISECONDS)
        .keepAliveTimeout(Rules.PING_ANSWER_MS, TimeUnit.MILLISECONDS)
        .build();
    Connection connection = new Connection(channel, credentials, limits, retries, window, onAttempt);
    return new AudienceClient(connection, Duration.ofMillis(Rules.DEADLINE_MS));
  }
}
