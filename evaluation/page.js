// Headings of columns become buttons that sort; below a figure stands which cell a point is of.
"use strict";

function value(row, column) {
  const text = row.cells[column].textContent.replace("< ", "");
  return row.cells[column].classList.contains("number") ? parseFloat(text) : text;
}

function compare(a, b) { // numbers before words, what is missing last
  if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, "en", { numeric: true });
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a - b;
}

function sort(head) {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const sign = head.ariaSort === "ascending" ? -1 : 1;
  const known = row => !Number.isNaN(value(row, column));
  const rows = [...body.rows];
  const sorted = rows.filter(known).sort((a, b) => sign * compare(value(a, column), value(b, column)));
  body.append(...sorted, ...rows.filter(row => !known(row)));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}

for (const head of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sort(head));
  head.append(button);
}

for (const drawing of document.querySelectorAll(".drawing:has(.point)")) {
  const named = drawing.parentNode.insertBefore(document.createElement("output"), drawing.nextSibling);
  drawing.addEventListener("pointerover", event => {
    const point = event.target.closest(".point");
    if (point) named.textContent = point.querySelector("title").textContent;
  });
}
