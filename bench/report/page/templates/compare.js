// Two rows of a board: the paired tests that the file came with, from either side.

const NOTE =
  "First minus second on the same images, in points with the paired 95 % interval. First and second " +
  "better: images on which one is right more often than the other. p: exact McNemar at one draw of " +
  "independent images, else a permutation of signs by image or block; Holm over this table.";

/** `+12.3` as `-12.3`: what it is from the other side. */
function otherSide(text) {
  if (Number.parseFloat(text) === 0) return text;
  return text.startsWith("-") ? `+${text.slice(1)}` : `-${text.slice(1)}`;
}

/** A test of the pair (b, a) as one of (a, b). */
function turned(test) {
  return {
    ...test,
    difference: otherSide(test.difference),
    low: otherSide(test.high),
    high: otherSide(test.low),
    gains: test.losses,
    losses: test.gains,
    draws: test.draws.split(" and ").reverse().join(" and "),
  };
}

/** Why two rows are not compared where one of them is blank, in the words of the command. */
function blanks(board, labels) {
  return board.columns.flatMap((attack) => {
    const rows = labels.map((label) => found(board, label, attack)).filter((row) => !row.measured);
    const reason = rows.map((row) => `${row.defense}: ${row.note}`).join("; ");
    return reason ? [{ attack, reason }] : [];
  });
}

/** The tests of two rows, and the columns in which they are not compared, first minus second. */
function versus(board, first, second) {
  const places = [first, second].map((label) => board.order.indexOf(label));
  const [low, high] = places[0] < places[1] ? places : [places[1], places[0]];
  const own = (row) => row.first === String(low) && row.second === String(high);
  const tests = rowsOf(board, "tests").filter(own);
  const bars = rowsOf(board, "bars").filter(own);
  const none = bars.some((bar) => bar.attack === "every column");
  const inOrder = (a, b) => board.columns.indexOf(a.attack) - board.columns.indexOf(b.attack);
  return {
    tests: (places[0] === low ? tests : tests.map(turned)).sort(inOrder),
    bars: none ? bars : [...bars, ...blanks(board, [first, second])].sort(inOrder),
  };
}

/** Fill the selects with the rows of a board, and show the comparison that the address names. */
function showComparison(section, board, state) {
  for (const select of section.querySelectorAll("[data-pair]")) {
    if (select.options.length === 1) {
      select.append(...board.order.map((label) => element("option", { value: label }, label)));
    }
    select.value = state[select.dataset.pair];
  }
  const result = section.querySelector("[data-result]");
  result.replaceChildren(...comparison(board, state.first, state.second));
}

function comparison(board, first, second) {
  if (!first || !second) return [element("p", { class: "caption" }, "Choose two rows: the test is paired, image by image.")];
  if (first === second) return [element("p", { class: "caption" }, "The same row twice; choose two.")];
  const { tests, bars } = versus(board, first, second);
  const header = ["attack", "first", "second", "first minus second", "p", "after Holm", "first better", "second better", "n", "seeds", "draws", "test"];
  const value = (label, attack) => {
    const row = found(board, label, attack);
    return figure(row.measured, row.low, row.high);
  };
  const rows = tests.map((test) => [
    test.attack,
    value(first, test.attack),
    value(second, test.attack),
    figure(test.difference, test.low, test.high),
    test.p,
    test.holm,
    test.gains,
    test.losses,
    test.n,
    test.seeds,
    test.draws,
    test.test,
  ]);
  const parts = [verdict(tests, first, second)];
  if (rows.length) {
    const label = `${first} against ${second}`;
    parts.push(frame(label, table(label, header, rows)), element("p", { class: "caption" }, NOTE));
  }
  if (bars.length) {
    const items = bars.map((bar) => element("li", {}, element("b", {}, `${bar.attack}: `), bar.reason));
    parts.push(element("details", {}, element("summary", {}, `Not compared: ${bars.length}`), element("ul", {}, ...items)));
  }
  return parts;
}

/** The worst case's test in a sentence, as it stands in the table. */
function verdict(tests, first, second) {
  const worst = tests.find((test) => test.attack === "worst case");
  if (!worst) return element("p", {}, "The worst cases of these two rows are not compared; why stands below.");
  return element(
    "p",
    { class: "verdict" },
    "Worst case: ",
    element("b", {}, first),
    " minus ",
    element("b", {}, second),
    " is ",
    element("b", {}, worst.difference),
    ` points [${worst.low}, ${worst.high}], p ${worst.p}, after Holm ${worst.holm}.`,
  );
}

/** From a card: this row is the first, the second is to be chosen. */
function compareWith(label) {
  go({ first: label });
  const select = document.querySelector('.board.shown [data-pair="second"]');
  select.scrollIntoView({ block: "center" });
  select.focus();
}
