// One choice of tab for all equations, remembered from page to page.
document.addEventListener("DOMContentLoaded", () => {
  const choose = (kind) =>
    document.querySelectorAll(`.tabs > input[data-kind="${kind}"]`).forEach((input) => (input.checked = true));
  document.querySelectorAll(".tabs > input").forEach((input) =>
    input.addEventListener("change", () => {
      choose(input.dataset.kind);
      input.nextElementSibling.scrollIntoView({ block: "nearest" });
      try { localStorage.setItem("minivid-tab", input.dataset.kind); } catch { /* not allowed: not remembered */ }
    }));
  try { choose(localStorage.getItem("minivid-tab")); } catch { /* not allowed */ }
});
// A page opened as a file may not read other files, and a summary of each result would.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
