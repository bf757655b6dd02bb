package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The client passes the cases that clients of every language have to pass (clients/conformance). */
class ConformanceTest {
  /** When what came to the proxy is counted, where a case waits. */
  private static final long WAIT_MS = 1500;

  @TestFactory
  Stream<DynamicTest> itPassesTheCases() throws IOException {
    return Case.all(Path.of("../conformance")).stream()
        .map(one -> DynamicTest.dynamicTest(one.name(), () -> pass(one)));
  }

  private static void pass(Case one) throws InterruptedException {
    for (String endpoint : one.texts("endpoints")) {
      AudienceClient.builder(endpoint).build().close();
    }
    for (String endpoint : one.texts("refused_endpoints")) {
      var refused = assertThrows(IllegalArgumentException.class, () -> AudienceClient.builder(endpoint));
      assertTrue(refused.getMessage().startsWith("endpoint is "), refused.getMessage());
    }
    if (one.has("faults")) {
      Surroundings.plan(one.written().get("faults").toString());
    }
    try (AudienceClient client = Checking.client(one)) {
      for (JsonObject step : one.steps()) {
        long began = System.nanoTime();
        if (step.has("closed_after_ms")) {
          CompletableFuture.delayedExecutor(step.get("closed_after_ms").getAsLong(), TimeUnit.MILLISECONDS)
              .execute(client::close);
        }
        Checking.check(client, step);
        long took = Duration.ofNanos(System.nanoTime() - began).toMillis();
        assertTrue(took >= Case.number(step, "at_least_ms", 0), () -> "it took " + took + " ms");
      }
      if (one.has("wait") && one.written().get("wait").getAsBoolean()) {
        Thread.sleep(WAIT_MS);
      }
      for (var seen : one.object("seen").entrySet()) {
        assertEquals(seen.getValue().getAsInt(), Surroundings.seen(seen.getKey()), seen.getKey());
      }
    }
  }
}
