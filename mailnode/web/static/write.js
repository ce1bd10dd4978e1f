// A mail that is being written: kept while it is typed, its recipients judged, its files sent with
// progress. Without this script the same form works, by its buttons.
import { Editor } from "./editor.js";
import { watch } from "./recipients.js";

{
  const form = document.getElementById("write");

  const KEEP_MS = 2000, RESCUED_MS = 7 * 86400000, LOOK_MS = 1500;
  const LEFT_OCTETS = 60000;  // browsers take no more along from a page that is left
  const by = (id) => document.getElementById(id);
  const field = (name) => form.elements.namedItem(name);
  const text = by("text");
  const most = Number(form.dataset.most);
  const rescueName = `mailnode-written:${form.dataset.account}:${field("key").value}`;
  let draft = Number(form.dataset.draft);
  let octets = Number(form.dataset.octets);
  let changed = false, ended = false, timer = 0;
  let asked = 0, sending = false, troubled = false;  // how many were asked to be kept just now
  const page = Array.from(crypto.getRandomValues(new Uint32Array(4)), (each) => each.toString(16).padStart(8, "0")).join("");
  let turns = 0;  // how often something was written
  const turn = () => `${page}-${turns}`;
  let queue = Promise.resolve();  // what is asked of the server is asked in turn

  const say = (words) => { by("saved").textContent = words; };
  const csrf = () => document.querySelector('meta[name="csrf"]').content;
  const editor = new Editor(form, () => touched(), (files) => attach(files, true));
  const later = (work) => { const done = queue.then(work); queue = done.catch(() => {}); return done; };

  // What is wrong

  function show(faults) {
    for (const name of ["from", "to", "cc", "bcc", "subject", "files"]) tell(name, faults[name] || []);
    const all = by("fault-all");
    all.textContent = (faults[""] || []).join(". ");
    all.hidden = !all.textContent;
    const first = form.querySelector('[aria-invalid="true"]');
    if (first) first.focus();
    else if (!all.hidden) all.scrollIntoView({ block: "center" });
  }

  function tell(name, words) {
    const place = by(`fault-${name}`), input = by(name);
    place.textContent = words.join("; ");
    place.hidden = !words.length;
    if (input) input.toggleAttribute("aria-invalid", false);
    if (input && words.length) input.setAttribute("aria-invalid", "true");
    const folded = words.length && input && input.closest("details");
    if (folded) folded.open = true;
  }

  // Asking the server

  class Refused extends Error {
    constructor(status, words, told) { super(words); this.status = status; this.told = told; }
  }

  async function ask(path, data, keepalive = false) {
    let answer;
    try {
      answer = await fetch(path, {
        method: data ? "POST" : "GET", body: data, credentials: "same-origin", redirect: "error", keepalive,
        headers: { Accept: "application/json", ...(data ? { "X-CSRF-Token": csrf() } : {}) },
      });
    } catch {
      throw new Refused(0, "The server can't be reached: what you wrote is kept in this browser");
    }
    return read(answer.status, answer.headers.get("Content-Type") || "", await answer.text());
  }

  function read(status, kind, body) {
    const told = kind.startsWith("application/json") ? JSON.parse(body) : null;
    if (status < 300) return told || {};
    throw new Refused(status, told ? "" : words(status, body), told);
  }

  function words(status, body) {
    if (status === 401 || status === 403) return "You are not signed in any more: what you wrote is kept in this browser";
    const page = new DOMParser().parseFromString(body, "text/html");
    const said = page.querySelector("main p:not(.flash)");
    return said ? said.textContent.trim() : `The server answered ${status}`;
  }

  function refused(error) {
    if (!(error instanceof Refused)) throw error;
    if (error.told && error.told.faults) {
      take(error.told);
      show(error.told.faults);
      return;
    }
    rescue();
    show({ "": [error.message] });
    if (error.status === 401 || error.status === 403) offerSignIn();
  }

  function offerSignIn() {
    const link = document.createElement("a");
    link.href = `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Sign in, and go on there";
    by("fault-all").append(". ", link);
  }

  // Keeping

  const written = () => {
    editor.settle();
    const data = new FormData(form);
    data.delete("attach");
    data.set("turn", turn());
    return data;
  };

  function touched() {
    if (ended) return;
    changed = true;
    turns += 1;
    rescue();
    clearTimeout(timer);
    timer = setTimeout(() => keep().catch(refused), KEEP_MS);
  }

  function keep() {
    clearTimeout(timer);
    return later(() => (ended || (draft && !changed) ? null : save()));
  }

  async function save(keepalive = false) {
    changed = false;
    asked += 1;
    say("Keeping it…");
    try {
      const told = await ask(`/write/${draft}`, written(), keepalive);
      troubled = false;
      take(told);
      for (const each of form.querySelectorAll('[name="take"]')) each.closest("label").remove();
      field("source").value = "";
      const faults = told.faults || {};
      if (faults[""] || faults.files) show(faults);
      if (!changed) forget();
      say(`Kept at ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
    } catch (error) {
      changed = troubled = true;
      say("Not kept");
      throw error;
    } finally {
      asked -= 1;
    }
  }

  // What was written last goes along with who leaves the page, whatever was asked for before and is
  // not answered yet: the server keeps the newest.
  const isLight = () => {
    let octets = 0;
    for (const [key, value] of written()) octets += new Blob([key, value]).size + 120;
    return octets < LEFT_OCTETS;
  };

  function saveAndLeave() {
    if (ended || sending || !(changed || asked) || !isLight()) return;
    clearTimeout(timer);
    const saved = save(true).catch(refused);
    queue = Promise.all([queue, saved]);
  }

  function take(told) {
    if (told.draft !== undefined && told.draft !== draft) {
      draft = told.draft;
      form.action = `/write/${draft}`;
      by("send").formAction = `/write/${draft}/send`;
      by("discard").formAction = `/write/${draft}/discard`;
    }
    if (told.place) {
      field("place").value = told.place;
      history.replaceState(null, "", `/write?draft=${told.place}`);
    }
    if (told.key) field("key").value = told.key;
    if (told.files) list(told.files);
    if (told.size) measure(told);
  }

  function measure(told) {
    octets = told.octets;
    by("size").textContent = told.size;
    by("file-size").className = told.fits ? "muted" : "fault";
  }

  // What this browser keeps while the server has not

  function rescue() {
    editor.settle();
    const said = { at: Date.now(), page: editor.isPage, turn: turn() };
    for (const name of ["to", "cc", "bcc", "subject", "text", "html", "answers", "in_reply_to", "references"]) said[name] = field(name).value;
    try { localStorage.setItem(rescueName, JSON.stringify(said)); } catch { /* it is full, or there is none */ }
  }

  function forget(name = rescueName) {
    try { localStorage.removeItem(name); } catch { /* likewise */ }
  }

  function rescued() {
    const found = [];
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(`mailnode-written:${form.dataset.account}:`)) continue;
      const said = JSON.parse(localStorage.getItem(name));
      if (!said || Date.now() - said.at > RESCUED_MS) forget(name);
      else found.push({ name, said });
    }
    return found.sort((one, other) => other.said.at - one.said.at);
  }

  // A page that was left has not heard whether its words arrived; they may still be on their way.
  async function hasArrived(said) {
    if (!said.turn) return false;
    for (let tries = 0; tries < 3; tries += 1) {
      try { if ((await ask(`/write/kept?turn=${said.turn}`)).kept) return true; } catch { break; }
      if (Date.now() - said.at > 10 * LOOK_MS) break;
      await new Promise((done) => { setTimeout(done, LOOK_MS); });
    }
    return false;
  }

  async function offerRescued() {
    let found = null;
    try {
      for (const each of rescued()) {
        if (!await hasArrived(each.said)) { found = each; break; }
        forget(each.name);
      }
    } catch { return; }
    if (!found) return;
    const place = by("rescue");
    const button = (label, done) => {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "slim secondary outline";
      made.textContent = label;
      made.addEventListener("click", () => { place.hidden = true; forget(found.name); done(); });
      return made;
    };
    place.append(
      `This browser has a mail that the server never got${found.said.subject ? `: “${found.said.subject}”` : ""}, written ${new Date(found.said.at).toLocaleString()}. `,
      button("Take it up", () => takeUp(found.said)), " ", button("Throw it away", () => {}),
    );
    place.hidden = false;
  }

  function takeUp(said) {
    for (const name of ["to", "cc", "bcc", "subject", "text", "answers", "in_reply_to", "references"]) field(name).value = said[name] || "";
    field("html").value = said.html || "";
    editor.turn(Boolean(said.page), Boolean(said.page));
    touched();
  }

  // Files

  function list(files) {
    const place = by("file-list"), ids = new Set(files.map((each) => String(each.id))), there = new Set();
    for (const item of place.querySelectorAll("[data-id]")) {
      if (ids.has(item.dataset.id)) there.add(item.dataset.id); else item.remove();  // the focus may be in one that stays
    }
    for (const each of files) {
      if (there.has(String(each.id))) continue;
      const item = document.createElement("li"), link = document.createElement("a");
      const about = document.createElement("span"), button = document.createElement("button");
      item.dataset.id = each.id;
      link.href = each.address;
      link.textContent = each.name;
      about.className = "muted";
      about.textContent = each.size;
      button.type = "button";
      button.className = "secondary outline";
      button.textContent = "Remove";
      button.dataset.remove = each.id;
      button.setAttribute("aria-label", `Remove ${each.name}`);
      item.append(link, about, button);
      place.append(item);
    }
  }

  const asSent = (size) => Math.ceil(size / 57) * 78 + 500;

  function attach(files, inline) {
    const all = Array.from(files).map((file) => later(() => upload(file, inline)).catch(refused));
    return Promise.all(all);
  }

  async function upload(file, inline) {
    if (ended) return;
    if (octets + asSent(file.size) > most) {
      tell("files", [`${file.name} is too large for this mail: a file grows by more than a third in it`]);
      return;
    }
    if (!draft) take(await ask("/write/0", written()));
    const item = document.createElement("li"), bar = document.createElement("progress");
    const stop = document.createElement("button");
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `${file.name} is sent to the server`);
    stop.type = "button";
    stop.className = "secondary outline";
    stop.textContent = "Stop";
    item.append(file.name, bar, stop);
    by("file-list").append(item);
    const data = new FormData();
    data.append("csrf", csrf());
    data.append("inline", inline ? "1" : "");
    data.append("attach", file, file.name);
    const request = new XMLHttpRequest();
    stop.addEventListener("click", () => request.abort());
    try {
      const told = await new Promise((done, failed) => {
        request.open("POST", `/write/${draft}/files`);
        request.setRequestHeader("Accept", "application/json");
        request.setRequestHeader("X-CSRF-Token", csrf());
        request.upload.addEventListener("progress", (event) => {
          if (event.lengthComputable) bar.value = event.loaded / event.total;
        });
        request.addEventListener("load", () => {
          try { done(read(request.status, request.getResponseHeader("Content-Type") || "", request.responseText)); } catch (error) { failed(error); }
        });
        request.addEventListener("error", () => failed(new Refused(0, `${file.name} did not arrive: the server can't be reached, or has ended the connection`)));
        request.addEventListener("abort", () => done({}));
        request.send(data);
      });
      take(told);
      tell("files", []);
      const added = inline && told.added && told.files.find((each) => each.id === told.added[0]);
      if (added && added.picture) editor.insertPicture(added.address, added.name);
    } finally {
      item.remove();
    }
  }

  function remove(id) {
    const data = new FormData();
    data.append("csrf", csrf());
    later(async () => take(await ask(`/write/${draft}/files/${id}/remove`, data))).catch(refused);
  }

  // What its owner does

  form.addEventListener("input", (event) => { if (event.target.id !== "attach" && event.target.id !== "looks") touched(); });
  form.addEventListener("keydown", (event) => {
    const plain = event.target.tagName === "INPUT" && event.target.type !== "file";
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); by("send").click(); }
    else if (event.key === "Enter" && plain) event.preventDefault();  // it would be a button's
  });
  by("choose").hidden = false;
  form.querySelector(".attach").hidden = true;
  by("choose").addEventListener("click", () => by("attach").click());
  by("attach").addEventListener("change", (event) => {
    attach(event.target.files, false);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    by("files").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) by("files").classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    by("files").classList.remove("over");
    attach(event.dataTransfer.files, false);
  });
  by("file-list").addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove]");
    if (!button) return;
    event.preventDefault();
    remove(button.dataset.remove);
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const deed = event.submitter ? event.submitter.value : "save";
    if (deed === "save") { changed = true; keep().catch(refused); } else if (deed === "discard") discard(); else send();
  });

  function send() {
    const button = by("send");
    if (button.disabled) return;
    button.disabled = sending = true;
    button.setAttribute("aria-busy", "true");
    clearTimeout(timer);
    later(async () => {
      rescue();
      show({});
      say("Sending…");
      const told = await ask(`/write/${draft}/send`, written());
      leave(told.next);
    }).catch((error) => { say("Not sent"); refused(error); })
      .finally(() => { button.disabled = sending = false; button.removeAttribute("aria-busy"); });
  }

  function discard() {
    if (!window.confirm("Delete this draft and its files?")) return;
    clearTimeout(timer);
    later(async () => leave((await ask(`/write/${draft}/discard`, written())).next)).catch(refused);
  }

  function leave(path) {
    ended = true;
    changed = false;
    forget();
    location.assign(path);
  }

  by("close").addEventListener("click", (event) => {
    if (!changed) return;
    event.preventDefault();
    keep().then(() => leave(event.target.href)).catch(refused);
  });
  window.addEventListener("beforeunload", (event) => {
    if (changed && !ended && (sending || troubled || !isLight())) event.preventDefault();
  });
  window.addEventListener("pagehide", saveAndLeave);
  document.addEventListener("visibilitychange", () => { if (document.hidden) saveAndLeave(); });

  for (const name of ["to", "cc", "bcc"]) watch(name, ask, tell);
  offerRescued();
  if (form.querySelector('[name="take"]:checked')) { changed = true; keep().catch(refused); }
  else if (text.autofocus) text.setSelectionRange(0, 0);
}
