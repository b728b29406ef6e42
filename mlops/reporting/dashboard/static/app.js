// What the pages do beyond links: tables that sort and filter, charts, and the age of what is shown.
"use strict";

// ---- what a reader chose on a page, until the tab is closed ----------------------------------------------------

// Only pages that are loaded again have such a button; the page of a report is a file.
const liveButton = document.querySelector("button[data-live]");
const memory = liveButton ? sessionStorage : null;

function remember(key, value) {
  memory?.setItem(location.pathname + key, JSON.stringify(value));
}

function recall(key) {
  return JSON.parse(memory?.getItem(location.pathname + key) ?? "null");
}

// ---- tables ----------------------------------------------------------------------------------------------

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function sortKey(row, column) {
  const cell = row.cells[column];
  return cell.dataset.sort ?? cell.textContent.trim();
}

function sortRows(table, column, descending, numeric) {
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => [sortKey(row, column), row]);
  const sign = descending ? -1 : 1;
  keyed.sort(([a], [b]) => {
    // What has no value comes last, whichever way the others are sorted.
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (numeric ? Number(a) - Number(b) : collator.compare(a, b));
  });
  body.append(...keyed.map(([, row]) => row));
}

function makeSortable(table) {
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    if (heading.dataset.kind === "none" || !heading.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    const numeric = heading.dataset.kind === "number" || heading.dataset.kind === "time";
    const sort = (descending) => {
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table, column, descending, numeric);
    };
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      // The largest and the latest are what is looked for first.
      const descending = before ? before === "ascending" : numeric;
      sort(descending);
      remember(`#${table.id}.sort`, { column, descending });
    });
    const chosen = recall(`#${table.id}.sort`);
    if (chosen?.column === column) sort(chosen.descending);
  });
}

// A form with data-filters="<table id>": rows stay whose text has all words typed, and that have the chosen flag.
function makeFilter(form) {
  const table = document.getElementById(form.dataset.filters);
  const typed = form.querySelector("input");
  const chosen = form.querySelector("select");
  const count = form.querySelector("output");
  const rows = Array.from(table.tBodies[0].rows, (row) => [row, row.textContent.toLowerCase(), (row.dataset.flags ?? "").split(" ")]);
  const apply = () => {
    const words = typed.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const [row, text, flags] of rows) {
      const stays = words.every((word) => text.includes(word)) && (!chosen?.value || flags.includes(chosen.value));
      row.hidden = !stays;
      shown += stays;
    }
    remember(`#${table.id}.filter`, [typed.value, chosen?.value]);
    count.textContent = shown === rows.length ? `${rows.length} shown` : `${shown} of ${rows.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  const [words, flag] = recall(`#${table.id}.filter`) ?? ["", ""];
  typed.value = words;
  if (chosen) chosen.value = flag;
  apply();
}

// ---- what waits until it is nearly seen -------------------------------------------------------------------------

// Calls act once with each of the elements, when no more than these pixels are left to scroll to it.
function whenNear(elements, pixels, act) {
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((each) => each.isIntersecting)) {
        observer.unobserve(entry.target);
        act(entry.target);
      }
    },
    { rootMargin: `${pixels}px` }
  );
  for (const element of elements) observer.observe(element);
}

// ---- charts ----------------------------------------------------------------------------------------------

let library = null;

function plotly() {
  // The page of a report has it in itself.
  if (window.Plotly) return Promise.resolve(window.Plotly);
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/static/plotly.min.js";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("the charts' library cannot be loaded"));
    document.head.append(script);
  });
  return library;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return { colour, series: Array.from({ length: 8 }, (_, index) => colour(`series-${index + 1}`)) };
}

// "var(--bad)" anywhere in a figure stands for that colour of the page.
function painted(value, colour) {
  if (typeof value === "string") return value.replace(/^var\(--([a-z0-9-]+)\)$/, (_, name) => colour(name));
  if (Array.isArray(value)) return value.map((each) => painted(each, colour));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, painted(each, colour)]));
  }
  return value;
}

function dressed(figure) {
  const { colour, series } = colours();
  const { data, layout = {} } = painted(figure, colour);
  const axes = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true };
  const own = Object.fromEntries(
    Object.entries(layout).filter(([key]) => /^[xy]axis\d*$/.test(key)).map(([key, axis]) => [key, { ...axes, ...axis }])
  );
  return {
    data,
    layout: {
      margin: { l: 48, r: 12, t: 12, b: 40 },
      colorway: series,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      hovermode: "closest",
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("text"), family: "inherit", size: 12 },
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("control"), font: { color: colour("text") } },
      xaxis: axes,
      yaxis: axes,
      ...own,
    },
  };
}

const drawn = new Map();

// Draws a figure into an element, and again when the colours change. Returns a promise.
async function draw(element, figure) {
  drawn.set(element, figure);
  const { data, layout } = dressed(figure);
  const Plotly = await plotly();
  await Plotly.react(element, data, layout, { displayModeBar: false, responsive: true });
  element.dataset.drawn = "";
}

async function figureOf(element) {
  const embedded = document.getElementById(`${element.id}-figure`);
  if (embedded) return JSON.parse(embedded.textContent);
  const answer = await fetch(element.dataset.source, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`it was answered ${answer.status}`);
  return answer.json();
}

// Draws what the element's figure or data-source says now; says so in the element if that fails.
async function show(element) {
  try {
    await draw(element, await figureOf(element));
  } catch (error) {
    element.textContent = `This chart cannot be drawn: ${error.message}.`;
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [element, figure] of drawn) draw(element, figure);
});

// ---- the age of what is shown -------------------------------------------------------------------------------

function words(seconds) {
  if (seconds < 60) return `${seconds} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

function keepAge(element) {
  const born = performance.now() / 1000 - Number(element.dataset.age);
  setInterval(() => {
    element.textContent = words(Math.round(performance.now() / 1000 - born));
  }, 5000);
}

// ---- a page that is kept open -----------------------------------------------------------------------------------

const LIVE_SECONDS = 30;

function keepUpToDate(button) {
  const on = () => button.getAttribute("aria-pressed") === "true";
  const press = (pressed) => button.setAttribute("aria-pressed", String(pressed));
  button.hidden = false;
  press(recall(".live") === true);
  button.addEventListener("click", () => {
    press(!on());
    remember(".live", on());
  });
  setInterval(() => {
    // Not while nobody looks, and not while somebody types.
    if (on() && !document.hidden && !document.activeElement?.matches("input, select")) location.reload();
  }, LIVE_SECONDS * 1000);
}

// ---- start ------------------------------------------------------------------------------------------------

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll("form[data-filters]").forEach(makeFilter);
whenNear(document.querySelectorAll("[data-plot]"), 200, show);
document.querySelectorAll("[data-age]").forEach(keepAge);
if (liveButton) keepUpToDate(liveButton);

// For the scripts of single pages.
window.mlops = { draw, show };
