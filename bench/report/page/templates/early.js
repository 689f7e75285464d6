// Before anything is drawn: scripts run here, and the theme is the one that was chosen last.
document.documentElement.classList.add("scripted");
try {
  const chosen = localStorage.getItem("purifybench-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that stores nothing for files: the system's theme holds.
}
