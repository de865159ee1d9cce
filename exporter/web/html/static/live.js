"use strict";
// Fetches the part of the page that changes, and puts in what is different. The page is whole
// without this.
(() => {
  const live = document.querySelector("#live[data-live]");
  if (!live) return;
  const asof = document.getElementById("asof");
  const trouble = document.getElementById("trouble");
  const button = document.getElementById("pause");
  const every = 5000;
  let etag = null, timer = 0, failures = 0, busy = false, paused = false, last = Date.now();

  const url = new URL(location.href);
  url.searchParams.set("live", "1");
  url.hash = "";

  // The same nodes stay where they are: focus, selection and what is being read aloud with them.
  // Those with an id are known by it, the others by their kind and order.
  const kind = (node) => node.nodeName + (node.id ? "#" + node.id : "");
  function update(old, fresh) {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes])
      if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes)
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    children(old, fresh);
  }
  function children(old, fresh) {
    const left = new Map();
    for (const node of old.childNodes)
      left.has(kind(node)) ? left.get(kind(node)).push(node) : left.set(kind(node), [node]);
    const pairs = [...fresh.childNodes].map((node) => [node, left.get(kind(node))?.shift()]);
    // What has gone goes first, so that as little as possible is moved.
    for (const nodes of left.values()) for (const node of nodes) node.remove();
    let at = old.firstChild;
    for (const [node, known] of pairs) {
      if (!known) old.insertBefore(document.importNode(node, true), at);
      else {
        if (known === at) at = at.nextSibling;
        else old.insertBefore(known, at);
        update(known, node);
      }
    }
  }

  const clock = (ms) => new Date(ms).toISOString().slice(11, 19);
  function say(text) {
    if (trouble.textContent !== text) trouble.textContent = text;
  }
  async function look() {
    if (busy || paused || document.hidden) return;
    busy = true;
    const abort = new AbortController();
    const deadline = setTimeout(() => abort.abort(), 15000);
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const answer = await fetch(url, { headers, signal: abort.signal, cache: "no-store" });
      if (answer.status === 200) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const focused = document.activeElement;
        children(live, fresh.body);
        // What is moved loses the focus.
        if (focused.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
        etag = answer.headers.get("ETag");
      } else if (answer.status === 404) {
        say("Nothing is known of this workflow any more.");
        failures++;
        return;
      } else if (answer.status !== 304) throw new Error(String(answer.status));
      last = Date.parse(answer.headers.get("Last-Modified")) || Date.now();
      const time = asof.querySelector("time");
      time.dateTime = new Date(last).toISOString();
      time.textContent = clock(last);
      failures = 0;
      say("");
    } catch {
      // Whatever it was: what is shown is old, and that must be seen.
      if (++failures > 1) say("▲ The exporter does not answer: this is how it was at " + clock(last) + " UTC.");
    } finally {
      clearTimeout(deadline);
      busy = false;
      next();
    }
  }
  function next() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    // Many pages must not ask in step.
    const wait = every * Math.min(6, 1 + failures) * (0.9 + Math.random() / 5);
    timer = setTimeout(look, wait);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    if (paused) clearTimeout(timer);
    else look();
  });
  next();
})();
