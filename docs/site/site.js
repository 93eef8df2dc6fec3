// Search, theme and copying. Everything else works without this file, and nothing is asked of another host.
(() => {
  const root = document.currentScript.dataset.root.replace(/index\.html$/, "");
  const html = document.documentElement;
  const form = document.querySelector(".search"), box = form.q, results = document.getElementById("results");
  const article = document.querySelector("article");
  form.hidden = false;

  const theme = document.querySelector(".theme");
  theme.hidden = false;
  theme.onclick = () => {
    const dark = html.dataset.theme ? html.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    html.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("rampart-theme", html.dataset.theme); } catch { /* not kept, then */ }
  };

  // A phone begins with the text; the contents are one touch away.
  if (matchMedia("(max-width: 52rem)").matches) document.querySelector("nav.pages > details").open = false;

  for (const table of document.querySelectorAll("article table")) {
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    table.replaceWith(scroll);
    scroll.append(table);
  }
  for (const h of document.querySelectorAll("article :is(h2, h3)[id]")) {
    const a = document.createElement("a");
    a.className = "anchor";
    a.href = "#" + h.id;
    a.textContent = "#";
    a.setAttribute("aria-label", "Link to this section");
    h.append(a);
  }
  for (const block of document.querySelectorAll(".code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.onclick = async () => {
      // Of a session only the commands are copied.
      const commands = [...block.querySelectorAll(".command")].map((c) => c.textContent).join("\n");
      try {
        await navigator.clipboard.writeText(commands || block.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed here";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    };
    block.append(button);
  }

  let index, loading;
  const load = () => loading ??= new Promise((done) => {
    const script = document.createElement("script");
    script.src = root + "assets/search.js";
    script.onload = () => { index = rampartIndex.map((e) => ({ ...e, low: (e.p + " " + (e.h || "") + " " + e.t).toLowerCase() })); done(); };
    document.head.append(script);
  });
  const count = (text, word) => text.split(word).length - 1;
  const find = (words) => index
    .filter((e) => words.every((w) => e.low.includes(w)))
    .map((e) => {
      const head = (e.h || "").toLowerCase(), page = e.p.toLowerCase();
      const score = words.reduce((s, w) => s + 12 * head.includes(w) + 8 * page.includes(w) + Math.min(count(e.low, w), 5), 0);
      return { e, score };
    })
    .sort((a, b) => b.score - a.score)
    .slice(0, 30);
  const excerpt = (text, words) => {
    const low = text.toLowerCase(), at = Math.max(0, Math.min(...words.map((w) => { const i = low.indexOf(w); return i < 0 ? Infinity : i; })) - 60);
    const p = document.createElement("p");
    let rest = (Number.isFinite(at) && at > 0 ? "…" : "") + text.slice(Number.isFinite(at) ? at : 0).slice(0, 220) + "…";
    for (;;) {
      const i = Math.min(...words.map((w) => { const n = rest.toLowerCase().indexOf(w); return n < 0 ? Infinity : n; }));
      if (!Number.isFinite(i)) break;
      const word = words.find((w) => rest.toLowerCase().startsWith(w, i));
      const mark = document.createElement("mark");
      mark.textContent = rest.slice(i, i + word.length);
      p.append(rest.slice(0, i), mark);
      rest = rest.slice(i + word.length);
    }
    p.append(rest);
    return p;
  };
  const show = async () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    results.hidden = words.length === 0;
    for (const part of [article, document.querySelector("nav.here"), document.querySelector(".turn")]) part?.toggleAttribute("hidden", words.length > 0);
    if (words.length === 0) return;
    await load();
    const hits = find(words);
    results.replaceChildren();
    const h1 = document.createElement("h1");
    h1.textContent = hits.length === 0 ? "Nothing found" : hits.length === 30 ? "The first 30 places" : hits.length === 1 ? "1 place" : hits.length + " places";
    const list = document.createElement("ol");
    for (const { e } of hits) {
      const li = document.createElement("li"), a = document.createElement("a");
      a.href = root + e.u;
      a.textContent = e.h ? e.p + " › " + e.h : e.p;
      a.onclick = () => { box.value = ""; show(); };
      li.append(a, excerpt(e.t, words));
      list.append(li);
    }
    results.append(h1, list);
  };
  box.oninput = show;
  box.onfocus = load;
  form.onsubmit = (event) => { event.preventDefault(); results.querySelector("a")?.click(); };
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); box.focus(); }
    if (event.key === "Escape" && document.activeElement === box) { box.value = ""; show(); }
  });
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { box.value = asked; show(); }
})();
