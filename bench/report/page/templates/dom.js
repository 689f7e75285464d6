// Elements from data. Text is only ever set as text: nothing here reads markup.

/** An element with properties or attributes and children; a string child becomes a text node. */
function element(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "class") made.className = value;
    else if (name === "click") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

/** A table from texts or nodes; the first cell of each row heads it. */
function table(caption, header, rows) {
  const head = element("tr", {}, ...header.map((text) => element("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, first),
      ...rest.map((cell) => element("td", {}, cell)),
    ),
  );
  return element(
    "table",
    {},
    element("caption", { class: "hidden-text" }, caption),
    element("thead", {}, head),
    element("tbody", {}, ...body),
  );
}

/** What may be wider than the screen: it scrolls inside, by keyboard too. */
function frame(label, ...children) {
  const given = { class: "frame", tabindex: "0", role: "region", "aria-label": label };
  return element("div", given, ...children);
}

/** `83.2` with its interval beside it. */
function figure(value, low, high) {
  if (value === "") return "";
  const interval = element("span", { class: "interval" }, `[${low}, ${high}]`);
  return element("span", {}, element("b", {}, value), " ", interval);
}

/** Say something to those who do not see it. */
function say(text) {
  document.getElementById("status").textContent = text;
}
