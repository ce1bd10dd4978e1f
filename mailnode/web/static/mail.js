// Lists of mail: times as one's own clock has them, choosing, keys, and new mail that appears by itself.
"use strict";
(() => {
  const format = (options) => new Intl.DateTimeFormat(undefined, options);
  const day = format({ month: "short", day: "numeric" });
  const year = format({ year: "numeric", month: "short", day: "numeric" });
  const clock = format({ hour: "2-digit", minute: "2-digit" });
  const minute = format({ dateStyle: "medium", timeStyle: "short" });
  const second = format({ dateStyle: "medium", timeStyle: "medium" });
  const whole = format({ dateStyle: "full", timeStyle: "long" });

  // As the clock of this browser has it; UTC, as it came, is in the title.
  function tellTime(place) {
    const at = new Date(place.getAttribute("datetime")), now = new Date();
    if (Number.isNaN(at.getTime())) return;
    const today = at.toDateString() === now.toDateString();
    const short = today ? clock : at.getFullYear() === now.getFullYear() ? day : year;
    place.textContent = ({ minute, second }[place.dataset.to] || short).format(at);
    place.title = `${whole.format(at)}: ${at.toISOString().slice(0, 16).replace("T", " ")} UTC`;
  }

  function tellTimes(root) {
    if (root.matches("time[datetime]")) tellTime(root);
    else for (const each of root.querySelectorAll("time[datetime]")) tellTime(each);
  }

  // Pages that look again put in what the server says.
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const each of addedNodes) if (each.nodeType === Node.ELEMENT_NODE) tellTimes(each);
    }
  }).observe(document.body, { childList: true, subtree: true });

  const boxes = () => [...document.querySelectorAll("#list .line > input")];
  const chosen = () => boxes().filter((box) => box.checked);

  function showChoice() {
    const all = document.getElementById("choose-all");
    if (!all) return;
    const count = chosen().length;
    all.checked = count > 0 && count === boxes().length;
    all.indeterminate = count > 0 && !all.checked;
    const everything = document.querySelector(".everything");
    if (everything) {
      everything.hidden = !all.checked;
      if (!all.checked) everything.querySelector("input").checked = false;
    }
  }

  document.addEventListener("change", (event) => {
    if (event.target.id === "choose-all") for (const box of boxes()) box.checked = event.target.checked;
    if (event.target.closest("#list")) showChoice();
  });

  let last = null;
  document.addEventListener("click", (event) => {
    const box = event.target.closest && event.target.closest("#list .line > input");
    if (!box) return;
    const every = boxes();
    if (event.shiftKey && last && every.includes(last)) {
      const [from, to] = [every.indexOf(last), every.indexOf(box)].sort((a, b) => a - b);
      for (const each of every.slice(from, to + 1)) each.checked = box.checked;
      showChoice();
    }
    last = box;
  });

  // Nothing chosen: what is pressed is told, and nothing is sent.
  document.addEventListener("submit", (event) => {
    const everything = document.querySelector(".everything input");
    if (event.target.id !== "list" || chosen().length || (everything && everything.checked)) return;
    if (event.submitter && event.submitter.name === "all") return;
    event.preventDefault();
    const here = document.querySelector(".line.here input");
    if (here) {
      here.checked = true;
      event.target.requestSubmit(event.submitter);
    } else say("Choose mails first: tick the boxes on the left.");
  });

  function say(text) {
    const flash = document.getElementById("flash");
    const told = document.createElement("div");
    told.className = "flash failed";
    told.textContent = text;
    flash.replaceChildren(told);
  }

  // New mail: one page of a browser listens, and tells the others.
  async function renew() {
    const places = document.getElementById("places");
    const now = document.querySelector("#list:not([data-found])");  // a search stays as it was found
    const current = (places && places.dataset.current) || "0";
    const address = now ? location.href : `/places?current=${current}`;
    const response = await fetch(address, { headers: { Accept: "text/html" } });
    if (!response.ok || response.redirected) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const others = page.getElementById("places");
    if (places && others && !places.contains(document.activeElement)) places.replaceWith(others);
    const then = page.getElementById("list");
    if (!now || !then) return;
    if (now.hasAttribute("data-first") && !chosen().length && !now.contains(document.activeElement)) now.replaceWith(then);
    if (page.title) document.title = page.title;
  }

  // At once after a quiet while; of changes without end it looks less and less often, each 5 s at last.
  const SOON_MS = 150, SELDOM_MS = 5000;
  let waits = null, looked = 0, gap = SOON_MS;
  function heard() {
    if (waits) return;
    const quiet = Date.now() - looked;
    if (quiet > 2 * SELDOM_MS) gap = SOON_MS;
    waits = setTimeout(() => {
      waits = null;
      looked = Date.now();
      gap = Math.min(2 * gap, SELDOM_MS);
      renew().catch(() => {});
    }, Math.max(SOON_MS, gap - quiet));
  }

  // What a page shows of captured mail is known by a mark: only another one is news.
  function heardCaptured(mark) {
    const places = document.getElementById("places");
    if (places && places.hasAttribute("data-captured") && places.dataset.captured !== mark) heard();
  }

  function listen() {
    const others = "BroadcastChannel" in window ? new BroadcastChannel("mailnode") : null;
    if (others) others.onmessage = ({ data }) => { if (data && data.captured) heardCaptured(data.captured); else heard(); };
    const begin = () => new Promise(() => {
      const stream = new EventSource("/events");
      stream.addEventListener("change", (event) => {
        if (others) others.postMessage(event.data);
        heard();
      });
      stream.addEventListener("captured", (event) => {
        if (others) others.postMessage({ captured: event.data });
        heardCaptured(event.data);
      });
      let began = false;
      stream.onopen = () => { if (began) heard(); began = true; };
    });
    if (others && navigator.locks) navigator.locks.request("mailnode-events", begin);
    else begin();
  }

  // Keys
  const KEYS = {
    j: ["next mail", () => go(1)],
    k: ["mail before", () => go(-1)],
    x: ["choose it, or not", () => { const box = at(); if (box) { box.checked = !box.checked; showChoice(); } }],
    "#": ["delete", () => press("/delete")],
    "!": ["junk, or not junk", () => press("/move")],
    c: ["write a mail", () => { location.href = "/write"; }],
    g: ["to the inbox", () => { location.href = "/mail"; }],
    "/": ["search", () => { const box = document.getElementById("search"); if (box) box.focus(); }],
    r: ["reply", () => follow("reply")],
    a: ["reply to all", () => follow("reply-all")],
    f: ["forward", () => follow("forward")],
    u: ["back to the list", () => follow("up")],
    "?": ["these keys", help],
  };
  const at = () => document.querySelector(".line.here input");
  const follow = (rel) => { const link = document.querySelector(`a[data-key="${rel}"]`); if (link) link.click(); };
  function go(step) {
    const lines = [...document.querySelectorAll(".line")];
    if (!lines.length) { follow(step > 0 ? "next" : "prev"); return; }
    const now = lines.findIndex((line) => line.classList.contains("here"));
    const next = lines[Math.max(0, Math.min(lines.length - 1, now < 0 ? 0 : now + step))];
    for (const line of lines) line.classList.toggle("here", line === next);
    next.querySelector("a").focus();
    next.scrollIntoView({ block: "nearest" });
  }
  function press(end) {
    const button = [...document.querySelectorAll("#list .tools button")].find((each) => (each.getAttribute("formaction") || "").endsWith(end));
    const one = document.querySelector(`section.acts form[action$="${end}"] button`);  // of a mail's page
    if (button || one) (button || one).click();
  }
  function help() {
    const dialog = document.createElement("dialog");
    dialog.className = "keys";
    const article = document.createElement("article");
    const head = document.createElement("h2");
    head.textContent = "Keys";
    const pairs = document.createElement("dl");
    for (const [key, [what]] of Object.entries(KEYS)) {
      const name = document.createElement("dt");
      const kbd = document.createElement("kbd");
      kbd.textContent = key;
      name.append(kbd);
      const words = document.createElement("dd");
      words.textContent = what;
      pairs.append(name, words);
    }
    const close = document.createElement("button");
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    article.append(head, pairs, close);
    dialog.append(article);
    document.body.append(dialog);
    dialog.showModal();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const key = KEYS[event.key];
    if (key) { event.preventDefault(); key[1](); }
  });

  tellTimes(document.body);
  showChoice();
  if (document.getElementById("places")) listen();
})();
