/** The package as its users get it: what is in it, how it is loaded, and that its README says what is so. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { skip, told } from "./surroundings.js";

const EXAMPLE = /```js\n(.*?)```\n\n```\n(.*?)```/gs;
const SIGN_IN = '{ username: "demo", password: "Demo-Passw0rd!" }';

test("it is the same as an ES module and as CommonJS", async () => {
  const required = createRequire(import.meta.url)("instantaudience") as object;
  assert.deepEqual(Object.keys(required).sort(), Object.keys(await import("instantaudience")).sort());
});

test("the package has what is needed, and nothing else", () => {
  const printed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { encoding: "utf8" });
  const [{ files }] = JSON.parse(printed) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  const other = paths.filter((path) => !/^dist\/(esm|cjs)\//.test(path));
  assert.deepEqual(other.sort(), ["LICENSE", "README.md", "package.json"]);
  const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as { exports: Record<string, object> };
  for (const path of Object.values(exports["."] ?? {}) as string[]) assert.ok(paths.includes(path.slice(2)), path);
});

test("what browsers load has nothing of Node in it", () => {
  const loaded = new Set<string>();
  const outside = new Set<string>();
  const load = (path: string): void => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const [, name = ""] of readFileSync(path, "utf8").matchAll(/^(?:import|export) .*from "(.*)";$/gm)) {
      if (name.startsWith(".")) load(join(path, "..", name));
      else outside.add(name.split("/").slice(0, 2).join("/"));
    }
  };
  load("dist/esm/browser.js");
  assert.deepEqual([...outside].sort(), ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"]);
});

const examples = [...readFileSync("README.md", "utf8").matchAll(EXAMPLE)];

for (const [index, [, code = "", output]] of examples.entries()) {
  test(`example ${index + 1} of the README prints what it says`, { skip }, () => {
    // In the package's directory, which knows it by its name.
    const directory = mkdtempSync(join("build", "example-"));
    try {
      const file = join(directory, "example.mjs");
      const token = `{ token: ${JSON.stringify(told("TOKEN"))} }`;
      // An account may sign in by its password ten times in 5 minutes: only the first example does.
      const credentials = index === 0 ? SIGN_IN : token;
      assert.ok(code.includes(SIGN_IN) && code.includes("127.0.0.1:50051"));
      writeFileSync(file, code.replace(SIGN_IN, credentials).replace("127.0.0.1:50051", told("GRPC")));
      assert.equal(execFileSync(process.execPath, [file], { encoding: "utf8", timeout: 60_000 }), output);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

test("the README has its examples", () => {
  assert.equal(examples.length, 3);
});
