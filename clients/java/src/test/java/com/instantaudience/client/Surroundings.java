package com.instantaudience.client;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** The live service that `make test-clients` starts; clients/conformance/README.md describes its variables. */
final class Surroundings {
  private static final String PREFIX = "INSTANT_AUDIENCE_";
  private static final int OK = 200;

  private Surroundings() {}

  /** A variable's value. Without INSTANT_AUDIENCE_GRPC, there is no service: the test is skipped. */
  static String told(String name) {
    Assumptions.assumeTrue(
        System.getenv(PREFIX + "GRPC") != null, "there is no live service: run `make test-clients`");
    String value = System.getenv(PREFIX + name);
    if (value == null) {
      throw new IllegalStateException(PREFIX + name + " is not set");
    }
    return value;
  }

  /** What is in the file that a variable names. */
  static String read(String name) {
    try {
      return Files.readString(Path.of(told(name)));
    } catch (IOException failure) {
      throw new UncheckedIOException(failure);
    }
  }

  /** Gives the proxy a plan, a JSON list. */
  static void plan(String faults) {
    control(HttpRequest.newBuilder().POST(HttpRequest.BodyPublishers.ofString(faults)));
  }

  /** How many requests of a method the proxy has seen since the plan. */
  static int seen(String method) {
    JsonObject seen = control(HttpRequest.newBuilder()).getAsJsonObject("seen");
    return seen.has(method) ? seen.get(method).getAsInt() : 0;
  }

  private static JsonObject control(HttpRequest.Builder request) {
    try {
      HttpResponse<String> answer = HttpClient.newHttpClient()
          .send(
              request.uri(URI.create(told("FAULTS_CONTROL"))).build(), HttpResponse.BodyHandlers.ofString());
      if (answer.statusCode() != OK) {
        throw new IllegalStateException(answer.body());
      }
      return JsonParser.parseString(answer.body()).getAsJsonObject();
    } catch (IOException failure) {
      throw new UncheckedIOException(failure);
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    }
  }
}
