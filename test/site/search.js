// Every word must occur; a word in a title counts more than one in the text.
function find(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const hits = [];
  for (const s of sections) {
    const title = (s.page + " " + s.title).toLowerCase();
    const text = s.text.toLowerCase();
    let score = 0;
    for (const w of words) {
      const inTitle = title.includes(w), times = text.split(w).length - 1;
      if (!inTitle && !times) { score = 0; break; }
      score += (inTitle ? 10 : 0) + Math.min(times, 5);
    }
    if (score) hits.push({ s, score });
  }
  return hits.sort((a, b) => b.score - a.score).slice(0, 12).map((h) => h.s);
}

const query = document.getElementById("query");
const list = document.getElementById("hits");

function show() {
  const hits = find(query.value);
  list.replaceChildren(...hits.map((s) => {
    const a = document.createElement("a");
    a.href = root + s.url + (s.id ? "#" + s.id : "");
    a.textContent = s.title;
    const small = document.createElement("small");
    small.textContent = s.page === s.title ? s.url : s.page;
    a.append(small);
    const li = document.createElement("li");
    li.append(a);
    return li;
  }));
  if (query.value.trim() && !hits.length) {
    const li = document.createElement("li");
    li.textContent = "nothing found";
    list.append(li);
  }
  list.hidden = !query.value.trim();
}

query.addEventListener("input", show);
query.addEventListener("keydown", (e) => {
  if (e.key === "Enter") list.querySelector("a")?.click();
  if (e.key === "Escape") { query.value = ""; show(); }
});
document.addEventListener("keydown", (e) => {
  if (e.key === "/" && document.activeElement !== query) { e.preventDefault(); query.focus(); }
});
if (matchMedia("(max-width: 56rem)").matches) document.querySelector(".menu").open = false;
