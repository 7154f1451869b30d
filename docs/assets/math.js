// Typesets the formulas that pymdownx.arithmatex marked as \(...\) or \[...\]; KaTeX is vendored beside this file.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    const source = element.textContent.trim();
    const displayMode = source.startsWith("\\[");
    katex.render(source.slice(2, -2), element, { displayMode, throwOnError: false });
  }
});

// Each block of code has buttons that the theme calls a navigation: they are told apart by number.
document.addEventListener("DOMContentLoaded", () => {
  const name = () => document.querySelectorAll("nav.md-code__nav").forEach((part, index) => part.setAttribute("aria-label", `Code block ${index + 1}`));
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
});

// A table or formula that is wider than the page scrolls by itself: with the keyboard, too.
document.addEventListener("DOMContentLoaded", () => {
  const kinds = { Table: ".md-typeset__scrollwrap", Formula: "div.arithmatex, .katex-display" };
  const reach = () => {
    for (const [kind, places] of Object.entries(kinds)) {
      document.querySelectorAll(places).forEach((part, index) => {
        if (part.scrollWidth <= part.clientWidth) return part.removeAttribute("tabindex");
        part.tabIndex = 0;
        part.setAttribute("role", "group");
        part.setAttribute("aria-label", `${kind} ${index + 1}`);
      });
    }
  };
  reach();
  new MutationObserver(reach).observe(document.body, { childList: true, subtree: true });
  for (const event of ["load", "resize"]) window.addEventListener(event, reach);
});
