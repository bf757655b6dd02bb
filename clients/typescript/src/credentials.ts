import { ASSERTION_SECONDS } from "./rules.js";

/** An account's user name and password. */
export interface Password {
  readonly username: string;
  readonly password: string;
}

/** A token that was obtained elsewhere; it is used until the service rejects it. */
export interface Token {
  readonly token: string;
}

/**
 * An account's private key (RSA or P-256; PKCS #8 in PEM form, or a Web Crypto key), and the name of its public key at
 * the service.
 */
export interface KeyPair {
  readonly username: string;
  readonly keyName: string;
  readonly privateKey: string | CryptoKey;
}

export type Credentials = Password | Token | KeyPair;

const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const P256 = { name: "ECDSA", namedCurve: "P-256" };
const PEM = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/;

/**
 * A JWT (RFC 7519) that proves possession of the key; `nowMs` is a time of `Date.now`.
 *
 * @throws TypeError the key cannot be read.
 */
export async function assertion(pair: KeyPair, nowMs: number): Promise<string> {
  const key = typeof pair.privateKey === "string" ? await imported(pair.privateKey) : pair.privateKey;
  const isRsa = key.algorithm.name === RSA.name;
  const iat = Math.floor(nowMs / 1000);
  const header = { alg: isRsa ? "RS256" : "ES256", typ: "JWT", kid: pair.keyName };
  const claims = { sub: pair.username, iat, exp: iat + ASSERTION_SECONDS };
  const signed = `${encoded(JSON.stringify(header))}.${encoded(JSON.stringify(claims))}`;
  const algorithm = isRsa ? RSA : { name: P256.name, hash: "SHA-256" };
  const signature = await crypto.subtle.sign(algorithm, key, new TextEncoder().encode(signed));
  return `${signed}.${base64Url(new Uint8Array(signature))}`;
}

async function imported(pem: string): Promise<CryptoKey> {
  const content = PEM.exec(pem)?.[1];
  if (content === undefined) {
    throw new TypeError("the private key is not in the form PKCS #8; `openssl pkcs8 -topk8 -nocrypt` makes it so");
  }
  for (const algorithm of [P256, RSA]) {
    try {
      const bytes = Uint8Array.from(atob(content.replace(/\s/g, "")), (letter) => letter.charCodeAt(0));
      return await crypto.subtle.importKey("pkcs8", bytes, algorithm, false, ["sign"]);
    } catch (failure) {
      // It is one of the other kind, or none.
      if (!(failure instanceof DOMException)) throw failure;
    }
  }
  throw new TypeError("the private key is neither RSA nor P-256");
}

function encoded(text: string): string {
  return base64Url(new TextEncoder().encode(text));
}

function base64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}
