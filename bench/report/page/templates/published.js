// What was published on a data set: its tables filter by any word of a line.

/** Show the lines that hold the text, in any case, of the table that is chosen or of all. */
function filterClaims(section) {
  const text = section.querySelector("input").value.trim().toLowerCase();
  const chosen = section.querySelector("select").value;
  let shown = 0;
  for (const part of section.querySelectorAll("[data-heading]")) {
    const rows = [...part.querySelectorAll(".published tbody tr")];
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text);
    const left = rows.filter((row) => !row.hidden).length;
    part.hidden = !left || (chosen !== "" && chosen !== part.dataset.heading);
    shown += part.hidden ? 0 : left;
  }
  const all = section.querySelectorAll(".published tbody tr").length;
  const count = shown === all ? `${all} lines` : `${shown} of ${all} lines`;
  section.querySelector(".count").textContent = count;
  return count;
}

/** Sorting, filter and download of a data set's published figures, once it is looked at. */
function enlivenClaims(section, dataset) {
  if (alive.has(section)) return;
  alive.add(section);
  section.querySelectorAll(".published").forEach(makeSortable);
  for (const control of section.querySelectorAll("input, select")) {
    control.addEventListener("input", () => say(filterClaims(section)));
  }
  section.querySelector("[data-download]").addEventListener("click", () => {
    download(`${dataset.name}-published.csv`, csv(dataset, "published"));
  });
  filterClaims(section);
}
