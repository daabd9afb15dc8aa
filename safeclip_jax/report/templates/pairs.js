"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 48, at = id => document.getElementById(id);
const pairs = data.pairs, count = data.shown;
let shown = [], page = 0, open = -1;

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}
function picture(pair, name) {
  const made = element("img", undefined, name);
  if (pair.t) made.src = "data:image/webp;base64," + pair.t;
  made.alt = pair.c; made.width = made.height = data.side;
  return made;
}
const number = x => x === null ? "–" : Math.abs(x) < 1e-3 && x !== 0 ? x.toExponential(1) : x.toFixed(3);

for (const [i, name] of data.scores.entries()) at("sort").append(new Option(name, i));
const kinds = { all: () => true, [data.mark]: p => p.f, [`not ${data.mark}`]: p => !p.f };
if (pairs.some(p => p.x)) Object.assign(kinds, { poisoned: p => p.x, [`poisoned, not ${data.mark}`]: p => p.x && !p.f });
for (const name of Object.keys(kinds)) at("filter").append(new Option(name));
const texts = pairs.slice(0, count).map(p => [p.c, p.k, ...(p.r ?? []).map(r => data.reasons[r])].join("\n").toLowerCase());

function select() {
  const words = at("query").value.toLowerCase().split(/\s+/).filter(Boolean), by = +at("sort").value, kind = kinds[at("filter").value];
  shown = [];
  for (let i = 0; i < count; i++)
    if (kind(pairs[i]) && words.every(w => texts[i].includes(w))) shown.push(i);
  const key = i => pairs[i].s[by] ?? -Infinity;
  shown.sort((a, b) => key(b) - key(a) || a - b);
  page = 0;
  draw();
}
function draw() {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  at("place").textContent = `${page + 1} / ${pages} (${shown.length.toLocaleString("en")} pairs)`;
  at("before").disabled = page === 0;
  at("after").disabled = page === pages - 1;
  at("cards").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((i, n) => {
    const p = pairs[i], card = element("button", undefined, p.f ? "card marked" : "card");
    if (p.t) card.append(picture(p));
    card.append(element("span", p.c, "caption"), element("span", `no. ${i + 1}` + (p.f ? ` · ${data.mark}` : ""), p.f ? "bad" : "dim"));
    if (p.x) card.lastChild.textContent += " · poisoned";
    card.onclick = () => show(page * PAGE + n);
    return card;
  }));
}
function figures(title, numbers) {
  if (!numbers.length) return [];
  const box = element("div", undefined, "pairs");
  for (const j of numbers) { const f = element("figure"); f.append(picture(pairs[j]), element("figcaption", pairs[j].c)); box.append(f); }
  return [element("h3", title), box];
}
function past(p) {
  if (!p.h) return [];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  svg.setAttribute("viewBox", "-2 -2 204 44"); svg.setAttribute("width", "204"); svg.setAttribute("height", "44"); svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "P(safe) by epoch: " + p.h.map((v, e) => `${data.epochs[e]}: ${v} %`).join(", "));
  line.setAttribute("points", p.h.map((v, e) => `${200 * e / Math.max(p.h.length - 1, 1)},${40 - .4 * v}`).join(" "));
  line.setAttribute("fill", "none"); line.setAttribute("stroke", "currentColor"); line.setAttribute("stroke-width", "2");
  svg.append(line);
  for (const [e, v] of p.h.entries()) if (p.p[e] === "1") {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    dot.setAttribute("cx", 200 * e / Math.max(p.h.length - 1, 1)); dot.setAttribute("cy", 40 - .4 * v); dot.setAttribute("r", "3"); dot.setAttribute("fill", "currentColor");
    svg.append(dot);
  }
  const first = p.p.indexOf("1"), stayed = p.p.split("1").length - 1;
  const way = first < 0 ? "It never was in the safe pool" : `Let into the safe pool in epoch ${data.epochs[first]}, when ${data.shares[first]} % of all pairs were in it; in it in ${stayed} of ${p.h.length} epochs (dots)`;
  return [element("h3", `P(safe), epochs ${data.epochs[0]} to ${data.epochs.at(-1)}`), svg, element("p", `${way}. In the last epoch ${p.l} % of all pairs had a better score.`, "dim")];
}
function show(n) {
  if (n < 0 || n >= shown.length) return;
  open = n;
  const i = shown[n], p = pairs[i], left = element("div"), right = element("div"), reasons = element("ul"), table = element("table");
  at("name").textContent = `no. ${i + 1}: ${p.k}`;
  if (p.t) left.append(picture(p, "big"));
  left.append(element("p", p.c));
  if (p.f) left.append(element("p", data.mark, "bad"));
  if (p.x) left.append(element("p", "poisoned, says the manifest", "bad"));
  for (const r of p.r ?? []) reasons.append(element("li", data.reasons[r]));
  for (const [d, name] of data.scores.entries()) { const row = table.insertRow(); row.insertCell().textContent = name; row.insertCell().textContent = number(p.s[d]); }
  const scores = element("details"); scores.append(element("summary", "scores"), table);
  right.append(...(p.r?.length ? [element("h3", "Why"), reasons] : []), ...data.beside.flatMap((title, n) => figures(title, p.b[n])), ...past(p), scores);
  const box = element("div", undefined, "detail"); box.append(left, right);
  at("detail").replaceChildren(box);
  at("previous").disabled = n === 0; at("following").disabled = n === shown.length - 1;
  if (!at("dialog").open) at("dialog").showModal();
  if (Math.floor(n / PAGE) !== page) { page = Math.floor(n / PAGE); draw(); }
}
at("query").oninput = at("sort").onchange = at("filter").onchange = select;
at("before").onclick = () => { page--; draw(); };
at("after").onclick = () => { page++; draw(); };
at("previous").onclick = () => show(open - 1);
at("following").onclick = () => show(open + 1);
at("close").onclick = () => at("dialog").close();
at("dialog").onclose = () => { const card = at("cards").children[open - page * PAGE]; if (card) card.focus(); };
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inside = at("dialog").open, typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName ?? "");
  if (inside && event.key === "ArrowLeft") show(open - 1);
  else if (inside && event.key === "ArrowRight") show(open + 1);
  else if (typing || inside) return;
  else if (event.key === "/") { event.preventDefault(); at("query").focus(); }
  else if (event.key === "n") at("after").click();
  else if (event.key === "p") at("before").click();
  else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    const cards = [...at("cards").children], here = cards.indexOf(document.activeElement);
    const next = cards[here < 0 ? 0 : here + (event.key === "ArrowRight" ? 1 : -1)];
    if (next) { event.preventDefault(); next.focus(); }
  }
});
select();
