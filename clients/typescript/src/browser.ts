import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Client, type ClientOptions } from "./client.js";
import { urlOf } from "./endpoint.js";

export * from "./index.js";

/**
 * Creates a client over gRPC-Web, for the port that serves REST. Pages of other origins may call if the operator allows
 * it (CORS).
 *
 * @throws TypeError an endpoint that is none, an invalid token, or a window or a limit below 1.
 */
export function createClient(options: ClientOptions): Client {
  const { interceptors = [] } = options;
  const transport = createGrpcWebTransport({ baseUrl: urlOf(options), interceptors: [...interceptors] });
  return new Client({ transport, canStream: false }, options);
}
