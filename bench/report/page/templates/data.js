// The page's data: every figure as the text that the boards print. Nothing is computed here.

const DATA = JSON.parse(document.getElementById("data").textContent);

/** Rows as objects of text; bench/report/page/columns.py packs them. */
function unpack(packed) {
  const columns = packed.rows.map((places, field) => {
    const words = packed.words[field];
    const texts = [];
    let last = "";
    for (const place of places) {
      if (place >= 0) {
        last = words[place];
        texts.push(last);
      } else for (let times = 0; times < -place; times++) texts.push(last);
    }
    return texts;
  });
  const count = columns.length ? columns[0].length : 0;
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(packed.fields.map((name, field) => [name, columns[field][row]])),
  );
}

const unpacked = new Map();

/** The rows of one part of a board ("tidy", "tests", "bars"), unpacked once. */
function rowsOf(board, part) {
  if (!unpacked.has(board)) unpacked.set(board, {});
  const known = unpacked.get(board);
  known[part] ??= unpack(board[part]);
  return known[part];
}

/** The tidy row of a defense under an attack in one metric, if there is one. */
function found(board, defense, attack, metric = "accuracy") {
  return rowsOf(board, "tidy").find(
    (row) => row.defense === defense && row.attack === attack && row.metric === metric,
  );
}

function datasetOf(name) {
  return DATA.datasets.find((each) => each.name === name);
}

function boardOf(name, key) {
  return datasetOf(name)?.boards.find((each) => each.key === key);
}

function cardOf(board, label) {
  return board.cards[board.order.indexOf(label)];
}

/** Tidy rows of a board, or a data set's published ones, as `bench table --out x.csv` does. */
function csv(board, part = "tidy") {
  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const { fields } = board[part];
  const lines = rowsOf(board, part).map((row) => fields.map((name) => quote(row[name])));
  return [fields, ...lines].map((line) => `${line.join(",")}\n`).join("");
}

/** Hand the reader a file that is made here. */
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
