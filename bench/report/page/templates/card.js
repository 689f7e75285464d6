// A row's card: everything behind its numbers, in a row of its own below it.

/** Metrics that a card shows in columns of their own, with the words above them. */
const METRICS = [
  [/^vote$/, "vote"],
  [/^worst of /, "worst of K"],
  [/^protocol$/, "its own protocol"],
  [/^rounded to 8 bits$/, "in 8 bits"],
];
/** What was published of the same, where anything was. */
const PUBLISHED = ["reported", "external", "verdict"];
const GROUPS = /^accuracy on (?!.*\/)/;
const PROVEN = /^certified within /;

function closeCard(scope = document) {
  for (const open of scope.querySelectorAll("tr.card")) open.remove();
  for (const button of scope.querySelectorAll('.name[aria-expanded="true"]')) {
    button.setAttribute("aria-expanded", "false");
    button.removeAttribute("aria-controls");
  }
}

/** Open the card that the address names, in the board that is shown. */
function openCard() {
  closeCard();
  const state = readState();
  const section = document.querySelector(".board.shown");
  if (!state.row || !section) return null;
  const rows = [...section.querySelectorAll(".main tr[data-row]")];
  const row = rows.find((each) => each.dataset.row === state.row);
  const board = boardOf(state.data, state.board);
  const content = cardContent(board, state.row);
  const cell = element("td", { colspan: row.cells.length }, content);
  const card = element("tr", { class: "card", id: `${section.id}-card` }, cell);
  card.dataset.of = state.row;
  row.hidden = false;
  row.after(card);
  const button = row.querySelector(".name");
  button.setAttribute("aria-expanded", "true");
  button.setAttribute("aria-controls", card.id);
  return row;
}

function cardContent(board, label) {
  const card = cardOf(board, label);
  const rows = rowsOf(board, "tidy").filter((row) => row.defense === label);
  const parts = [
    ...flagParts(card),
    ...worstParts(card, board),
    ...settingParts(card),
    ...figureParts(card, board, rows),
    ...blankParts(rows),
    ...attackParts(card, board),
    ...madeParts(card, board),
  ];
  const other = element("button", { type: "button", click: () => compareWith(label) }, "Compare with another row");
  const close = element("button", { type: "button", click: () => leaveCard() }, "Close");
  return element(
    "div",
    { class: "content", role: "group", "aria-label": `Card of ${label}` },
    element("div", { class: "tools" }, other, close),
    ...parts,
  );
}

function leaveCard() {
  const row = document.querySelector('.board.shown .name[aria-expanded="true"]');
  go({ row: "" });
  row?.focus();
}

/** A headed part of the card, or nothing where it would be empty. */
function part(heading, ...children) {
  return children.length ? [element("h4", {}, heading), ...children] : [];
}

function flagParts(card) {
  const texts = { alarm: "Alarms: an attack is doubtful, the truth may be lower", note: "Notes: what kind of defense this is" };
  return Object.entries(texts).flatMap(([kind, heading]) => {
    const items = card.flags
      .filter(([own]) => own === kind)
      .map(([, attack, text]) =>
        element("li", {}, attack ? element("b", {}, `${attack}: `) : "", `${text}.`),
      );
    return part(heading, ...(items.length ? [element("ul", kind === "alarm" ? { class: kind } : {}, ...items)] : []));
  });
}

function worstParts(card, board) {
  const share = card.share.map(([name, percent]) => `${name} on ${percent} % of the images`).join(", ");
  const lines = [];
  if (card.missing.length) {
    lines.push(`Upper bound: not over ${card.missing.join(", ")}. It is ranked and compared with nothing.`);
  }
  if (card.share.length === 1) {
    lines.push(`${card.share[0][0]} on every image: the worst attack of each image leaves no less than this column.`);
  } else if (share) {
    lines.push(`Worst of clean and the attacks within ${board.threat}, by image: ${share}.`);
  }
  return part("Worst case", ...lines.map((text) => element("p", {}, text)));
}

function figureParts(card, board, rows) {
  const extra = METRICS.filter(([name]) => rows.some((row) => name.test(row.metric)));
  const against = rows.some((row) => row.metric === "difference to best control");
  const header = ["attack", "accuracy", ...extra.map(([, title]) => title)];
  const published = PUBLISHED.filter((name) => rows.some((row) => row[name]));
  header.push(...published, "draws", "seeds", "forwards", "backwards", "seconds");
  if (against) header.push("minus the best control");
  const body = board.columns.map((attack) => {
    const own = rows.filter((row) => row.attack === attack);
    const main = own.find((row) => row.metric === "accuracy");
    if (!main?.measured) return null;
    const cells = extra.map(([name]) => shown(own.find((row) => name.test(row.metric))));
    cells.push(...published.map((name) => main[name]), main.draws, main.seeds, main.forwards, main.backwards, main.seconds_per_image);
    if (against) cells.push(shown(own.find((row) => row.metric === "difference to best control")));
    return [attack, shown(main), ...cells];
  });
  const found = body.filter(Boolean);
  if (!found.length) return [];
  const note =
    `${rows.find((row) => row.n).n} images. Forwards and backwards: network calls for each image, ` +
    "attack and judge together. Seconds: of the processor for each image (of the clock on a GPU).";
  return part(
    "Figures and cost",
    frame("Figures and cost", table("Figures and cost by attack", header, found)),
    element("p", { class: "caption" }, note),
    ...groupParts(rows, GROUPS, "accuracy on ", "By kind and severity of corruption", "corruption"),
    ...groupParts(rows, PROVEN, "certified within ", "Certified within an l2 radius", "radius"),
  );
}

function shown(row) {
  if (!row) return "";
  const own = figure(row.measured, row.low, row.high);
  return row.note ? element("span", {}, own, " ", element("small", {}, row.note)) : own;
}

function groupParts(rows, pattern, prefix, heading, unit) {
  const own = rows.filter((row) => pattern.test(row.metric));
  if (!own.length) return [];
  const body = own.map((row) => [row.metric.slice(prefix.length), shown(row)]);
  return [
    element("details", {}, element("summary", {}, heading), frame(heading, table(heading, [unit, "percent"], body))),
  ];
}

function blankParts(rows) {
  const blank = rows.filter((row) => row.metric === "accuracy" && !row.measured);
  const items = blank.map((row) => element("li", {}, element("b", {}, `${row.attack}: `), row.note));
  return part("Blank, and why", ...(items.length ? [element("ul", {}, ...items)] : []));
}

/** A plug-in in words, with its paper; nothing where no plan tells of it. */
function inWords(kind, name) {
  const [what, paper, link] = datasetOf(readState().data).about[kind]?.[name] ?? ["", "", ""];
  const whose = link ? element("a", { href: link, rel: "noreferrer" }, paper) : paper;
  return element("span", {}, what, ...(paper ? [" (", whose, ")"] : []));
}

function settingParts(card) {
  const parts = card.settings.map(([name, pairs]) =>
    element(
      "li",
      {},
      element("b", {}, name),
      " ",
      name.startsWith("classifier ") ? inWords("classifier", name.slice(11)) : inWords("defense", name),
      " ",
      ...pairs.flatMap(([key, value]) => [element("code", {}, `${key}=${value}`), " "]),
    ),
  );
  return part("Settings of the defense", element("ul", { class: "settings" }, ...parts));
}

function attackParts(card, board) {
  const words = (name) => inWords("attack", board.methods[board.columns.indexOf(name)]);
  const rows = Object.entries(card.attacks).map(([name, place]) => [name, element("code", {}, board.texts[place]), words(name)]);
  if (!rows.length) return [];
  const grid = frame("Settings of the attacks", table("Settings of the attacks", ["attack", "resolved", "in words"], rows));
  return [element("details", {}, element("summary", {}, "Settings of the attacks"), grid)];
}

function madeParts(card, board) {
  const texts = (places) => places.map((place) => board.texts[place]);
  const facts = [
    ["Seeds", card.seeds.join(", ")],
    ["Plug-in versions", texts(card.versions).join(", ")],
    ["Software", texts(card.software).join("; ")],
    ["Weights (sha256)", texts(card.weights).join(", ")],
    ["Precision and memory", card.conditions.join("; ")],
  ].filter(([, text]) => text);
  const list = facts.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]);
  const made = facts.length ? part("Made with", element("dl", { class: "made" }, ...list)) : [];
  if (!card.command) return made;
  return [...made, ...checkParts(card.check), ...part("To measure this row again", typed(card.command))];
}

function typed(command) {
  return element("pre", { tabindex: "0", "aria-label": "Command" }, element("code", {}, command));
}

function checkParts(check) {
  if (!check.command) return [];
  const time = check.minutes ? `, about ${check.minutes} minutes on one core` : "";
  const text = `${check.images} images${time}: expected between ${check.low} and ${check.high} % under ${check.attack}.`;
  return part("To check this row", typed(check.command), element("p", { class: "caption" }, text));
}
