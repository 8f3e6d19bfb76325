// Zoom and search. Without this script the picture shows everything but does not move.
"use strict";
(() => {
  const svg = document.documentElement;
  const boxes = Array.from(svg.querySelectorAll("g.b")).map((group) => ({
    group,
    rect: group.querySelector("rect"),
    text: group.querySelector("text"),
    start: Number(group.dataset.x),
    width: Number(group.dataset.w),
    depth: Number(group.dataset.d),
    name: group.dataset.n,
  }));
  const PAD = Number(svg.dataset.pad), SPACE = Number(svg.dataset.space), LETTER = Number(svg.dataset.letter);
  const reset = svg.getElementById("reset"), search = svg.getElementById("search"), found = svg.getElementById("found");

  const place = (box, start, width) => {
    const shown = width * SPACE;
    box.rect.setAttribute("x", PAD + start * SPACE);
    box.rect.setAttribute("width", Math.max(shown, 0.1));
    box.text.setAttribute("x", PAD + start * SPACE + 3);
    const letters = Math.floor((shown - 6) / LETTER);
    box.text.textContent =
      letters < 3 ? "" : box.name.length <= letters ? box.name : box.name.slice(0, letters - 1) + "…";
  };

  const zoom = (target) => {
    const end = target.start + target.width, close = 1e-9;
    for (const box of boxes) {
      const isAbove = box.depth < target.depth && box.start <= target.start + close && box.start + box.width >= end - close;
      const isInside = box.depth >= target.depth && box.start >= target.start - close && box.start + box.width <= end + close;
      box.group.style.display = isAbove || isInside ? "" : "none";
      box.group.style.opacity = isAbove ? "0.5" : "";
      if (isAbove) place(box, 0, 1);
      else if (isInside) place(box, (box.start - target.start) / target.width, box.width / target.width);
    }
    reset.style.display = target.depth ? "" : "none";
  };

  const look = (pattern) => {
    let expression = null;
    try {
      expression = pattern ? new RegExp(pattern, "i") : null;
    } catch {
      expression = new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i");
    }
    // Shares of functions that match and are called by none that does.
    let share = 0;
    const covered = [];
    for (const box of [...boxes].sort((one, other) => one.depth - other.depth)) {
      const matches = expression !== null && expression.test(box.name);
      box.rect.classList.toggle("m", matches);
      const isCovered = covered.some(([start, end]) => box.start >= start - 1e-9 && box.start + box.width <= end + 1e-9);
      if (matches && !isCovered) {
        covered.push([box.start, box.start + box.width]);
        share += box.width;
      }
    }
    found.textContent = expression === null ? "" : `found: ${(100 * share).toFixed(2)} %`;
    search.textContent = expression === null ? "search" : "clear search";
    svg.dataset.searching = expression === null ? "" : "1";
  };

  const ask = () => {
    if (svg.dataset.searching) look("");
    else look(window.prompt("functions, a regular expression:") || "");
  };

  for (const box of boxes) box.group.addEventListener("click", () => zoom(box));
  reset.addEventListener("click", () => zoom(boxes[0]));
  search.addEventListener("click", ask);
  window.addEventListener("keydown", (event) => {
    if (event.key === "/" || (event.ctrlKey && event.key === "f")) {
      event.preventDefault();
      ask();
    } else if (event.key === "Escape") {
      look("");
      zoom(boxes[0]);
    }
  });
  search.style.display = "";
})();
