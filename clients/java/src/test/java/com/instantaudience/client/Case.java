package com.instantaudience.client;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;

/** A case that clients in every language have to pass; clients/conformance/README.md says what it means. */
record Case(String file, JsonObject written) {
  /** The keys that a case may have; another one is an error, as the runner does not know what it means. */
  private static final Set<String> WORDS = Set.of(
      "name",
      "credentials",
      "limits",
      "retries",
      "faults",
      "steps",
      "seen",
      "wait",
      "endpoints",
      "refused_endpoints");
  private static final Set<String> STEP_WORDS = Set.of(
      "call", "users", "user_ids", "domain", "validate_only", "deadline_ms", "expect", "at_least_ms", "closed_after_ms");
  private static final Set<String> EXPECT_WORDS = Set.of(
      "users_in_request",
      "segments_in_request",
      "warnings",
      "warning_count",
      "results",
      "continued",
      "errors",
      "users",
      "error");

  /** All cases of a directory. */
  static List<Case> all(Path directory) throws IOException {
    List<Case> cases = new ArrayList<>();
    try (Stream<Path> files = Files.list(directory)) {
      for (Path file : files.filter(path -> path.toString().endsWith(".json")).sorted().toList()) {
        JsonObject written = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
        for (JsonElement one : written.getAsJsonArray("cases")) {
          cases.add(new Case(file.getFileName().toString(), one.getAsJsonObject()).checked());
        }
      }
    }
    return cases;
  }

  String name() {
    return file + ": " + written.get("name").getAsString();
  }

  boolean has(String word) {
    return written.has(word);
  }

  JsonObject object(String word) {
    return written.has(word) ? written.getAsJsonObject(word) : new JsonObject();
  }

  List<String> texts(String word) {
    JsonArray texts = written.has(word) ? written.getAsJsonArray(word) : new JsonArray();
    return texts.asList().stream().map(JsonElement::getAsString).toList();
  }

  List<JsonObject> steps() {
    return objects(written.getAsJsonArray("steps"));
  }

  static List<JsonObject> objects(JsonArray written) {
    List<JsonObject> objects = new ArrayList<>();
    written.forEach(each -> objects.add(each.getAsJsonObject()));
    return objects;
  }

  /** Users as they are meant: each as often as {@code times} says. */
  static List<JsonObject> meant(JsonArray written) {
    List<JsonObject> meant = new ArrayList<>();
    for (JsonElement each : written) {
      if (each.isJsonPrimitive()) {
        JsonObject user = new JsonObject();
        user.add("user_id", each);
        meant.add(user);
        continue;
      }
      JsonObject template = each.getAsJsonObject();
      int times = number(template, "times", 1);
      int distinct = number(template, "distinct", times);
      for (int i = 0; i < times; i++) {
        meant.add(user(template, times > 1 ? i % distinct : 0, i));
      }
    }
    return meant;
  }

  static int number(JsonObject written, String word, int otherwise) {
    return written.has(word) ? written.get(word).getAsInt() : otherwise;
  }

  static String text(JsonObject written, String word, String otherwise) {
    return written.has(word) ? written.get(word).getAsString() : otherwise;
  }

  private static JsonObject user(JsonObject template, int raised, int i) {
    JsonObject user = template.deepCopy();
    user.remove("times");
    user.remove("distinct");
    user.remove("after_results");
    if (raised > 0) {
      user.addProperty("user_id", template.get("user_id").getAsBigInteger().add(BigInteger.valueOf(raised)).toString());
    }
    if (template.has("seg_block")) {
      JsonArray blocks = new JsonArray();
      for (JsonObject block : objects(template.getAsJsonArray("seg_block"))) {
        int times = number(block, "times", 1);
        for (int j = 0; j < times; j++) {
          blocks.add(block(block, times > 1 ? j : i));
        }
      }
      user.add("seg_block", blocks);
    }
    return user;
  }

  private static JsonObject block(JsonObject template, int number) {
    JsonObject block = template.deepCopy();
    block.remove("times");
    if (text(block, "value", "").equals("i")) {
      block.addProperty("value", number);
    }
    return block;
  }

  private Case checked() {
    check(written, WORDS);
    for (JsonObject step : steps()) {
      check(step, STEP_WORDS);
      check(step.getAsJsonObject("expect"), EXPECT_WORDS);
    }
    return this;
  }

  private static void check(JsonObject written, Set<String> words) {
    Set<String> unknown = new HashSet<>(written.keySet());
    unknown.removeAll(words);
    if (!unknown.isEmpty()) {
      throw new IllegalArgumentException("what this runner does not know: " + unknown);
    }
  }
}
