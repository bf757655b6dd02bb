/** The package is installed by npm where it was not made, with the lowest and the highest versions that it allows. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { skip, told } from "./surroundings.js";

const { dependencies } = JSON.parse(readFileSync("package.json", "utf8")) as { dependencies: Record<string, string> };
const LOWEST = Object.fromEntries(
  Object.entries(dependencies).map(([name, range]) => [name, range.replace(/^[~^]/, "")]),
);
const TYPED = `
const client: Client = createClient({ endpoint: process.argv[2]!, credentials: { token: process.argv[3]! }, plaintext: true });
const error: AudienceError | undefined = undefined;
void client.apply([{ userId: "1", segBlock: [{ segId: 1, expiration: REMOVE }] }]).catch(() => error);
`;
const NAMES = '{ type AudienceError, type Client, REMOVE, createClient } from "instantaudience"';
const RUN = `
const client = createClient({ endpoint: process.argv[2], credentials: { token: process.argv[3] }, plaintext: true });
client.memberships(["7900000000000000001"]).then((users) => {
  console.log(users[0].userId, CatalogService.typeName);
  client.close();
});
`;
const COMPILE = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--types", "node", "--typeRoots"];

let packed = "";

before(() => {
  packed = mkdtempSync(join(tmpdir(), "instantaudience-package-"));
  execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", packed]);
});

after(() => rmSync(packed, { recursive: true }));

for (const [which, pinned] of Object.entries({ lowest: LOWEST, highest: {} })) {
  test(`it works with the ${which} versions`, { skip }, () => {
    const directory = join(packed, which);
    const file = join(packed, "instantaudience-0.1.0.tgz");
    cpSync(".npmrc", join(directory, ".npmrc"));
    const wanted = { private: true, dependencies: { instantaudience: `file:${file}`, ...pinned } };
    writeFileSync(join(directory, "package.json"), JSON.stringify(wanted));
    const here = { cwd: directory, encoding: "utf8", timeout: 90_000 } as const;
    execFileSync("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund"], here);
    const arguments_ = [told("GRPC"), told("TOKEN")];
    for (const [name, code] of Object.entries({
      "run.mjs": `import { createClient } from "instantaudience";
        import { CatalogService } from "instantaudience/v1/catalog";${RUN}`,
      "run.cjs": `const { createClient } = require("instantaudience");
        const { CatalogService } = require("instantaudience/v1/catalog");${RUN}`,
    })) {
      writeFileSync(join(directory, name), code);
      const printed = execFileSync(process.execPath, [name, ...arguments_], here);
      assert.equal(printed, "7900000000000000001 instantaudience.v1.CatalogService\n");
    }
    for (const name of ["typed.mts", "typed.cts"]) writeFileSync(join(directory, name), `import ${NAMES};${TYPED}`);
    const compiler = resolve("node_modules/.bin/tsc");
    execFileSync(compiler, [...COMPILE, resolve("node_modules/@types"), "typed.mts", "typed.cts"], here);
  });
}
