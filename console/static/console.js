// The page works without this. With it, the page follows what happens: when the server says that something changed, the page
// fetches itself and takes over what differs, and keeps what a person has opened or typed.
"use strict";
(() => {
  // Where this console's pages lie: "" or, with others on one address, /environments/NAME.
  const base = new URL(document.currentScript.src).pathname.replace(/\/static\/console\.js$/, "");
  const main = document.getElementById("main");
  const said = document.getElementById("said");
  const say = (text) => { said.textContent = text; };

  // What a person has opened stays open, and what they type is never taken away.
  const busy = () => main.contains(document.activeElement) && /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  const nameOf = (d) => d.id || d.closest("tr")?.querySelector("th a")?.getAttribute("href");
  const openDetails = () => new Map([...main.querySelectorAll("details")].map((d) => [nameOf(d), d.open]));

  let fetching = false, again = false, posted = document.querySelector("[data-posted]") !== null;
  async function refresh() {
    if (fetching) { again = true; return; }
    if (busy() || posted) { later(); return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (busy()) { later(); return; } // somebody began to type while the answer was on its way
      const open = openDetails();
      const focus = document.activeElement?.id;
      const before = document.getElementById("state").textContent;
      main.replaceChildren(...page.getElementById("main").childNodes);
      document.getElementById("state").replaceWith(page.getElementById("state"));
      document.querySelector("footer time").replaceWith(page.querySelector("footer time"));
      for (const d of main.querySelectorAll("details")) if (open.has(nameOf(d))) d.open = open.get(nameOf(d));
      document.title = page.title;
      const icon = document.getElementById("icon"), newIcon = page.getElementById("icon");
      if (icon.getAttribute("href") !== newIcon.getAttribute("href")) icon.replaceWith(newIcon);
      if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
      main.classList.remove("fresh"); void main.offsetWidth; main.classList.add("fresh");
      const now = document.getElementById("state").textContent;
      if (now !== before) say("State: " + now);
      ready();
    } catch { /* the stream tells when the server is back */ } finally {
      fetching = false;
      if (again) { again = false; refresh(); }
    }
  }
  let timer = 0;
  const later = () => { clearTimeout(timer); timer = setTimeout(refresh, 2000); };

  // Hands on: what needs the admin token. It is kept in this tab, and sent to this server alone.
  const key = "rampart-admin-token" + base;
  let answered = ""; // what the last press came to
  const show = () => { const line = document.getElementById("answered"); if (line) line.textContent = answered; };
  function ready() {
    const admin = document.getElementById("admin");
    if (!admin) return;
    admin.hidden = false;
    show();
    const form = document.getElementById("token-form");
    const have = sessionStorage.getItem(key) !== null;
    for (const b of admin.querySelectorAll("[data-post]")) {
      b.disabled = !have;
      b.onclick = () => post(b.dataset.post, b.textContent);
    }
    form.onsubmit = (e) => {
      e.preventDefault();
      const value = document.getElementById("token").value.trim();
      if (value) sessionStorage.setItem(key, value); else sessionStorage.removeItem(key);
      document.getElementById("token").value = "";
      document.activeElement?.blur();
      ready();
      say(value ? "The token is used in this tab" : "The token is forgotten");
    };
  }
  async function post(path, what) {
    const answer = await fetch(path, { method: "POST", headers: { Authorization: "Bearer " + sessionStorage.getItem(key), "Content-Type": "application/json" }, body: "{}" });
    if (answer.status === 401) { sessionStorage.removeItem(key); ready(); }
    const body = await answer.json().catch(() => ({}));
    answered = answer.ok ? what + ": done" : what + ": " + (body.error ?? answer.statusText);
    say(answered);
    show();
    refresh();
  }

  ready();
  const live = document.getElementById("live");
  const events = new EventSource(base + "/events");
  let lost = false;
  events.addEventListener("hello", () => { live.hidden = false; if (lost) refresh(); lost = false; });
  events.addEventListener("changed", refresh);
  events.onerror = () => { live.hidden = true; lost = true; };
  // Back from the cache of the browser, a page may be old.
  addEventListener("pageshow", (e) => { if (e.persisted) refresh(); });
})();
