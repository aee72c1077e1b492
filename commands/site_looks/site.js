// Enlarge a figure by mouse or keyboard; the dialog closes by a click or Escape.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".cell_output img")) {
    const enlarge = () => {
      const dialog = document.createElement("dialog");
      dialog.className = "enlarged";
      dialog.setAttribute("aria-label", "enlarged figure");
      dialog.append(Object.assign(new Image(), { src: figure.src, alt: figure.alt }));
      dialog.addEventListener("click", () => dialog.close());
      dialog.addEventListener("close", () => dialog.remove());
      document.body.append(dialog);
      dialog.showModal();
    };
    figure.tabIndex = 0;
    figure.addEventListener("click", enlarge);
    figure.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        enlarge();
      }
    });
  }
  // The keyboard reaches what scrolls; the search button is called what stands on it, "Search" and its keys.
  for (const table of document.querySelectorAll(".bd-article table")) table.tabIndex = 0;
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
});
