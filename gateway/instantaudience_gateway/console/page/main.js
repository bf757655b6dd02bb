// The page: who has signed in, which member is looked at, and which view is shown.

import { addressOf, changeAddress, forgetParameters, readAddress, whenAddressChanges } from "./address.js";
import { forgetToken, get, isPassing, isSignedIn, signIn, signOut, whenSessionEnds } from "./api.js";
import { announce, byId, element, said, showProblem, whileBusy } from "./dom.js";
import * as files from "./jobs.js";
import { newestOf } from "./loading.js";
import * as membersView from "./members.js";
import * as overview from "./overview.js";
import * as samples from "./samples.js";
import * as segments from "./segments.js";
import * as users from "./users.js";
import { apart, explain, explainSignIn, named } from "./words.js";

// Each has show(member, the caller's member, the address's parameters, all members that the caller may look at), hide(),
// and clear(), which forgets what was typed and shown. Those that changes are made in have typed(), which answers what is
// typed, and resume(that), which types it again.
const VIEWS = { overview, samples, segments, users, files, members: membersView };
const FOR_ADMINS = ["members"];
const clearViews = () => Object.values(VIEWS).forEach((view) => view.clear());
const FIRST_VIEW = "overview";
const MEMBERS_A_PAGE = 1000;
const TITLE = document.title;

const choice = byId("member");
let caller = null;
let members = []; // those that the caller may look at
let areAllListed = false; // whether these are all of them
let member = null;
let shown = null;
let lastParameters = {}; // of each view: where its link leads
let kept = null; // what was typed where, by whom, when a session had ended before it was sent

// --- views

function showView(name, parameters, moveFocus) {
  if (shown) VIEWS[shown].hide();
  shown = name;
  for (const view of [...Object.keys(VIEWS), "sign-in"]) byId(`view-${view}`).hidden = view !== (name ?? "sign-in");
  for (const link of byId("nav").children) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = byId(`${name ?? "sign-in"}-title`);
  document.title = `${heading.textContent} · ${TITLE}`;
  if (moveFocus) heading.focus();
  if (name) VIEWS[name].show(member, caller.member, parameters, members);
}

const mayShow = (view) => Object.hasOwn(VIEWS, view) && (caller.isAdmin || !FOR_ADMINS.includes(view));

function showAddress() {
  if (!caller) return;
  const { view, parameters } = readAddress();
  const name = mayShow(view) ? view : FIRST_VIEW;
  const { member: asked, ...others } = parameters;
  chooseMember(memberOf(asked));
  if (areAllListed) showProblem(byId("problem"), isListed(asked) ? "" : unlisted(asked));
  lastParameters[name] = others;
  for (const link of byId("nav").children) {
    const { view: leadsTo } = link.dataset;
    link.href = addressOf(leadsTo, { ...lastParameters[leadsTo], member: memberParameter(member) });
  }
  showView(name, others, name !== shown);
  if (kept?.view !== name || kept.memberId !== member.id) return;
  if (kept.typed) VIEWS[name].resume(kept.typed);
  kept = null;
}

whenAddressChanges(showAddress);

byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view
  byId("main").focus();
});

// --- the session

const entering = newestOf((error) => {
  if (isPassing(error)) showProblem(byId("problem"), explain(error));
  else leave(explain(error));
});

async function enter(signal) {
  const answer = await get("console/overview", {}, signal);
  const own = { id: answer.member_id, name: answer.member_name };
  caller = { username: answer.username, isAdmin: answer.is_admin, member: own };
  member = own;
  if (kept?.username !== caller.username) kept = null;
  byId("account").textContent = `${apart(caller.username)} · ${caller.isAdmin ? "administrator" : apart(own.name)}`;
  byId("member-choice").hidden = !caller.isAdmin;
  for (const link of byId("nav").children) link.hidden = !mayShow(link.dataset.view);
  byId("nav").hidden = false;
  showProblem(byId("problem"), "");
  members = [own];
  areAllListed = !caller.isAdmin;
  if (caller.isAdmin) await listMembers();
  if (isSignedIn() && !shown) showAddress(); // else the user has gone on meanwhile
}

function leave(text) {
  if (shown) VIEWS[shown].hide();
  entering.stop();
  listing.stop();
  forgetToken();
  caller = member = shown = null;
  members = [];
  lastParameters = {};
  clearViews();
  showProblem(byId("problem"), "");
  for (const id of ["nav", "who", "member-choice"]) byId(id).hidden = true;
  byId("account").textContent = "";
  byId("sign-in").reset();
  showView(null, {}, false);
  showProblem(byId("sign-in-problem"), text);
  byId("username").focus();
}

// Whoever has signed in again need not type again what was not sent; nobody else sees it.
whenSessionEnds((error) => {
  if (shown) kept = { username: caller.username, memberId: member.id, view: shown, typed: VIEWS[shown].typed?.() };
  leave(explain(error));
});

byId("sign-out").addEventListener("click", () => {
  const ended = signOut();
  kept = null;
  leave("");
  forgetParameters();
  ended.then(
    () => announce("You have signed out."),
    () => announce("You have signed out here. The service could not be told: your session ends there within two hours."),
  );
});

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const { username, password } = said(form);
  await whileBusy(form.querySelector("button"), async () => {
    showProblem(byId("sign-in-problem"), "");
    try {
      await signIn(username, password);
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

const memberOption = ({ id, name }) => element("option", { value: id }, named({ name, id }));
const memberParameter = ({ id }) => (id === caller.member.id ? null : id);

const listing = newestOf((error) => showProblem(byId("problem"), explain(error)));

// Without the list, an admin still sees the own member; it may come later.
function listMembers() {
  choice.replaceChildren(...members.map(memberOption));
  return listing.load(async (signal) => {
    const listed = [];
    let token = "";
    do {
      const page = await get("console/members", { page_size: MEMBERS_A_PAGE, page_token: token }, signal);
      listed.push(...page.members);
      token = page.next_page_token;
    } while (token);
    members = listed;
    areAllListed = true;
    choice.replaceChildren(...members.map(memberOption));
    choice.value = String(member.id);
    showProblem(byId("problem"), "");
    const { member: asked } = readAddress().parameters;
    if (shown === "members" || (shown && (memberOf(asked).id !== member.id || !isListed(asked)))) showAddress();
  });
}

// Whom the address names may have been removed, or be another one's to look at.
const isListed = (id) => !id || members.some((each) => String(each.id) === id);
const unlisted = (id) => `There is no member “${apart(id)}” that you may look at: this is ${named(caller.member)}.`;

const memberOf = (id) => members.find((each) => String(each.id) === id) ?? caller.member;

function chooseMember(chosen) {
  choice.value = String(chosen.id);
  if (chosen.id === member.id) return;
  member = { id: chosen.id, name: chosen.name };
  lastParameters = {};
  clearViews();
  announce(`Shown: ${member.name}.`);
}

// What was looked for and how far may be nothing of the other member; the time span and the order stay.
choice.addEventListener("change", () => {
  const chosen = memberOf(choice.value);
  changeAddress(shown, { member: memberParameter(chosen), search: null, start: null, hour: null });
});

// --- the beginning

// While the service cannot say who has signed in, the session stands, and it is asked again.
async function start() {
  byId("loading").hidden = true;
  if (!isSignedIn()) return leave("");
  byId("view-sign-in").hidden = true;
  byId("who").hidden = false; // to sign out
  await entering.load(enter);
}

start();
