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
// A formula that is wider than its place is drawn smaller, as long as one can read it; then it scrolls.
const SMALLEST = 0.55;
const fit = () =>
  document.querySelectorAll("div.math > mjx-container, p > span.math > mjx-container").forEach((formula) => {
    formula.style.fontSize = formula.dataset.size ??= formula.style.fontSize; // as MathJax has set it
    const usual = parseFloat(getComputedStyle(formula).fontSize), display = formula.closest("div.math");
    const share = display
      ? display.clientWidth / display.scrollWidth
      : formula.closest("p").clientWidth / formula.getBoundingClientRect().width;
    if (share < 1) formula.style.fontSize = `${usual * Math.max(SMALLEST, 0.99 * share)}px`;
  });
window.addEventListener("load", () => {
  if (!window.MathJax?.startup) return; // a page without formulas
  MathJax.startup.promise.then(() => { fit(); window.addEventListener("resize", fit); });
});
