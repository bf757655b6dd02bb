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
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Configures a client: how it connects and signs in, and how it makes calls. */
public final class AudienceClientBuilder {
  /** A name or an IPv4 address, or one of IPv6 in brackets, and a port, which may be missing. */
  private static final Pattern FORM =
      Pattern.compile("(?:[A-Za-z0-9._-]+|\\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\\])(?::([1-9][0-9]{0,4}))?");

  private static final int MOST_PORT = 65535;

  private final String endpoint;
  private Credentials credentials;
  private ChannelCredentials security;
  private Limits limits;
  private Retries retries = Retries.DEFAULT;
  private int window = Rules.STREAM_WINDOW;
  private Consumer<Attempt> onAttempt;
  private ClientInterceptor[] interceptors = {};

  AudienceClientBuilder(String endpoint) {
    Matcher form = FORM.matcher(endpoint);
    if (!form.matches() || form.group(1) != null && Integer.parseInt(form.group(1)) > MOST_PORT) {
      throw new IllegalArgumentException(
          ("endpoint is \"%s\": it has to be host:port and nothing else, with a port from 1 to %d and brackets around"
                  + " an IPv6 address; without TLS, add plaintext()")
              .formatted(endpoint, MOST_PORT));
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
