/**
 * The URL of an endpoint, `host:port`.
 *
 * @throws TypeError it has a scheme.
 */
export function urlOf({ endpoint, plaintext = false }: { endpoint: string; plaintext?: boolean }): string {
  if (endpoint.includes("://")) {
    throw new TypeError(`${endpoint} has a scheme: name host:port, with plaintext where it is without TLS`);
  }
  return `${plaintext ? "http" : "https"}://${endpoint}`;
}
