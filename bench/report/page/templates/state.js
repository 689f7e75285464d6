// What the page shows is what stands after # in its address, so that any view can be linked.

/** data, board: what is chosen; row: whose card is open; first, second: what is compared. */
const FIELDS = ["data", "board", "row", "first", "second"];
/** What belongs to a choice and ends with it. */
const WITHIN = { data: ["board", "row", "first", "second"], board: ["row", "first", "second"] };

/** The state in the address; what is unknown there is passed over. */
function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const dataset = datasetOf(given.get("data")) ?? DATA.datasets[0];
  const board = boardOf(dataset?.name, given.get("board")) ?? dataset?.boards[0];
  const known = (name) => (board?.order.includes(given.get(name)) ? given.get(name) : "");
  return {
    data: dataset?.name ?? "",
    board: board?.key ?? "",
    row: known("row"),
    first: known("first"),
    second: known("second"),
  };
}

/** The address of the present state with some of it changed. */
function address(changes) {
  const state = { ...readState(), ...changes };
  for (const choice of Object.keys(WITHIN)) {
    if (!(choice in changes)) continue;
    for (const name of WITHIN[choice]) if (!(name in changes)) state[name] = "";
  }
  const shown = FIELDS.filter((name) => state[name]).map((name) => [name, state[name]]);
  return `#${new URLSearchParams(shown)}`;
}

/** Change the state; the page follows at once. */
function go(changes) {
  location.hash = address(changes);
  show();
}
