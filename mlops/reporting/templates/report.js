// A chart with several figures shows the one that is chosen.
"use strict";

for (const choice of document.querySelectorAll("select[data-chooses]")) {
  const area = document.getElementById(choice.dataset.chooses);
  const figures = JSON.parse(document.getElementById(`${area.id}-choices`).textContent);
  // The browser may have kept what was chosen before the page was loaded again.
  choice.selectedIndex = 0;
  choice.addEventListener("change", () => window.mlops.draw(area, figures[choice.selectedIndex]));
}
