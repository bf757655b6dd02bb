package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The README's example prints what stands below it. */
class ReadmeTest {
  private static final Pattern EXAMPLE = Pattern.compile("```java\n(.*?)```\n\n```\n(.*?)```", Pattern.DOTALL);

  @Test
  void itPrintsWhatStandsBelowIt(@TempDir Path directory) throws Exception {
    String endpoint = Surroundings.told("GRPC");
    Matcher found = EXAMPLE.matcher(Files.readString(Path.of("README.md")));
    assertTrue(found.find(), "the README has no example with its output");
    Path program = directory.resolve("Example.java");
    Files.writeString(program, found.group(1).replace("127.0.0.1:50051", endpoint));
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    Process example = new ProcessBuilder(java, "-cp", System.getProperty("java.class.path"), program.toString())
        .redirectErrorStream(true)
        .start();
    String printed = new String(example.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, example.waitFor(), printed);
    assertEquals(found.group(2), printed);
  }
}
