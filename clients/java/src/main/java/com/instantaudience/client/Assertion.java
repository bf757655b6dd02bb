package com.instantaudience.client;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.interfaces.ECKey;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Creates JWTs (RFC 7519) that prove possession of a key. */
final class Assertion {
  private static final Pattern PEM =
      Pattern.compile("-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\\s]+)-----END PRIVATE KEY-----");
  private static final String RSA = "RSA";
  private static final String ELLIPTIC = "EC";
  /** The order of the base point of P-256 (FIPS 186-5), by which the curve is recognised. */
  private static final BigInteger P256_ORDER =
      new BigInteger("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16);

  private Assertion() {}

  /** @throws IllegalArgumentException the key cannot be read. */
  static PrivateKey key(String pem) {
    Matcher content = PEM.matcher(pem);
    if (!content.find()) {
      throw new IllegalArgumentException(
          "the private key is not in the form PKCS #8; `openssl pkcs8 -topk8 -nocrypt` makes it so");
    }
    PKCS8EncodedKeySpec encoded = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(content.group(1)));
    for (String algorithm : List.of(ELLIPTIC, RSA)) {
      try {
        return KeyFactory.getInstance(algorithm).generatePrivate(encoded);
      } catch (InvalidKeySpecException ignored) {
        // It is one of the other kind, or none.
      } catch (GeneralSecurityException failure) {
        throw new IllegalStateException(failure);
      }
    }
    throw isNeither();
  }

  /** @throws IllegalArgumentException the service accepts no signatures by such a key. */
  static void check(PrivateKey key) {
    String algorithm = key.getAlgorithm();
    // One that stays in its hardware may not tell its curve.
    boolean isP256 =
        key instanceof ECKey of ? of.getParams().getOrder().equals(P256_ORDER) : algorithm.startsWith(ELLIPTIC);
    if (!isP256 && !algorithm.equals(RSA)) {
      throw isNeither();
    }
  }

  /**
   * A JWT for the Unix time {@code now}, in seconds.
   *
   * @throws IllegalArgumentException the key cannot sign.
   */
  static String of(Credentials.KeyPair pair, long now) {
    boolean isRsa = pair.privateKey().getAlgorithm().equals(RSA);
    String header =
        "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":%s}".formatted(isRsa ? "RS256" : "ES256", quoted(pair.keyName()));
    String claims =
        "{\"sub\":%s,\"iat\":%d,\"exp\":%d}".formatted(quoted(pair.username()), now, now + Rules.ASSERTION_SECONDS);
    String signed = encoded(header.getBytes(StandardCharsets.UTF_8))
        + "."
        + encoded(claims.getBytes(StandardCharsets.UTF_8));
    try {
      // JWTs have the two numbers of ES256 side by side.
      Signature signature = Signature.getInstance(isRsa ? "SHA256withRSA" : "SHA256withECDSAinP1363Format");
      signature.initSign(pair.privateKey());
      signature.update(signed.getBytes(StandardCharsets.US_ASCII));
      return signed + "." + encoded(signature.sign());
    } catch (GeneralSecurityException failure) {
      throw new IllegalArgumentException("the private key cannot sign", failure);
    }
  }

  private static IllegalArgumentException isNeither() {
    return new IllegalArgumentException("the private key is neither RSA nor P-256");
  }

  private static String encoded(byte[] bytes) {
    return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
  }

  /** A JSON string. */
  private static String quoted(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char letter : text.toCharArray()) {
      if (letter == '"' || letter == '\\') {
        quoted.append('\\').append(letter);
      } else if (letter < ' ') {
        quoted.append("\\u%04x".formatted((int) letter));
      } else {
        quoted.append(letter);
      }
    }
    return quoted.append('"').toString();
  }
}
