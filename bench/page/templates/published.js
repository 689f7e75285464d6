// What was published on a data set: its tables filter by any word of a line.

/** Show the lines that hold the text, in any case. */
function filterClaims(section) {
  const text = section.querySelector("input").value.trim().toLowerCase();
  const rows = [...section.querySelectorAll(".published tbody tr")];
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text);
  const shown = rows.filter((row) => !row.hidden).length;
  const count = shown === rows.length ? `${shown} lines` : `${shown} of ${rows.length} lines`;
  section.querySelector(".count").textContent = count;
  return count;
}

/** Sorting, filter and download of a data set's published figures, once it is looked at. */
function enlivenClaims(section, dataset) {
  if (alive.has(section)) return;
  alive.add(section);
  section.querySelectorAll(".published").forEach(makeSortable);
  section.querySelector("input").addEventListener("input", () => say(filterClaims(section)));
  section.querySelector("[data-download]").addEventListener("click", () => {
    download(`${dataset.name}-published.csv`, csv(dataset, "published"));
  });
  filterClaims(section);
}
