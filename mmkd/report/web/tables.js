"use strict";
const cellOf = (row, n) => row.cells[n].dataset.value;
const isRow = (row) => !row.classList.contains("heading");

function compare(a, b, number, down) {
  if ((a === "") !== (b === "")) return a === "" ? 1 : -1; // what is not known stands last in either order
  const found = number ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true, sensitivity: "base" });
  return down ? -found : found;
}

function sortBy(table, head) {
  const n = head.cellIndex, number = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  const better = head.dataset.better; // the first click puts the best on top
  const down = before === "none" ? (better ? better === "higher" : number) : before === "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.classList.add("sorted");
  for (const body of table.tBodies) { // controls stay below the methods
    const rows = [...body.rows].filter(isRow).sort((a, b) => compare(cellOf(a, n), cellOf(b, n), number, down));
    body.append(...rows);
  }
}

for (const table of document.querySelectorAll("table[data-table]"))
  for (const head of table.tHead.rows[0].cells)
    head.querySelector("button").addEventListener("click", () => sortBy(table, head));

for (const input of document.querySelectorAll("input[data-filter]")) {
  const group = input.dataset.filter;
  const bodies = [...document.querySelector(`table[data-table="${group}"]`).tBodies];
  const rows = bodies.flatMap((body) => [...body.rows].filter(isRow));
  const shown = document.querySelector(`output[data-shown="${group}"]`);
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = `${row.cells[0].textContent} ${row.dataset.words ?? ""}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    for (const body of bodies) body.hidden = ![...body.rows].some((row) => isRow(row) && !row.hidden);
    shown.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  input.addEventListener("input", apply);
  if (input.value) apply(); // a browser may keep what was typed over a reload
}
