package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.instantaudience.v1.ApplySegmentsResult;
import com.instantaudience.v1.ApplyWarning;
import com.instantaudience.v1.Membership;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.UserMemberships;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Semaphore;
import java.util.function.ToIntFunction;

/** Whether what a client does is what a case expects. */
final class Checking {
  private static final String WARNING_PREFIX = "WARNING_CODE_";

  private Checking() {}

  /** A case's client. */
  static AudienceClient client(Case one) {
    JsonObject retries = one.object("retries");
    AudienceClientBuilder builder = AudienceClient.builder(
            Surroundings.told(one.has("faults") ? "FAULTS" : "GRPC"))
        .plaintext()
        .credentials(credentials(Case.text(one.written(), "credentials", "key pair")))
        .retries(new Retries(
            Duration.ofMillis(Case.number(retries, "first_ms", 10)),
            Duration.ofMillis(Case.number(retries, "most_ms", 100)),
            Duration.ofMillis(Case.number(retries, "attempt_ms", 10_000))));
    if (one.has("limits")) {
      builder.limits(
          parsed(one.object("limits"), com.instantaudience.v1.Limits.newBuilder()).build());
    }
    return builder.build();
  }

  /** Does a step, and looks whether what it leads to is what is expected. */
  static void check(AudienceClient client, JsonObject step) {
    JsonObject expect = step.getAsJsonObject("expect");
    AudienceClient bound = client.withDeadline(Duration.ofMillis(Case.number(step, "deadline_ms", 30_000)));
    if (expect.has("error")) {
      JsonObject wanted = expect.getAsJsonObject("error");
      AudienceException error = assertThrows(AudienceException.class, () -> call(bound, step));
      checkError(error, wanted, step.has("closed_after_ms"));
    } else if (step.get("call").getAsString().equals("memberships")) {
      checkUsers(memberships(bound, step), Case.meant(expect.getAsJsonArray("users")));
    } else {
      checkResults(call(bound, step), expect);
    }
  }

  private static Credentials credentials(String written) {
    String username = Surroundings.told("USERNAME");
    return switch (written) {
      case "key pair" ->
        Credentials.keyPair(username, Surroundings.told("KEY_NAME"), Surroundings.read("KEY_FILE"));
      case "password" -> Credentials.password(username, Surroundings.told("PASSWORD"));
      case "wrong password" -> Credentials.password("private", "wrong");
      case "token" -> Credentials.token(Surroundings.told("TOKEN"));
      case "unknown token" -> Credentials.token("hbapi:1001:0:0");
      case "wrong key" -> Credentials.keyPair(username, "unknown", Surroundings.read("KEY_FILE"));
      default -> throw new IllegalArgumentException("unknown credentials " + written);
    };
  }

  private static List<StreamResult> call(AudienceClient client, JsonObject step) {
    List<StreamResult> results = new ArrayList<>();
    switch (step.get("call").getAsString()) {
      case "memberships" -> memberships(client, step);
      case "apply" -> {
        boolean isOnlyValidated = step.has("validate_only") && step.get("validate_only").getAsBoolean();
        List<RtSegment> users = users(step.getAsJsonArray("users"));
        ApplySegmentsResult result = isOnlyValidated ? client.validate(users) : client.apply(users);
        results.add(new StreamResult(0, 0, false, result, null));
      }
      case "stream" -> {
        Semaphore came = new Semaphore(0);
        client.stream(asTheyCome(Case.objects(step.getAsJsonArray("users")), came), result -> {
          results.add(result);
          came.release();
        });
      }
      default -> throw new IllegalArgumentException("unknown call " + step.get("call"));
    }
    return results;
  }

  private static List<UserMemberships> memberships(AudienceClient client, JsonObject step) {
    List<String> ids = Case.meant(step.getAsJsonArray("user_ids")).stream()
        .map(user -> user.get("user_id").getAsString())
        .toList();
    return client.memberships(ids, Case.text(step, "domain", ""));
  }

  /** Some users wait for results: {@code came} has a permit for each. */
  private static Iterator<RtSegment> asTheyCome(List<JsonObject> written, Semaphore came) {
    return written.stream()
        .flatMap(each -> {
          int results = Case.number(each, "after_results", 0);
          came.acquireUninterruptibly(results);
          came.release(results);
          JsonArray alone = new JsonArray();
          alone.add(each);
          return users(alone).stream();
        })
        .iterator();
  }

  private static List<RtSegment> users(JsonArray written) {
    return Case.meant(written).stream()
        .map(user -> parsed(user, RtSegment.newBuilder()).build())
        .toList();
  }

  private static <B extends Message.Builder> B parsed(JsonObject written, B builder) {
    try {
      JsonFormat.parser().merge(written.toString(), builder);
      return builder;
    } catch (InvalidProtocolBufferException failure) {
      throw new IllegalArgumentException(failure);
    }
  }

  private static void checkResults(List<StreamResult> results, JsonObject expect) {
    List<ApplySegmentsResult> applied =
        results.stream().map(StreamResult::result).filter(Objects::nonNull).toList();
    checkSum(applied, result -> result.getMessage().getUsersInRequest(), expect, "users_in_request");
    checkSum(applied, result -> result.getMessage().getSegmentsInRequest(), expect, "segments_in_request");
    List<ApplyWarning> warnings =
        applied.stream().flatMap(result -> result.getWarningsList().stream()).toList();
    if (expect.has("warnings")) {
      List<JsonObject> wanted = Case.objects(expect.getAsJsonArray("warnings"));
      assertEquals(wanted.size(), warnings.size(), () -> warnings.toString());
      for (int index = 0; index < wanted.size(); index++) {
        checkWarning(warnings.get(index), wanted.get(index));
      }
    }
    assertEquals(Case.number(expect, "warning_count", warnings.size()), warnings.size());
    if (expect.has("results")) {
      JsonArray shapes = new JsonArray();
      JsonArray continued = new JsonArray();
      for (StreamResult result : results) {
        JsonArray shape = new JsonArray();
        if (result.continues()) {
          continued.add(shapes.size());
        }
        shape.add(result.firstUser());
        shape.add(result.users());
        shapes.add(shape);
      }
      assertEquals(expect.get("results").toString(), shapes.toString());
      JsonArray wanted = expect.has("continued") ? expect.getAsJsonArray("continued") : new JsonArray();
      assertEquals(wanted.toString(), continued.toString());
    }
    List<AudienceException> errors =
        results.stream().map(StreamResult::error).filter(Objects::nonNull).toList();
    JsonArray wanted = expect.has("errors") ? expect.getAsJsonArray("errors") : new JsonArray();
    assertEquals(wanted.size(), errors.size(), () -> errors.toString());
    for (int index = 0; index < errors.size(); index++) {
      checkError(errors.get(index), wanted.get(index).getAsJsonObject(), false);
    }
  }

  private static void checkSum(
      List<ApplySegmentsResult> applied, ToIntFunction<ApplySegmentsResult> count, JsonObject expect, String word) {
    assertEquals(expect.get(word).getAsInt(), applied.stream().mapToInt(count).sum(), word);
  }

  private static void checkWarning(ApplyWarning warning, JsonObject wanted) {
    assertEquals(wanted.get("path").getAsString(), warning.getPath());
    assertEquals(WARNING_PREFIX + wanted.get("code").getAsString(), warning.getCode().name());
    assertEquals(Case.text(wanted, "message", warning.getMessage()), warning.getMessage());
  }

  private static void checkError(AudienceException error, JsonObject wanted, boolean isClosed) {
    String kind = wanted.get("kind").getAsString();
    assertEquals(kind + "Exception", error.getClass().getSimpleName(), error.toString());
    assertEquals(
        kind.replaceAll("(?<=.)([A-Z])", "_$1").toUpperCase(Locale.ROOT), error.kind().name());
    assertEquals(Case.text(wanted, "code", error.code().name()), error.code().name());
    assertEquals(Case.text(wanted, "reason", error.reason()), error.reason());
    assertTrue(!error.requestId().isEmpty() || kind.equals("DeadlineExceeded") || isClosed, error.toString());
  }

  private static void checkUsers(List<UserMemberships> users, List<JsonObject> wanted) {
    assertEquals(wanted.size(), users.size());
    for (int index = 0; index < wanted.size(); index++) {
      UserMemberships user = users.get(index);
      assertEquals(wanted.get(index).get("user_id").getAsString(), user.getUserId());
      assertEquals(Case.text(wanted.get(index), "domain", ""), user.getDomain());
      JsonArray blocks = wanted.get(index).has("seg_block")
          ? wanted.get(index).getAsJsonArray("seg_block")
          : new JsonArray();
      assertEquals(blocks.size(), user.getSegBlockCount(), user.toString());
      for (int block = 0; block < blocks.size(); block++) {
        checkMembership(user.getSegBlock(block), blocks.get(block).getAsJsonObject());
      }
    }
  }

  private static void checkMembership(Membership membership, JsonObject wanted) {
    JsonObject stands;
    try {
      stands = JsonParser.parseString(JsonFormat.printer()
              .preservingProtoFieldNames()
              .alwaysPrintFieldsWithNoPresence()
              .print(membership))
          .getAsJsonObject();
    } catch (InvalidProtocolBufferException failure) {
      throw new IllegalArgumentException(failure);
    }
    for (String field : wanted.keySet()) {
      JsonElement value = stands.get(field);
      assertFalse(value == null, () -> field + " is not in " + stands);
      assertEquals(wanted.get(field).getAsString(), value.getAsString(), field);
    }
  }
}
