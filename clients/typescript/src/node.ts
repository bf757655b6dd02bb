import { X509Certificate, createPrivateKey } from "node:crypto";
import { type Socket, connect, isIP } from "node:net";
import { type SecureContextOptions, connect as connectSecurely, createSecureContext } from "node:tls";
import { ConnectError, Code } from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";
import { Client, type ClientOptions } from "./client.js";
import { MOST_TIMER_MS } from "./deadline.js";
import { urlOf } from "./endpoint.js";
import { ATTEMPT_MS, PING_ANSWER_MS, PING_EVERY_MS, RECEIVE_BYTES } from "./rules.js";

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

/**
 * More than any connection has: what is not sent of a request that is refused before, Node.js counts for ever, and from
 * 10 MB on, by default, it refuses all further requests.
 */
const MOST_SESSION_MB = 1_000_000;

/** A connection that stays closed: the library's own reconnects for the next request. */
class Closable extends Http2SessionManager {
  #isClosed = false;

  override async request(
    ...[method, path, headers, options]: Parameters<Http2SessionManager["request"]>
  ): ReturnType<Http2SessionManager["request"]> {
    if (this.#isClosed) throw new ConnectError("the client is closed", Code.Unavailable);
    // Node.js would name an IPv6 address without its brackets, which is none: services refuse it.
    const authority = new URL(this.authority).host;
    return super.request(method, path, { ...headers, ":authority": authority }, options);
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
 * Connects as `http2.connect` does, but only for so long: without that, all attempts would wait for a handshake that
 * nobody answers, as Node.js waits for it without end.
 */
function connectWithin(ms: number, { protocol, hostname, port }: URL, tls: SecureContextOptions): Socket {
  const isSecure = protocol === "https:";
  const host = hostname.replace(/^\[|\]$/g, "");
  const to = { host, port: Number(port) || (isSecure ? 443 : 80) };
  const servername = isIP(host) === 0 ? { servername: host } : {};
  const socket = isSecure ? connectSecurely({ ...tls, ...to, ...servername, ALPNProtocols: ["h2"] }) : connect(to);
  const late = setTimeout(
    () => socket.destroy(new ConnectError("the connection could not be made in time", Code.Unavailable)),
    Math.min(ms, MOST_TIMER_MS),
  );
  const forget = (): void => clearTimeout(late);
  return socket.once(isSecure ? "secureConnect" : "connect", forget).once("close", forget);
}

/**
 * Creates a client over gRPC.
 *
 * @throws TypeError both `tls` and `plaintext`, an endpoint that is none, an invalid token, a window or a limit below
 * 1, an incomplete client certificate, or certificates or a key that cannot be used.
 */
export function createClient(options: ClientOptions & { readonly tls?: Tls }): Client {
  const { tls, plaintext = false, interceptors = [] } = options;
  if (plaintext && tls !== undefined) throw new TypeError("tls and plaintext exclude each other");
  if ((tls?.certificateChain === undefined) !== (tls?.privateKey === undefined)) {
    throw new TypeError("a client certificate needs both certificateChain and privateKey");
  }
  const baseUrl = urlOf(options);
  const secure = checked(tls ?? {});
  const connectMs = options.retries?.attemptMs ?? ATTEMPT_MS;
  const sessionManager = new Closable(
    baseUrl,
    { pingIntervalMs: PING_EVERY_MS, pingTimeoutMs: PING_ANSWER_MS },
    {
      createConnection: (authority) => connectWithin(connectMs, authority, secure),
      maxSessionMemory: MOST_SESSION_MB,
    },
  );
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager,
    interceptors: [...interceptors],
    readMaxBytes: RECEIVE_BYTES,
  });
  return new Client({ transport, canStream: true, close: () => sessionManager.close() }, options);
}
