package com.instantaudience.client;

import java.security.PrivateKey;

/** Who calls. Without any, that is the account of the connection's client certificate. */
public sealed interface Credentials {
  /** An account's name and password. */
  static Credentials password(String username, String password) {
    return new Password(username, password);
  }

  /**
   * A token that somebody else has got; it is used as long as the service takes it.
   *
   * @throws IllegalArgumentException it has characters that no token has, the end of a line for example, or
   *     more than 4096.
   */
  static Credentials token(String token) {
    return new Token(token);
  }

  /**
   * An account's private key (RSA or P-256) in PEM of the form PKCS #8, whose public key has this name with the service.
   * Such sign-ins have no limit: for services whose many processes each sign in.
   *
   * @throws IllegalArgumentException the key cannot be read, or is neither RSA nor P-256.
   */
  static Credentials keyPair(String username, String keyName, String privateKey) {
    return keyPair(username, keyName, Assertion.key(privateKey));
  }

  /**
   * The same with a key that is read already, or is in a keystore.
   *
   * @throws IllegalArgumentException the key is neither RSA nor P-256.
   */
  static Credentials keyPair(String username, String keyName, PrivateKey privateKey) {
    return new KeyPair(username, keyName, privateKey);
  }

  /** See {@link #password}. */
  record Password(String username, String password) implements Credentials {
    @Override
    public String toString() {
      return "Password[username=" + username + "]";
    }
  }

  /** See {@link #token}. */
  record Token(String token) implements Credentials {
    /** Checks it. */
    public Token {
      if (!canBeSent(token)) {
        throw new IllegalArgumentException(
            "the token has characters that no token has, or more than %d; is it a line of a file, with its end?"
                .formatted(Rules.TOKEN_CHARACTERS));
      }
    }

    /** Whether a header holds the token. */
    static boolean canBeSent(String token) {
      return token.length() <= Rules.TOKEN_CHARACTERS
          && token.chars().allMatch(character -> character >= ' ' && character <= '~');
    }

    @Override
    public String toString() {
      return "Token[]";
    }
  }

  /** See {@link #keyPair(String, String, PrivateKey)}. */
  record KeyPair(String username, String keyName, PrivateKey privateKey) implements Credentials {
    /** Checks it. */
    public KeyPair {
      Assertion.check(privateKey);
    }

    @Override
    public String toString() {
      return "KeyPair[username=" + username + ", keyName=" + keyName + "]";
    }
  }
}
