package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.security.GeneralSecurityException;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.spec.ECGenParameterSpec;
import java.util.Base64;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A key is looked at before anything is signed with it. */
class CredentialsTest {
  private static PrivateKey key(String kind) throws GeneralSecurityException {
    boolean isCurve = kind.startsWith("secp");
    KeyPairGenerator generator = KeyPairGenerator.getInstance(isCurve ? "EC" : kind);
    if (isCurve) {
      generator.initialize(new ECGenParameterSpec(kind));
    }
    return generator.generateKeyPair().getPrivate();
  }

  private static String pem(PrivateKey key) {
    String content = Base64.getMimeEncoder().encodeToString(key.getEncoded());
    return "-----BEGIN PRIVATE KEY-----\n" + content + "\n-----END PRIVATE KEY-----\n";
  }

  @ParameterizedTest
  @ValueSource(strings = {"secp384r1", "Ed25519", "RSASSA-PSS"})
  void aKeyThatSignsNothingTheServiceTakesIsRefused(String kind) throws Exception {
    PrivateKey key = key(kind);
    List<Executable> ways =
        List.of(() -> Credentials.keyPair("demo", "x", key), () -> Credentials.keyPair("demo", "x", pem(key)));
    for (Executable way : ways) {
      String message = assertThrows(IllegalArgumentException.class, way).getMessage();
      assertEquals("the private key is neither RSA nor P-256", message);
    }
  }

  @Test
  void aKeyThatSignsIsTaken() throws Exception {
    for (String kind : new String[] {"secp256r1", "RSA"}) {
      Credentials.keyPair("demo", "x", key(kind));
      Credentials.keyPair("demo", "x", pem(key(kind)));
    }
  }

  @Test
  void aKeyIsFoundWhateverStandsAroundIt() throws Exception {
    PrivateKey key = key("secp256r1");
    String certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (String text : List.of("Bag Attributes\n" + pem(key), "\ufeff" + pem(key), certificate + pem(key), pem(key) + certificate)) {
      var pair = (Credentials.KeyPair) Credentials.keyPair("demo", "x", text);
      assertEquals(key, pair.privateKey());
    }
  }

  @Test
  void aTokenIsNoFile() {
    for (String token : List.of("a\n", "é", "x".repeat(4097))) {
      String message = assertThrows(IllegalArgumentException.class, () -> Credentials.token(token)).getMessage();
      assertEquals(
          "the token has characters that no token has, or more than 4096; is it a line of a file, with its end?", message);
    }
    Credentials.token("x".repeat(4096));
    String message = assertThrows(IllegalArgumentException.class, () -> Credentials.token("")).getMessage();
    assertEquals("the token is empty; is it of a variable that is not set?", message);
  }
}
