// Charts of the last hour, lists that look again by themselves, and choosing all of a page.
"use strict";
(() => {
  // Choosing
  document.addEventListener("change", (event) => {
    const name = event.target.dataset && event.target.dataset.choose;
    if (!name) return;
    for (const box of event.target.form.querySelectorAll(`input[name="${name}"]`)) box.checked = event.target.checked;
  });

  // Times are typed as they are shown, in this browser's zone; the server is told UTC.
  const two = (number) => String(number).padStart(2, "0");
  for (const field of document.querySelectorAll('input[type="datetime-local"]')) {
    const told = document.createElement("input"), at = new Date(`${field.value}Z`);
    told.type = "hidden";
    told.name = field.name;
    told.value = field.value;
    field.removeAttribute("name");
    field.before(told);
    field.labels[0].firstChild.data = field.labels[0].firstChild.data.replace(" (UTC)", "");
    if (!Number.isNaN(at.getTime())) field.value = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
    field.addEventListener("input", () => { told.value = field.value ? new Date(field.value).toISOString().slice(0, 16) : ""; });
  }

  // A page that looks again: only what changes is put in.
  const live = document.getElementById("live");
  async function again() {
    if (!document.hidden) {
      const response = await fetch(location.href);
      if (response.redirected) { location.reload(); return; }
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const then = page.getElementById("live");
      const now = document.getElementById("live");
      if (response.ok && then && now && !now.contains(document.activeElement)) now.replaceChildren(...then.childNodes);
    }
  }
  if (live) {
    const every = Number(live.dataset.again) * 1000;
    const next = () => setTimeout(() => again().catch(() => {}).then(next), every);
    next();
  }

  // Charts
  const charts = document.getElementById("charts");
  if (!charts) return;
  const WIDTH = 360, HEIGHT = 90, MINUTE = 60, FIVE_MINUTES = 300;
  const rows = [];
  let names = [], kept = 720, every = Number(charts.dataset.every) || 5, last = 0;
  const numbers = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

  function told(value, unit) {
    if (value === null || value === undefined) return "–";
    if (unit === "s") {
      if (value >= 86400) return `${numbers.format(value / 86400)} d`;
      if (value >= 3600) return `${numbers.format(value / 3600)} h`;
      if (value >= 120) return `${numbers.format(value / 60)} min`;
    }
    if (unit === "a minute") return `${Math.round(value)} /min`;
    return unit ? `${numbers.format(value)} ${unit}` : numbers.format(value);
  }

  function element(name, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  // As long as the node remembers, five minutes at least and an hour at most.
  function spanOf() {
    const known = rows.length ? rows[rows.length - 1][0] - rows[0][0] : 0;
    return Math.min(kept * every, Math.max(FIVE_MINUTES, known));
  }

  function draw(figure, column) {
    const svg = figure.querySelector("svg");
    const end = rows.length ? rows[rows.length - 1][0] : 0;
    const span = spanOf();
    let most = 0;
    for (const row of rows) if (row[column] !== null) most = Math.max(most, row[column]);
    const scale = most > 0 ? (HEIGHT - 6) / most : 0;
    const x = (at) => (WIDTH - ((end - at) / span) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - 1 - value * scale).toFixed(1);
    const strokes = [], areas = [];
    let begun = [];
    const close = () => {
      if (begun.length) {
        const points = begun.length > 1 ? begun : [begun[0], begun[0]];
        strokes.push("M" + points.map(([at, value]) => `${x(at)},${y(value)}`).join("L"));
        areas.push(`M${x(points[0][0])},${HEIGHT}L` + points.map(([at, value]) => `${x(at)},${y(value)}`).join("L") + `L${x(points[points.length - 1][0])},${HEIGHT}Z`);
      }
      begun = [];
    };
    for (const row of rows) {
      if (row[column] === null) close();
      else begun.push([row[0], row[column]]);
    }
    close();
    svg.replaceChildren(
      element("path", { class: "axis", d: `M0,${HEIGHT}H${WIDTH}` }),
      element("path", { class: "area", d: areas.join("") || "M0,0" }),
      element("path", { class: "line", d: strokes.join("") || "M0,0" }),
    );
    const unit = figure.dataset.unit;
    const mean = (since) => {
      const some = rows.filter((row) => row[0] > since && row[column] !== null).map((row) => row[column]);
      return some.length ? some.reduce((sum, each) => sum + each, 0) / some.length : null;
    };
    const level = unit === "" || unit === "s";
    const now = !rows.length ? null : level ? rows[rows.length - 1][column] : mean(end - MINUTE);
    figure.querySelector(".now").textContent = told(now, unit);
    figure.querySelector(".most").textContent = most > 0 ? `; at most ${told(most, unit)}` : "";
    const cells = document.querySelectorAll(`#figures tr[data-row="${figure.dataset.figure}"] td`);
    const shown = [now, mean(end - FIVE_MINUTES), mean(0), rows.length ? most : null];
    cells.forEach((cell, at) => { cell.textContent = told(shown[at], unit); });
    svg.setAttribute("aria-label", `${figure.querySelector(".name").textContent}: now ${told(now, unit)}, at most ${told(most, unit)}`);
  }

  let shownFaults = null;
  function showFaults(faults) {
    const key = JSON.stringify(faults);
    if (key === shownFaults) return;
    const first = shownFaults === null;
    shownFaults = key;
    if (first) return; // the page came with them
    const place = document.getElementById("faults");
    const notes = faults.map((each) => {
      const note = document.createElement("article");
      note.className = each.warning ? "fault-note mild" : "fault-note";
      const what = document.createElement("p");
      const strong = document.createElement("strong");
      strong.textContent = `${each.what}.`;
      const part = document.createElement("span");
      part.className = "muted";
      part.textContent = ` (${each.part})`;
      what.append(strong, part);
      const mend = document.createElement("p");
      mend.textContent = each.mend;
      note.append(what, mend);
      return note;
    });
    if (!notes.length) {
      const well = document.createElement("p");
      well.className = "well";
      well.textContent = "Nothing is wrong: mail is taken.";
      notes.push(well);
    }
    place.replaceChildren(...notes);
  }

  async function look() {
    if (document.hidden && rows.length) return;
    const response = await fetch(`/admin/figures?after=${last}`);
    if (response.redirected) { location.reload(); return; }
    if (!response.ok) return;
    const said = await response.json();
    names = said.names;
    kept = said.kept;
    every = said.every_s;
    for (const row of said.rows) rows.push(row);
    rows.splice(0, Math.max(0, rows.length - kept));
    if (rows.length) last = rows[rows.length - 1][0];
    for (const figure of charts.querySelectorAll("figure")) draw(figure, names.indexOf(figure.dataset.figure) + 1);
    const minutes = Math.round(spanOf() / 60);
    document.getElementById("span").textContent = minutes >= 60 ? "hour" : `${minutes} minutes`;
    showFaults(said.faults);
  }
  const next = () => look().catch(() => {}).then(() => setTimeout(next, every * 1000));
  next();
})();
