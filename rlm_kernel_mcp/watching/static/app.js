// The page: which of the two views, the stream that feeds it, links and keys. Is: what begins. Is not: a view (`views/`).
import { $, calmly, fill, make } from "./ground/dom.js";
import { inline, plainly } from "./ground/foreign.js";
import { Server } from "./ground/server.js";
import { Stream } from "./run/stream.js";
import { Keys } from "./views/keys.js";
import { SessionView } from "./views/session.js";
import { SessionsView } from "./views/sessions.js";

const LINKS = {
  live: "live",
  lost: "connection lost, trying again",
  refused: "not let in, trying again",
  paused: "paused while nobody looks",
  ended: "ended",
  saved: "saved page",
};
const ROUTE = /^#\/s\/([^/?]+)/;

const exported = $("#export");
const server = exported ? null : new Server();
const main = $("#main");
let view = null;
let stream = null;
const keys = new Keys(() => (view instanceof SessionView ? view : null));

const say = (words) => ($("#say").textContent = words);

function link(state, isLive = true) {
  const place = $("#link");
  place.className = `link is-${state}`;
  place.textContent = state === "live" && !isLive ? "following the record" : (LINKS[state] ?? "");
}

function crumb(id) {
  fill($("#crumb"), id ? [make("span.slash", { "aria-hidden": "true" }, "/"), make("code", null, plainly(id))] : null);
}

function showSessions() {
  document.title = "Sessions · rlm watch";
  crumb(null);
  const shown = new SessionsView({ server });
  view = shown;
  fill(main, shown.element);
  shown.load().catch((error) => fill(main, make("p.empty", null, `The sessions could not be read: ${error.message}.`)));
  stream = new Stream(() => server.address("api/sessions/events"), {
    onMessage: (message) => shown.hear(message),
    onState: (state) => link(state),
  });
}

function showSession(id) {
  document.title = `${plainly(id)} · rlm watch`;
  crumb(id);
  const shown = new SessionView(id, { server, say, showKeys: () => keys.show() });
  view = shown;
  fill(main, shown.element);
  return shown;
}

function hear(shown, message) {
  shown.hear(message);
  if (message.type === "head") document.title = `${plainly(message.title || message.id)} · rlm watch`;
  if (message.type === "state" && stream?.state === "live") link("live", message.live);
  if (message.type === "end") stream?.close("ended");
}

function follow(id) {
  const shown = showSession(id);
  stream = new Stream((after) => server.address(`api/s/${encodeURIComponent(id)}/events`, { after }), {
    onMessage: (message) => hear(shown, message),
    onState: (state) => {
      link(state, shown.record.state.live);
      if (state === "refused") explain(shown, id);
    },
  });
}

/** Why there is nothing to be seen: a stream that is refused does not say. */
async function explain(shown, id) {
  try {
    await server.get(`api/s/${encodeURIComponent(id)}/names`);
  } catch (error) {
    if (view === shown && !shown.record.events.length) fill(main, make("p.empty", null, inline(error.message)));
  }
}

/** An id as it stands in the address, where a person may have typed anything. */
function plain(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

function route(isFirst) {
  if (location.hash && !location.hash.startsWith("#/")) return;
  stream?.close();
  view?.close();
  stream = null;
  link("");
  const id = location.hash.match(ROUTE)?.[1];
  if (id) follow(plain(id));
  else showSessions();
  scrollTo({ top: 0, behavior: "instant" });
  if (!isFirst) main.focus({ preventScroll: true });
}

/** A link inside the page moves the focus, and leaves the address, which names the view, alone. */
function go(click) {
  const anchor = click.target.closest?.("a[href^='#']:not([href^='#/'])");
  if (!anchor || click.defaultPrevented) return;
  click.preventDefault();
  const place = document.getElementById(anchor.getAttribute("href").slice(1));
  if (!place) return;
  for (let around = place; around; around = around.parentElement) if (around.tagName === "DETAILS") around.open = true;
  calmly(place);
  (place.tagName === "DETAILS" ? place.querySelector("summary") : place).focus({ preventScroll: true });
}

addEventListener("click", go);
addEventListener("beforeprint", () => view?.whole?.(true));
addEventListener("afterprint", () => view?.whole?.(false));

if (exported) {
  $(".home").removeAttribute("href"); // there is nowhere to go
  const messages = JSON.parse(exported.textContent);
  const shown = showSession(messages.find((message) => message.type === "head")?.id ?? "");
  for (const message of messages) hear(shown, message);
  link("saved");
} else {
  addEventListener("hashchange", () => route(false));
  route(true);
}
