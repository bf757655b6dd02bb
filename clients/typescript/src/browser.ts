import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Client, type ClientOptions } from "./client.js";
import { urlOf } from "./endpoint.js";

export * from "./index.js";

/**
 * A client over gRPC-Web, to the port that serves REST; pages of other sites may call where the operator allows it.
 *
 * @throws TypeError an endpoint with a scheme, a token that is none, or a window below 1.
 */
export function createClient(options: ClientOptions): Client {
  const { interceptors = [] } = options;
  const transport = createGrpcWebTransport({ baseUrl: urlOf(options), interceptors: [...interceptors] });
  return new Client({ transport, canStream: false }, options);
}
