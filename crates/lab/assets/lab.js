// Comfort only: shows how many lines arrived since the page was made, and reloads on demand.
"use strict";
(() => {
  const live = document.querySelector(".live");
  if (!live) return;
  const known = Number(live.dataset.documents);
  const format = new Intl.NumberFormat("en");
  const firstPage = !new URLSearchParams(location.search).has("cursor");
  const look = async () => {
    if (document.hidden) return;
    try {
      const stats = await (await fetch("/api/v1/stats")).json();
      const fresh = stats.documents - known;
      if (fresh <= 0) return;
      if (known === 0) return void location.reload();
      const link = document.createElement("a");
      link.href = firstPage ? location.href : "/";
      link.textContent = `${format.format(fresh)} new ↻`;
      live.replaceChildren(`${format.format(stats.documents)} stored · `, link);
      live.classList.add("fresh");
    } catch {
      live.textContent = "the lab does not answer";
    }
  };
  setInterval(look, 2000);
  document.addEventListener("visibilitychange", look);
})();
