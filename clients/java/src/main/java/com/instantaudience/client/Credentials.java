package com.instantaudience.client;

import java.security.PrivateKey;

/** Who signs in. Without credentials, the connection's client certificate identifies the account. */
public sealed interface Credentials {
  /** An account's user name and password. */
  static Credentials password(String username, String password) {
    return new Password(username, password);
  }

  /**
   * A token that was obtained elsewhere; it is used until the service rejects it.
   *
   * @throws IllegalArgumentException it is empty, contains characters that no token has, such as a line end, or more
   * than 4096 characters.
   */
  static Credentials token(String token) {
    return new Token(token);
  }

  /**
   * An account's private key (RSA or P-256; PKCS #8 in PEM form), and the name of its public key at the service. Such
   * sign-ins are not rate limited, so they suit services with many processes.
   *
   * @throws IllegalArgumentException the key cannot be read, or is neither RSA nor P-256.
   */
  static Credentials keyPair(String username, String keyName, String privateKey) {
    return keyPair(username, keyName, Assertion.key(privateKey));
  }

  /**
   * The same with a key object, which may be in a keystore.
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
    /** @throws IllegalArgumentException see {@link Credentials#token}. */
    public Token {
      if (token.isEmpty()) {
        throw new IllegalArgumentException("the token is empty; is it of a variable that is not set?");
      }
      if (!canBeSent(token)) {
        throw new IllegalArgumentException(
            "the token has characters that no token has, or more than %d; is it a line of a file, with its end?"
                .formatted(Rules.TOKEN_CHARACTERS));
      }
    }

    /** Whether the token can be sent in a header. */
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
    /** @throws IllegalArgumentException see {@link Credentials#keyPair(String, String, PrivateKey)}. */
    public KeyPair {
      Assertion.check(privateKey);
    }

    @Override
    public String toString() {
      return "KeyPair[username=" + username + ", keyName=" + keyName + "]";
    }
  }
}
