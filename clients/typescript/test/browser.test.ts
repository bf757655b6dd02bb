/** The same client in a page of another origin, in headless Chromium over gRPC-Web, passes the cases without faults or slow users. */
import { after, before, test } from "node:test";
import { Page, program } from "./browser.js";
import { cases } from "./cases.js";
import { checkStep, optionsOf } from "./checking.js";
import { skip, told } from "./surroundings.js";

const chromium = program();
let page: Page;

before(() => {
  if (skip === false && chromium !== undefined) page = new Page(told("PAGE_ORIGIN"), chromium);
});

after(() => page?.close());

for (const one of cases("../conformance")) {
  if (one.faults !== undefined) continue; // The proxy knows no gRPC-Web.
  if (one.steps.length === 0) continue; // It calls nothing.
  const users = one.steps.flatMap((step) => step.users ?? []);
  if (users.some((user) => user.after_results !== undefined)) continue; // The page is told all users at once.
  test(`${one.file}: ${one.name}`, { skip: skip || (chromium === undefined && "there is no Chromium") }, async () => {
    const client = page.client(optionsOf(one));
    for (const step of one.steps) await checkStep(client, step);
  });
}
