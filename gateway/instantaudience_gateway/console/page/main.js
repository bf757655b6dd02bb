// The page: who has signed in, which member is looked at, and which view is shown.

import { forgetToken, get, isAbort, isSignedIn, signIn, signOut, whenSessionEnds } from "./api.js";
import { announce, byId, element, showProblem, whileBusy } from "./dom.js";
import * as overview from "./overview.js";
import * as samples from "./samples.js";
import * as segments from "./segments.js";
import * as users from "./users.js";
import { explain, explainSignIn } from "./words.js";

// Each has show(member, the caller's member), hide(), and clear(), which forgets what was typed and shown.
const VIEWS = { overview, samples, segments, users };
const clearViews = () => Object.values(VIEWS).forEach((view) => view.clear());
const FIRST_VIEW = "overview";
const MEMBERS_A_PAGE = 1000;
const TITLE = document.title;

const choice = byId("member");
let caller = null;
let member = null;
let shown = null;

// --- views

function showView(name, moveFocus) {
  if (shown) VIEWS[shown].hide();
  shown = name;
  for (const view of [...Object.keys(VIEWS), "sign-in"]) byId(`view-${view}`).hidden = view !== (name ?? "sign-in");
  for (const link of byId("nav").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = byId(`${name ?? "sign-in"}-title`);
  document.title = `${heading.textContent} · ${TITLE}`;
  if (moveFocus) heading.focus();
  if (name) VIEWS[name].show(member, caller.member);
}

function viewOfAddress() {
  const name = location.hash.slice(1);
  return Object.hasOwn(VIEWS, name) ? name : FIRST_VIEW;
}

addEventListener("hashchange", () => caller && showView(viewOfAddress(), true));

byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  byId("main").focus();
});

// --- the session

async function enter() {
  const answer = await get("console/overview");
  const own = { id: answer.member_id, name: answer.member_name };
  caller = { username: answer.username, isAdmin: answer.is_admin, member: own };
  member = own;
  byId("account").textContent = `${caller.username} · ${caller.isAdmin ? "administrator" : own.name}`;
  byId("member-choice").hidden = !caller.isAdmin;
  choice.replaceChildren(memberOption(own));
  for (const id of ["nav", "who"]) byId(id).hidden = false;
  showView(viewOfAddress(), true);
  if (caller.isAdmin) listMembers(own).catch((error) => showProblem(byId("problem"), explain(error)));
}

function leave(text) {
  if (shown) VIEWS[shown].hide();
  forgetToken();
  caller = member = shown = null;
  clearViews();
  showProblem(byId("problem"), "");
  for (const id of ["nav", "who"]) byId(id).hidden = true;
  byId("sign-in").reset();
  showView(null, false);
  showProblem(byId("sign-in-problem"), text);
  byId("username").focus();
}

whenSessionEnds((error) => leave(explain(error)));

byId("sign-out").addEventListener("click", () => {
  const ended = signOut();
  leave("");
  ended.then(
    () => announce("You have signed out."),
    () => announce("You have signed out here. The service could not be told: your session ends there within two hours."),
  );
});

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const fields = new FormData(form);
  await whileBusy(form.querySelector("button"), async () => {
    showProblem(byId("sign-in-problem"), "");
    try {
      await signIn(fields.get("username"), fields.get("password"));
      form.reset();
    } catch (error) {
      showProblem(byId("sign-in-problem"), explainSignIn(error));
      byId("password").select();
      return;
    }
    await start();
  });
});

// --- the member that an admin looks at

const memberOption = ({ id, name }) => element("option", { value: id }, `${name} (${id})`);

async function listMembers(own) {
  const members = [];
  let token = "";
  do {
    const page = await get("console/members", { page_size: MEMBERS_A_PAGE, page_token: token });
    members.push(...page.members);
    token = page.next_page_token;
  } while (token);
  choice.replaceChildren(...members.map(memberOption));
  choice.value = String(own.id);
}

choice.addEventListener("change", () => {
  const option = choice.selectedOptions[0];
  member = { id: Number(option.value), name: option.textContent };
  clearViews();
  showView(shown, false);
  announce(`Shown: ${member.name}.`);
});

// --- the beginning

async function start() {
  if (!isSignedIn()) return leave("");
  try {
    await enter();
  } catch (error) {
    if (!isAbort(error) && isSignedIn()) leave(explain(error));
  }
}

start();
