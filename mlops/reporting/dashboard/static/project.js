// The curves of the runs that are chosen: fetched when the choice changes, drawn, and told in a table.
"use strict";

const MAX_RUNS = 12;

function rounded(value) {
  return value === null ? "–" : Number(value.toPrecision(5)).toString();
}

function tell(table, curves) {
  const rows = curves.map((curve) => {
    const row = document.createElement("tr");
    const heading = document.createElement("th");
    heading.scope = "row";
    heading.textContent = curve.label;
    row.append(heading);
    for (const text of [curve.points, curve.undefined, ...[curve.first, curve.last, curve.minimum, curve.maximum].map(rounded)]) {
      const cell = row.insertCell();
      cell.className = "number";
      cell.textContent = text;
    }
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
}

function makeCurves(form) {
  const area = document.getElementById("curves-area");
  const table = document.getElementById("curves-table");
  const state = form.querySelector("output");
  const chooser = form.dataset.chooser ? document.getElementById(form.dataset.chooser) : null;
  const boxes = chooser ? Array.from(chooser.querySelectorAll("input[name=run]")) : [];
  let asked = 0;

  async function update() {
    const turn = ++asked;
    const chosen = new URLSearchParams(new FormData(form));
    const picked = boxes.filter((box) => box.checked);
    remember(".curves", { metric: chosen.get("metric"), axis: chosen.get("axis"), runs: picked.map((box) => box.value) });
    for (const box of picked) chosen.append("run", box.value);
    for (const box of boxes) box.disabled = picked.length >= MAX_RUNS && !box.checked;
    if (!chosen.has("run")) {
      state.textContent = "Choose runs in the table above.";
      tell(table, []);
      await window.mlops.draw(area, { data: [], layout: {} });
      return;
    }
    state.textContent = "Loading…";
    try {
      const answer = await fetch(`${form.dataset.curves}?${chosen}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      const found = await answer.json();
      // Another choice was made while this one was on its way.
      if (turn !== asked) return;
      tell(table, found.curves);
      await window.mlops.draw(area, found.figure);
      const missing = chosen.getAll("run").length - found.curves.length;
      const limit = picked.length >= MAX_RUNS ? ` No more than ${MAX_RUNS} can be told apart.` : "";
      state.textContent = `${found.curves.length} drawn${missing ? `, ${missing} without this metric` : ""}.${limit}`;
    } catch (error) {
      if (turn === asked) state.textContent = `The curves cannot be shown: ${error.message}.`;
    }
  }

  // As it was before the page was loaded again; another page of runs begins with its own.
  const kept = recall(".curves");
  for (const name of ["metric", "axis"]) {
    const options = Array.from(form.elements[name].options, (option) => option.value);
    if (options.includes(kept?.[name])) form.elements[name].value = kept[name];
  }
  if (boxes.some((box) => kept?.runs.includes(box.value))) {
    for (const box of boxes) box.checked = kept.runs.includes(box.value);
  }

  form.addEventListener("change", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const box of boxes) box.addEventListener("change", update);
  form.hidden = false;
  update();
}

document.querySelectorAll("form[data-curves]").forEach(makeCurves);

// A part of the page that takes its time: taken from a page of its own once it is about to be seen.
async function fill(part) {
  part.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(part.dataset.part, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    part.replaceChildren(...page.querySelector("[data-lineage]").childNodes);
  } catch (error) {
    part.append(`It cannot be shown here: ${error.message}.`);
  }
  part.removeAttribute("aria-busy");
}

whenNear(document.querySelectorAll("[data-part]"), 400, fill);
