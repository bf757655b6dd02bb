/** The live service that `make test-clients` starts; clients/conformance/README.md describes its variables. */

/** A variable's value. Without `INSTANT_AUDIENCE_GRPC`, there is no service: the test is skipped. */
export function told(name: string): string {
  const value = process.env[`INSTANT_AUDIENCE_${name}`];
  if (value === undefined) throw new Error(`INSTANT_AUDIENCE_${name} is not set`);
  return value;
}

/** Whether there is a live service; where not, why a test is skipped. */
export const skip =
  process.env["INSTANT_AUDIENCE_GRPC"] === undefined ? "there is no live service: run `make test-clients`" : false;

/** Gives the proxy a plan, where there is one; what it has seen of each method since the plan before. */
export async function control(plan?: readonly object[]): Promise<{ seen: Record<string, number> }> {
  const request = plan === undefined ? {} : { method: "POST", body: JSON.stringify(plan) };
  const answer = await fetch(told("FAULTS_CONTROL"), request);
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as { seen: Record<string, number> };
}
