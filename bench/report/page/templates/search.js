// One search over the rows of every board and over what was published, whatever is shown.

const MOST = 40;

/** The names of a row and of the papers behind it. */
function wordsOf(dataset, board, label) {
  const parts = cardOf(board, label).settings.map(([name]) => dataset.about.defense?.[name]?.[1] ?? "");
  return [label, ...parts].join(" ").toLowerCase();
}

/** Every row whose name or paper holds the text, and each data set whose published lines do. */
function hits(text) {
  return DATA.datasets.flatMap((dataset) => {
    const rows = dataset.boards.flatMap((board) =>
      board.order
        .filter((label) => wordsOf(dataset, board, label).includes(text))
        .map((label) => ({ dataset, board, label })),
    );
    const lines = rowsOf(dataset, "published").filter((row) =>
      Object.values(row).some((cell) => cell.toLowerCase().includes(text)),
    );
    return lines.length ? [...rows, { dataset, lines: lines.length }] : rows;
  });
}

function hit({ dataset, board, label, lines }, text) {
  if (!board) {
    const link = element("a", { href: address({ data: dataset.name }), click: () => showClaims(text) }, dataset.name);
    return element("li", {}, link, `: ${lines} published lines`);
  }
  const worst = found(board, label, "worst case");
  const most = worst.note.startsWith("upper bound") ? "at most " : "";
  const figure = worst.measured ? `: ${most}${worst.measured} [${worst.low}, ${worst.high}] in the worst case` : "";
  const href = address({ data: dataset.name, board: board.key, row: label });
  const link = element("a", { href, click: () => clearSearch() }, label);
  return element("li", {}, link, ` ${dataset.name}, ${board.title}${figure}`);
}

/** The published lines of the data set that the link leads to, filtered by the same text. */
function showClaims(text) {
  clearSearch();
  addEventListener("hashchange", () => fillClaims(text), { once: true });
  fillClaims(text);
}

function fillClaims(text) {
  const claims = document.querySelector(".dataset.shown .claims");
  if (!claims) return;
  claims.querySelector("input").value = text;
  filterClaims(claims);
  claims.scrollIntoView();
}

function search() {
  const text = document.getElementById("search").value.trim().toLowerCase();
  const all = text ? hits(text) : [];
  const count = `${all.length} found${all.length > MOST ? `, the first ${MOST} are shown` : ""}`;
  const list = element("ul", {}, ...all.slice(0, MOST).map((each) => hit(each, text)));
  const section = document.getElementById("hits");
  section.hidden = !text;
  section.replaceChildren(element("p", {}, count), list);
  if (text) say(count);
}

function clearSearch() {
  document.getElementById("search").value = "";
  search();
}

function enlivenSearch() {
  const input = document.getElementById("search");
  input.addEventListener("input", search);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") clearSearch();
  });
}
