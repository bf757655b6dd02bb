/** A name or an IPv4 address, or one of IPv6 in brackets, and a port, which may be missing. */
const FORM = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\])(?::([1-9][0-9]{0,4}))?$/;
const MOST_PORT = 65535;

/**
 * The URL of an endpoint, `host:port`.
 *
 * @throws TypeError it is none.
 */
export function urlOf({ endpoint, plaintext = false }: { endpoint: string; plaintext?: boolean }): string {
  const form = FORM.exec(endpoint ?? ""); // Callers without types may leave it out.
  if (form === null || Number(form[1] ?? 0) > MOST_PORT) {
    throw new TypeError(
      `endpoint is ${JSON.stringify(endpoint)}: it has to be host:port and nothing else, with a port from 1 to ` +
        `${MOST_PORT} and brackets around an IPv6 address; without TLS, plaintext is true`,
    );
  }
  return `${plaintext ? "http" : "https"}://${endpoint}`;
}
