"use strict";
// Refreshes the page in place, runs ages and countdowns, sorts and filters tables. Everything works without it, by hand.
(() => {
  const body = document.body;
  const factor = Number(body.dataset.factor) || 1;
  const loadedAt = Date.now();
  const serverAt = Date.parse(body.dataset.now);
  const siteNow = () => serverAt + (Date.now() - loadedAt) * factor;
  const all = (query, within = document) => [...within.querySelectorAll(query)];

  const span = (s) =>
    s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min`
      : s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
  function say(element, text) { if (element.textContent !== text) element.textContent = text; }

  function tick() {
    const now = siteNow();
    for (const time of all("time[data-age]")) {
      const s = (now - Date.parse(time.dateTime)) / 1000;
      say(time, s < 45 ? "just now" : `${span(s)} ago`);
    }
    for (const time of all("time[data-until]")) {
      const s = (Date.parse(time.dateTime) - now) / 1000;
      say(time, s > 0 ? `expires in ${span(s)}` : `expired ${span(-s)} ago`);
    }
    for (const row of all("[data-expires]")) {
      if (Date.parse(row.dataset.expires) <= now && !row.classList.contains("over")) {
        row.classList.add("over");
        for (const control of all("[data-decides], input", row)) { control.disabled = true; control.checked = false; }
        choose();
      }
    }
    const clock = document.getElementById("now");
    if (clock) {
      const d = new Date(now), two = (n) => String(n).padStart(2, "0");
      const month = d.toLocaleString("en-GB", { month: "short", timeZone: "UTC" }).slice(0, 3);
      say(clock, `${two(d.getUTCDate())} ${month} ${two(d.getUTCHours())}:${two(d.getUTCMinutes())} UTC`);
    }
  }

  // Tables: one sort and one filter each, kept over refreshes.
  const views = {};
  const view = (name) => (views[name] ??= { column: null, down: false, show: "all", find: "" });
  function arrange(table) {
    const { column, down, show, find } = view(table.dataset.table);
    const rows = all("tbody tr", table);
    const words = find.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = row.dataset.kinds.split(/\s+/).includes(show) && words.every((w) => row.dataset.find.includes(w));
      row.hidden = !fits;
      shown += fits;
    }
    const none = document.querySelector(`[data-none="${table.dataset.table}"]`);
    if (none) none.hidden = shown > 0;
    all("thead th[aria-sort]", table).forEach((th) => {
      const button = th.querySelector("[data-sort]");
      th.setAttribute("aria-sort", Number(button.dataset.sort) === column ? (down ? "descending" : "ascending") : "none");
    });
    if (column === null) return;
    const value = (row) => row.cells[column]?.dataset.v ?? "";
    const numeric = rows.every((row) => value(row) === "" || !Number.isNaN(Number(value(row))));
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // unknown last, whichever way
      const order = numeric ? x - y : x.localeCompare(y);
      return down ? -order : order;
    });
    const focused = document.activeElement;
    table.tBodies[0].append(...rows);
    if (focused && focused !== document.activeElement) focused.focus({ preventScroll: true });
  }
  const arrangeAll = () => all("[data-table]").forEach(arrange);

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.sort !== undefined) {
      const table = button.closest("table"), v = view(table.dataset.table), column = Number(button.dataset.sort);
      v.down = v.column === column ? !v.down : button.closest("th").classList.contains("num");
      v.column = column;
      arrange(table);
    } else if (button.dataset.show) {
      const group = button.closest("[data-filters]");
      view(group.dataset.filters).show = button.dataset.show;
      for (const other of all("button", group)) other.setAttribute("aria-pressed", String(other === button));
      arrangeAll();
    } else if (button.dataset.dismiss) {
      document.getElementById(button.dataset.dismiss)?.remove();
    }
  });
  document.addEventListener("input", (event) => {
    const name = event.target.dataset.search;
    if (name) { view(name).find = event.target.value; arrangeAll(); }
  });
  document.addEventListener("keydown", (event) => {
    const search = document.querySelector("[data-search]");
    if (event.key === "/" && search && !event.target.closest("input, textarea")) { event.preventDefault(); search.focus(); }
  });

  // Choosing several.
  function choose() {
    for (const form of all("form[data-choose]")) {
      const boxes = all("input[name=item]:not(:disabled)", form), chosen = boxes.filter((box) => box.checked).length;
      const whole = form.querySelector("[data-all]");
      whole.checked = chosen > 0 && chosen === boxes.length;
      whole.indeterminate = chosen > 0 && chosen < boxes.length;
      whole.disabled = boxes.length === 0;
      say(form.querySelector("[data-chosen]"), chosen ? `${chosen} chosen` : "Choose all");
      for (const button of all("[data-needs-choice]", form)) button.disabled = chosen === 0;
    }
  }
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) {
      for (const box of all("input[name=item]:not(:disabled)", event.target.form)) box.checked = event.target.checked;
    }
    choose();
  });
  // A second click before the answer must not send a second decision.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 8000);
  });

  // The chart's crosshair.
  document.addEventListener("pointermove", (event) => {
    const area = event.target.closest?.(".area");
    for (const other of all(".area")) if (other !== area) hush(other);
    if (!area) return;
    const plot = area.closest(".plot"), box = area.getBoundingClientRect();
    const samples = (plot.parsed ??= JSON.parse(plot.dataset.samples));
    const x = (1000 * (event.clientX - box.left)) / box.width;
    const near = samples.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    const money = (v) => `${v < 0 ? "−" : ""}$${Math.abs(v).toFixed(2)}`;
    const line = area.querySelector(".cross"), tip = area.querySelector(".tip");
    line.setAttribute("x1", near[0]); line.setAttribute("x2", near[0]); line.style.visibility = "visible";
    tip.textContent = `${near[1].slice(0, 16).replace("T", " ")}\nactual ${money(near[2])}\nnominal ${money(near[3])}\nuplift ${near[2] >= near[3] ? "+" : ""}${money(near[2] - near[3])}`;
    tip.hidden = false;
    const at = (near[0] / 1000) * box.width, width = tip.offsetWidth;
    tip.style.left = `${at + 12 + width > box.width ? Math.max(0, at - width - 12) : at + 12}px`;
  });
  function hush(area) { area.querySelector(".tip").hidden = true; area.querySelector(".cross").style.visibility = "hidden"; }

  // Live: fetch the middle of the page; put in place only the parts that differ.
  let tag = null, failures = 0;
  const seen = {};
  for (const part of all("[data-live]", document.getElementById("main") ?? body)) seen[part.id] = part.outerHTML;
  async function refresh() {
    if (document.hidden || !body.dataset.live) return;
    try {
      const answer = await fetch(body.dataset.live, {
        headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store", signal: AbortSignal.timeout(15000),
      });
      if (answer.status === 401) { location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search)); return; }
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(String(answer.status));
        patch(new DOMParser().parseFromString(await answer.text(), "text/html"));
        tag = answer.headers.get("ETag");
      }
      failures = 0;
    } catch { failures += 1; }
    const link = document.getElementById("link");
    link.classList.toggle("off", failures > 1);
    say(link.lastElementChild, failures > 1 ? "no answer" : "live");
  }
  function patch(next) {
    const main = document.getElementById("main"), focused = document.activeElement;
    const parts = all("[data-live]", main), fresh = all("[data-live]", next);
    const same = parts.length === fresh.length && parts.every((part, i) => part.id === fresh[i].id);
    if (!same) { if (!main.contains(focused)) location.reload(); return; }
    const where = focused && main.contains(focused) ? focused : null;
    parts.forEach((part, i) => {
      const html = fresh[i].outerHTML;
      if (seen[part.id] === html) return;
      if (where && part.contains(where) && where.matches("input:not([type=checkbox])")) return;
      seen[part.id] = html;
      const ticked = new Set(all("input:checked", part).map((box) => box.value));
      const open = new Set(all("details[open]", part).map(keyOf));
      const back = where && part.contains(where) ? where : null;
      const element = document.importNode(fresh[i], true);
      part.replaceWith(element);
      for (const box of all("input[type=checkbox]", element)) box.checked = ticked.has(box.value);
      for (const details of all("details", element)) details.open = open.has(keyOf(details));
      if (back) all("a, button, input, summary", element).find((e) => twin(e, back))?.focus({ preventScroll: true });
    });
    const total = next.querySelector("[data-open-total]");
    const count = document.getElementById("open-total");
    if (total && count) { say(count, total.dataset.openTotal); count.hidden = total.dataset.openTotal === "0"; }
    tick(); arrangeAll(); choose();
  }
  const keyOf = (details) => details.closest("li")?.querySelector("input[name=item]")?.value;
  const twin = (a, b) => a.tagName === b.tagName && a.name === b.name && a.value === b.value && a.getAttribute("href") === b.getAttribute("href")
    && (a.tagName !== "SUMMARY" || keyOf(a.parentElement) === keyOf(b.parentElement));

  tick(); arrangeAll(); choose();
  setInterval(tick, 1000);
  setInterval(refresh, 3000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
})();
