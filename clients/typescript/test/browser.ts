/** A headless Chromium with a page that calls the service as it is asked to. */
import { type JsonValue, create, fromJson, toJson } from "@bufbuild/protobuf";
import type { Code } from "@connectrpc/connect";
import * as instantaudience from "instantaudience";
import { type AudienceError, type CallOptions, type ClientOptions, type StreamResult } from "instantaudience";
import { ApplySegmentsResultSchema, RtSegmentSchema, UserMembershipsSchema } from "instantaudience/v1/audience";
import { type ChildProcess, spawn } from "node:child_process";
import assert from "node:assert/strict";
import { accessSync, mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, extname, join, normalize } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { Calls } from "./checking.js";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"];
const QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** How long a browser may take to load the page. On a busy machine, one has never done so. */
const LOADED_MS = 30_000;
/** How long it may take to end by itself. */
const ENDED_MS = 5_000;
const PACKAGES = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-web"];
const TYPES: Readonly<Record<string, string>> = { ".js": "text/javascript", ".html": "text/html" };

/** A call that the page is asked for. */
export interface Asked {
  readonly options: ClientOptions;
  readonly call: "apply" | "stream" | "memberships";
  readonly users: JsonValue[];
  readonly userIds: string[];
  readonly domain: string;
  readonly validateOnly: boolean;
  readonly deadlineMs: number;
}

export interface Thrown {
  readonly name: string;
  readonly message: string;
  readonly code?: Code;
  readonly reason?: string;
  readonly requestId?: string;
}

export interface Result {
  readonly firstUser: number;
  readonly users: number;
  readonly continues: boolean;
  readonly result: JsonValue | undefined;
  readonly error: Thrown | undefined;
}

/** What it came to. */
export interface Answer {
  readonly users?: JsonValue[];
  readonly results?: Result[];
  readonly thrown?: Thrown;
}

/** The browser's program; undefined where there is none. */
export function program(): string | undefined {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  return NAMES.flatMap((name) => directories.map((directory) => join(directory, name))).find((path) => {
    try {
      accessSync(path);
      return true;
    } catch {
      return false;
    }
  });
}

/** A page of an origin in a browser, which makes one call at a time. */
export class Page {
  readonly #server: Server;
  #browser: ChildProcess;
  readonly #directory = mkdtempSync(join(tmpdir(), "instantaudience-browser-"));
  /** The page, which waits for what it is asked. */
  #waiting: Promise<ServerResponse>;
  #waits: (response: ServerResponse) => void = () => undefined;
  #answered: (answer: Answer) => void = () => undefined;

  constructor(
    private readonly origin: string,
    private readonly program: string,
  ) {
    this.#waiting = this.#nextWait();
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.listen(Number(new URL(origin).port), new URL(origin).hostname);
    this.#browser = this.#started();
  }

  async close(): Promise<void> {
    await this.#stop();
    this.#server.closeAllConnections();
    this.#server.close();
    await rm(this.#directory, { recursive: true, maxRetries: 10, retryDelay: 100 });
  }

  #started(): ChildProcess {
    const flags = [...FLAGS, ...QUIET, `--user-data-dir=${mkdtempSync(join(this.#directory, "profile-"))}`];
    return spawn(this.program, [...flags, this.origin], { stdio: "ignore", detached: true });
  }

  async #stop(): Promise<void> {
    const runs = this.#browser.exitCode === null && this.#browser.signalCode === null;
    const ended = runs && new Promise((resolve) => this.#browser.once("exit", resolve));
    this.#browser.kill();
    await Promise.race([ended, sleep(ENDED_MS, undefined, { ref: false })]);
    try {
      // What it has started and left, all of one group.
      process.kill(-(this.#browser.pid ?? assert.fail("the browser never began")), "SIGKILL");
    } catch (failure) {
      assert.equal((failure as NodeJS.ErrnoException).code, "ESRCH"); // There was nothing left.
    }
    await ended;
  }

  /** A client with these options, whose calls the page makes. */
  client(options: ClientOptions): Calls {
    const ask = (asked: Partial<Asked> & Pick<Asked, "call">, { deadlineMs = 30_000 }: CallOptions): Promise<Answer> =>
      this.#ask({ options, users: [], userIds: [], domain: "", validateOnly: false, deadlineMs, ...asked });
    const json = (users: Iterable<instantaudience.User>): JsonValue[] =>
      [...users].map((user) => toJson(RtSegmentSchema, create(RtSegmentSchema, user)));
    return {
      async apply(users, { validateOnly = false, ...bounds } = {}) {
        const { results = [] } = await ask({ call: "apply", users: json(users), validateOnly }, bounds);
        const [result] = results.map(read);
        return result?.result ?? create(ApplySegmentsResultSchema);
      },
      async *stream(users, bounds = {}) {
        const { results = [] } = await ask({ call: "stream", users: json(users as instantaudience.User[]) }, bounds);
        yield* results.map(read);
      },
      async memberships(userIds, { domain = "", ...bounds } = {}) {
        const { users = [] } = await ask({ call: "memberships", userIds: [...userIds], domain }, bounds);
        return users.map((user) => fromJson(UserMembershipsSchema, user));
      },
    };
  }

  async #ask(asked: Asked): Promise<Answer> {
    const response = await this.#loaded();
    this.#waiting = this.#nextWait();
    const answered = new Promise<Answer>((resolve) => {
      this.#answered = resolve;
    });
    response.end(JSON.stringify(asked));
    const answer = await answered;
    if (answer.thrown !== undefined) throw errorOf(answer.thrown);
    return answer;
  }

  /** The page, which waits; a browser that does not load it is replaced once. */
  async #loaded(): Promise<ServerResponse> {
    const response = await Promise.race([this.#waiting, sleep(LOADED_MS, undefined, { ref: false })]);
    if (response !== undefined) return response;
    await this.#stop();
    this.#browser = this.#started();
    return await this.#waiting;
  }

  #nextWait(): Promise<ServerResponse> {
    return new Promise((resolve) => {
      this.#waits = resolve;
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = normalize(request.url ?? "/");
    if (path === "/asked") {
      this.#waits(response);
    } else if (path === "/answer") {
      this.#answered(JSON.parse(await text(request)) as Answer);
      response.end();
    } else if (path === "/") {
      response.setHeader("content-type", "text/html").end(html());
    } else {
      const type = TYPES[extname(path)];
      if (type === undefined) response.writeHead(404).end();
      else response.setHeader("content-type", type).end(readFileSync(join(".", path)));
    }
  }
}

/** The page, which finds packages as bundlers do: by their `exports`. */
function html(): string {
  const imports: Record<string, string> = {
    instantaudience: "/dist/esm/browser.js",
    "instantaudience/v1/audience": "/dist/esm/gen/instantaudience/v1/audience_pb.js",
  };
  for (const name of PACKAGES) {
    const { exports } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8")) as {
      exports: Record<string, { import: string }>;
    };
    for (const [path, { import: file }] of Object.entries(exports)) {
      imports[join(name, path)] = `/${join("node_modules", name, file)}`;
    }
  }
  const map = `<script type="importmap">${JSON.stringify({ imports })}</script>`;
  return `<!doctype html>${map}<script type="module" src="/build/test/page.js"></script>`;
}

function read({ firstUser, users, continues, result, error }: Result): StreamResult {
  return {
    firstUser,
    users,
    continues,
    result: result === undefined ? undefined : fromJson(ApplySegmentsResultSchema, result),
    error: error === undefined ? undefined : errorOf(error),
  };
}

/** What was thrown in the page, here. */
function errorOf({ name, message, ...failure }: Thrown): AudienceError {
  const kind = Object.entries(instantaudience).find(([exported]) => exported === name)?.[1];
  if (typeof kind !== "function") throw new Error(message);
  return new (kind as new (message: string, failure: object) => AudienceError)(message, failure);
}
