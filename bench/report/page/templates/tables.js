// Sorting and filtering of the tables that the file came with.

/** What a cell is sorted by: a number where it is one, else its text; blanks come last. */
function sortKey(row, column) {
  const cell = row.cells[column];
  const text = (cell.dataset.sort ?? cell.textContent).trim();
  const number = Number.parseFloat(text.replace(/(\d),(?=\d{3})/g, "$1"));
  return Number.isNaN(number) || column === 0 ? text.toLowerCase() : number;
}

function compareKeys(a, b, down) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const order = typeof a === "number" && typeof b === "number" ? a - b : a < b ? -1 : +(a > b);
  return down ? -order : order;
}

/** Sort by a column: first as its header says (`data-first`), then the other way round. */
function sortBy(header) {
  const grid = header.closest("table");
  const before = header.getAttribute("aria-sort");
  const first = header.dataset.first === "down" ? "descending" : "ascending";
  const second = first === "descending" ? "ascending" : "descending";
  const now = before === first ? second : first;
  closeCard(grid);
  for (const other of grid.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", now);
  const body = grid.tBodies[0];
  const column = header.cellIndex;
  const rows = [...body.rows].map((row) => [sortKey(row, column), row]);
  rows.sort(([a], [b]) => compareKeys(a, b, now === "descending"));
  body.append(...rows.map(([, row]) => row));
  openCard();
  say(`sorted by ${header.textContent}, ${now}`);
}

/** Header texts become buttons, where there is a script to sort by. */
function makeSortable(grid) {
  for (const header of grid.tHead.querySelectorAll("th")) {
    const click = () => sortBy(header);
    header.append(element("button", { type: "button", click }, ...header.childNodes));
  }
}

/** Show the rows that every filter of a board lets through, in its table, matrix and plot. */
function filterRows(section) {
  const value = (name) => section.querySelector(`[data-filter="${name}"]`).value;
  const [text, kind, classifier] = [value("text").trim().toLowerCase(), value("kind"), value("classifier")];
  const passes = ({ dataset }) =>
    dataset.words.toLowerCase().includes(text) &&
    (!kind || dataset.kind === kind) &&
    (!classifier || dataset.classifier === classifier);
  const rows = [...section.querySelectorAll("tr[data-row]")];
  for (const row of rows) row.hidden = !passes(row);
  const shown = new Set(rows.filter((row) => !row.hidden).map((row) => row.dataset.row));
  for (const point of section.querySelectorAll(".point, .pair")) {
    point.classList.toggle("faded", !shown.has(point.dataset.row));
  }
  const open = section.querySelector("tr.card");
  if (open) open.hidden = !shown.has(open.dataset.of);
  const all = new Set(rows.map((row) => row.dataset.row)).size;
  const count = shown.size === all ? `${all} rows` : `${shown.size} of ${all} rows`;
  section.querySelector(".count").textContent = count;
  say(count);
}

/** Why a blank cell of the matrix is blank, where the pointer rests on it. */
function explainBlanks(section, board) {
  for (const row of section.querySelectorAll(".matrix tbody tr")) {
    [...row.cells].forEach((cell, place) => {
      if (!place || cell.textContent.trim()) return;
      const blank = found(board, row.dataset.row, board.columns[place - 1]);
      if (blank?.note) cell.title = blank.note;
    });
  }
}
