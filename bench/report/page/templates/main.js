// Bring the tables to life, and show what the address says.

function toggleTheme() {
  const root = document.documentElement;
  root.dataset.theme = isDark() ? "light" : "dark";
  try {
    localStorage.setItem("purifybench-theme", root.dataset.theme);
  } catch {
    // Not remembered, but shown.
  }
  showTheme();
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function showTheme() {
  document.getElementById("theme").setAttribute("aria-pressed", String(isDark()));
}

/** Names of rows become buttons that open their cards. */
function makeNames(section) {
  for (const row of section.querySelectorAll("tr[data-row]")) {
    const name = row.querySelector(".name");
    const label = row.dataset.row;
    const click = () => {
      const same = readState().row === label;
      go({ row: same ? "" : label });
    };
    const given = { type: "button", class: "name", click };
    if (row.closest(".main")) given["aria-expanded"] = "false";
    name.replaceWith(element("button", given, ...name.childNodes));
  }
}

/** A link whose address always is that of the present state with one thing changed. */
function markChosen(state) {
  for (const link of document.querySelectorAll("[data-choose]")) {
    const chosen = link.dataset.value === state[link.dataset.choose];
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

const alive = new Set();

/** Sorting, cards and filters of a board, once it is looked at. */
function enliven(section, board) {
  if (alive.has(section)) return;
  alive.add(section);
  section.querySelectorAll(".main, .matrix").forEach(makeSortable);
  // On a phone the first rows belong on the first screen.
  section.querySelector(".filters").open = !matchMedia("(max-width: 40rem)").matches;
  makeNames(section);
  explainBlanks(section, board);
  for (const input of section.querySelectorAll("[data-filter]")) {
    input.addEventListener("input", () => filterRows(section));
  }
  for (const select of section.querySelectorAll("[data-pair]")) {
    select.addEventListener("change", () => go({ [select.dataset.pair]: select.value }));
  }
  section.querySelector("[data-download]").addEventListener("click", () => {
    download(`${board.name}.csv`, csv(board));
  });
}

/** Bring a row whose card was opened into view, and the focus too where the matrix had it. */
function comeTo(row) {
  row?.scrollIntoView({ block: "nearest" });
  if (row && document.activeElement?.closest(".matrix")) row.querySelector(".name").focus();
}

let before = {};
let drawn = null;

/** Show the data set, board, card and comparison of the address. */
function show() {
  if (drawn === location.hash) return;
  drawn = location.hash;
  const state = readState();
  for (const part of document.querySelectorAll(".dataset")) {
    part.classList.toggle("shown", part.dataset.name === state.data);
  }
  for (const section of document.querySelectorAll(".board")) {
    const own = section.closest(".dataset").dataset.name === state.data;
    section.classList.toggle("shown", own && section.dataset.key === state.board);
  }
  markChosen(state);
  const claims = document.querySelector(".dataset.shown .claims");
  if (claims) enlivenClaims(claims, datasetOf(state.data));
  const section = document.querySelector(".board.shown");
  const board = boardOf(state.data, state.board);
  if (section && board) {
    enliven(section, board);
    showComparison(section, board, state);
    const moved = ["data", "board", "row"].some((name) => before[name] !== state[name]);
    if (moved) comeTo(openCard());
  }
  before = state;
}

enlivenSearch();
document.getElementById("theme").addEventListener("click", toggleTheme);
showTheme();
addEventListener("hashchange", show);
show();
