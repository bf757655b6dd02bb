import { X509Certificate, createPrivateKey } from "node:crypto";
import { type SecureContextOptions, createSecureContext } from "node:tls";
import { ConnectError, Code } from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";
import { Client, type ClientOptions } from "./client.js";
import { urlOf } from "./endpoint.js";
import { PING_ANSWER_MS, PING_EVERY_MS, RECEIVE_BYTES } from "./rules.js";

export * from "./index.js";

/**
 * TLS settings, in PEM form. Without `roots`, those of Node.js are used, to which the environment variable
 * NODE_EXTRA_CA_CERTS adds. A client certificate needs both of the other fields.
 */
export interface Tls {
  readonly roots?: string;
  readonly certificateChain?: string;
  readonly privateKey?: string;
}

/** A connection that stays closed: the library's own reconnects for the next request. */
class Closable extends Http2SessionManager {
  #isClosed = false;

  override async request(
    ...asked: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    if (this.#isClosed) throw new ConnectError("the client is closed", Code.Unavailable);
    return super.request(...asked);
  }

  close(): void {
    this.#isClosed = true;
    this.abort();
  }
}

/**
 * Checks certificates and key, and converts them for Node.js, which would ignore invalid certificates and report other
 * errors only as the timeout of each call.
 *
 * @throws TypeError one of them is invalid, the key is encrypted, or belongs to another certificate.
 */
function checked({ roots, certificateChain, privateKey }: Tls): SecureContextOptions {
  for (const [name, text] of Object.entries({ roots, certificateChain })) {
    try {
      if (text !== undefined) new X509Certificate(text);
    } catch {
      throw new TypeError(`there is no certificate in PEM form in ${name}`);
    }
  }
  const options = {
    ...(roots === undefined ? {} : { ca: roots }),
    ...(certificateChain === undefined ? {} : { cert: certificateChain }),
    ...(privateKey === undefined ? {} : { key: privateKey }),
  };
  if (privateKey === undefined) return options;
  try {
    createPrivateKey(privateKey);
    createSecureContext(options);
  } catch (failure) {
    throw new TypeError(`the private key cannot be used: ${(failure as Error).message}`);
  }
  return options;
}

/**
 * Creates a client over gRPC.
 *
 * @throws TypeError both `tls` and `plaintext`, an endpoint with a scheme, an invalid token, a window below 1, an
 * incomplete client certificate, or certificates or a key that cannot be used.
 */
export function createClient(options: ClientOptions & { readonly tls?: Tls }): Client {
  const { tls, plaintext = false, interceptors = [] } = options;
  if (plaintext && tls !== undefined) throw new TypeError("tls and plaintext exclude each other");
  if ((tls?.certificateChain === undefined) !== (tls?.privateKey === undefined)) {
    throw new TypeError("a client certificate needs both certificateChain and privateKey");
  }
  const baseUrl = urlOf(options);
  const sessionManager = new Closable(
    baseUrl,
    { pingIntervalMs: PING_EVERY_MS, pingTimeoutMs: PING_ANSWER_MS },
    checked(tls ?? {}),
  );
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    interceptors: [...interceptors],
    readMaxBytes: RECEIVE_BYTES,
  });
  return new Client({ transport, canStream: true, close: () => sessionManager.close() }, options);
}
