"use strict";
(() => {
const { rows, classes, key, earlier } = JSON.parse(document.getElementById("check-data").textContent);
const find = (id) => document.getElementById("check-" + id), section = document.getElementById("check");
const SKIPPED = -1, COLUMNS = ["row", "digest", "checked_label", "strategy", "probability", "batch"], MAX_HISTORY = 1000;
// A class is chosen by the digit that it is named by, else by its number from 1.
const named = classes.every((name) => /^\d{1,3}$/.test(name));
const keys = named ? classes : classes.map((name, label) => String(label + 1));
const many = keys.some((name) => name.length > 1), search = find("search");
let answers = rows.map(() => null); // for each row a class, SKIPPED, or null where nobody looked
let history = []; // for each step back a list of [place, answer before]
let place = 0; // rows.length is the summary
let active = null; // the class that Enter chooses
let kept = true, downloaded = true;

const isLabel = (answer) => answer !== null && answer !== SKIPPED;
const fits = (answer) => answer === null || (Number.isInteger(answer) && answer >= SKIPPED && answer < classes.length);

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
function notice(text) { find("notice").textContent = text; find("notice").hidden = false; }
function save() {
  try { localStorage.setItem(key, JSON.stringify({ answers, history })); }
  catch (error) {
    if (kept) notice("This browser does not keep the progress of this page (a private window, perhaps). Download checked.csv before you close it.");
    kept = false;
  }
}
function restore() {
  try {
    const saved = JSON.parse(localStorage.getItem(key));
    if (saved && saved.answers.length === rows.length && saved.answers.every(fits)) {
      answers = saved.answers;
      history = saved.history.filter((step) => step.length && step.every(([at, answer]) => at in rows && fits(answer)));
    }
  } catch (error) { /* nothing usable was kept; `save` tells whether anything can be */ }
}
function change(changes) {
  if (!changes.length) return;
  history = [...history, changes.map(([at]) => [at, answers[at]])].slice(-MAX_HISTORY);
  for (const [at, answer] of changes) answers[at] = answer;
  downloaded = false;
  save();
}
function openAfter(from) {
  for (let step = 1; step <= rows.length; step += 1) {
    const at = (from + step) % rows.length;
    if (answers[at] === null) return at;
  }
  return rows.length;
}
function answer(label) {
  if (place === rows.length) return;
  change([[place, label]]);
  find("last").textContent = "Row " + rows[place].row + ": " + (label === SKIPPED ? "skipped" : "“" + classes[label] + "”");
  move(openAfter(place));
}
function undo() {
  const step = history.pop();
  if (step === undefined) return;
  for (const [at, before] of step) answers[at] = before;
  downloaded = false;
  save();
  find("last").textContent = step.length > 1 ? "Undone: " + step.length + " rows" : "Undone: row " + rows[step[0][0]].row;
  move(step[0][0]);
}
function move(to) {
  place = Math.min(Math.max(to, 0), rows.length);
  search.value = "";
  draw();
  filter();
  if (place === rows.length && section.contains(document.activeElement)) find("summary").focus();
}
function draw() {
  const done = place === rows.length, checked = answers.filter(isLabel).length;
  const skipped = answers.filter((one) => one === SKIPPED).length, open = rows.length - checked - skipped;
  find("card").hidden = done; find("summary").hidden = !done;
  find("progress").value = checked + skipped;
  find("count").textContent = checked + " checked, " + skipped + " skipped, " + open + " open";
  find("back").disabled = place === 0; find("next").disabled = done; find("skip").disabled = done;
  find("undo").disabled = !history.length; find("clear").disabled = checked + skipped === 0;
  if (done) {
    find("end").textContent = open ? "End of the rows" : "All rows seen";
    find("result").textContent = checked + " of " + rows.length + " rows are checked, " + skipped + " skipped" + (open ? ", " + open + " still open." : ".");
    find("hard").hidden = skipped === 0; find("reopen").hidden = checked === rows.length;
    find("reopen").textContent = open ? "Go to the open rows" : "Check the skipped rows again";
    return;
  }
  const row = rows[place], now = answers[place];
  find("place").textContent = place + 1 + " of " + rows.length + " (row " + row.row + ")" + (now === SKIPPED ? ", skipped" : "");
  find("text").hidden = row.text === null; find("text").textContent = row.text; find("text").scrollTop = 0;
  const image = find("image");
  image.hidden = row.image === null;
  if (row.image !== null) { image.src = row.image; image.alt = "Image of row " + row.row; } else image.removeAttribute("src");
  find("given").hidden = !find("show").checked || row.given === null;
  find("given").textContent = row.given === null ? "" : "Given label: " + classes[row.given];
  buttons.forEach((button, label) => button.setAttribute("aria-pressed", String(now === label)));
}

const buttons = classes.map((name, label) => {
  const button = document.createElement("button");
  button.type = "button";
  if (!named) button.append(element("kbd", keys[label]));
  const text = element("span", name);
  text.dir = "auto";
  button.append(text);
  button.addEventListener("click", () => answer(label));
  return button;
});
// How well a class fits what was typed: 0 best, null not at all.
function rank(label, words) {
  const name = classes[label].toLowerCase();
  if (keys[label] === words || name === words) return 0;
  return name.startsWith(words) ? 1 : name.includes(words) ? 2 : keys[label].startsWith(words) ? 3 : null;
}
function filter() {
  if (!many) return;
  const words = search.value.trim().toLowerCase();
  const ranks = classes.map((name, label) => rank(label, words));
  buttons.forEach((button, label) => { button.hidden = ranks[label] === null; });
  const best = [0, 1, 2, 3].map((wanted) => ranks.indexOf(wanted)).find((label) => label !== -1);
  if (!words) find("classes").scrollTop = 0;
  highlight(words && best !== undefined ? best : null);
}
function highlight(label) {
  active = label;
  buttons.forEach((button, other) => button.classList.toggle("active", other === label));
  if (label !== null) buttons[label].scrollIntoView({ block: "nearest" });
  const shown = buttons.filter((button) => !button.hidden).length;
  find("found").textContent = shown + " of " + classes.length + " classes" + (label === null ? "" : "; Enter chooses “" + classes[label] + "”");
}
function highlightNext(step) {
  const shown = classes.map((name, label) => label).filter((label) => !buttons[label].hidden);
  if (shown.length) highlight(shown[(shown.indexOf(active) + (active === null && step < 0 ? 0 : step) + shown.length) % shown.length]);
}

function searchKey(event) {
  const empty = search.value === "";
  if (event.key === "Enter") {
    if (event.repeat) return true;
    if (event.shiftKey) answer(SKIPPED); else if (active !== null) answer(active);
  } else if (event.key === "ArrowDown") highlightNext(1);
  else if (event.key === "ArrowUp") highlightNext(-1);
  else if (event.key === "ArrowLeft" && empty) move(place - 1);
  else if (event.key === "ArrowRight" && empty) move(place + 1);
  else if (event.key === "Escape" && empty) search.blur();
  else if (event.key === "Escape") { search.value = ""; filter(); }
  else return false;
  return true;
}
// The key as on a Latin keyboard with digits, where the layout gives something else without Shift.
function keyOf(event) {
  const [, code] = /^(?:Key|Digit)(\w)$/.exec(event.code) || [];
  return /^[a-z\d/]$/i.test(event.key) || !code || event.shiftKey ? event.key.toLowerCase() : code.toLowerCase();
}
function pageKey(event) {
  const key = keyOf(event), searchable = many && place < rows.length;
  if (event.key === "ArrowLeft") move(place - 1);
  else if (event.key === "ArrowRight") move(place + 1);
  // A key held down is not row after row of the same class, on a focused button neither.
  else if (event.repeat) return event.target.matches("button");
  else if (key === "s") answer(SKIPPED);
  else if (key === "u") undo();
  else if (searchable && key === "/") search.focus();
  else if (searchable && /^\d$/.test(key)) { search.focus(); search.value = key; filter(); }
  else if (!many && keys.includes(key)) answer(keys.indexOf(key));
  else return false;
  return true;
}
document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey || section.closest("[hidden]") !== null) return;
  const inSearch = event.target === search;
  if (event.ctrlKey || event.metaKey) {
    if (event.key === "z" && inSearch && search.value === "") { event.preventDefault(); undo(); }
    return;
  }
  if (!inSearch && (!find("shortcuts").checked || event.target.matches("input:not([type=checkbox]), select, textarea"))) return;
  if (inSearch ? searchKey(event) : pageKey(event)) event.preventDefault();
});

function field(value) {
  const text = String(value);
  return /[",\r\n]|^\s|\s$/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
function csv() {
  const lines = rows.map((row, at) => [
    row.row, row.digest, isLabel(answers[at]) ? classes[answers[at]] : "", row.strategy, row.probability ?? "", row.batch,
  ]);
  return [COLUMNS, ...earlier, ...lines].map((line) => line.map(field).join(",")).join("\n") + "\n";
}
function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "checked.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  downloaded = true;
}
function parse(text) {
  const lines = [];
  let line = [], value = "", quoted = false;
  const endLine = () => { line.push(value); lines.push(line); line = []; value = ""; };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (quoted && char === '"' && text[at + 1] === '"') { value += '"'; at += 1; }
    else if (char === '"') quoted = !quoted;
    else if (quoted) value += char;
    else if (char === ",") { line.push(value); value = ""; }
    else if (char === "\n") endLine();
    else if (char !== "\r") value += char;
  }
  if (value || line.length) endLine();
  return lines;
}
function load(text) {
  const [head, ...lines] = parse(text.replace(/^\uFEFF/, ""));
  const columns = ["row", "digest", "checked_label"].map((name) => (head || []).indexOf(name));
  if (columns.includes(-1)) { notice("This file is no checked.csv: it must have the columns row, digest and checked_label."); return; }
  const carried = new Set(earlier.map((line) => line[0] + "," + line[1]));
  const found = new Map(), unknown = [], others = [];
  for (const line of lines) {
    const [row, digest, name] = columns.map((column) => line[column] ?? "");
    if (!name || carried.has(row + "," + digest)) continue;
    const exact = rows.findIndex((one) => one.digest === digest && String(one.row) === row);
    const at = exact !== -1 ? exact : rows.findIndex((one) => one.digest === digest), label = classes.indexOf(name);
    if (at === -1) others.push(row);
    else if (label === -1) unknown.push(name);
    else if (found.has(at) && found.get(at) !== label) { notice("Nothing was loaded: the file has two labels for row " + row + "."); return; }
    else found.set(at, label);
  }
  change([...found].filter(([at, label]) => answers[at] !== label));
  const parts = ["Loaded the labels of " + found.size + " rows."];
  if (others.length) parts.push(others.length + " other lines are of rows that are not on this page, such as row " + others[0] + "; the download will not have them.");
  if (unknown.length) parts.push(unknown.length + " lines have a label that is not among the classes, such as “" + unknown[0] + "”.");
  notice(parts.join(" "));
  move(openAfter(-1));
}

find("keys").textContent = (many
  ? "/ or a digit goes to the box; type a name or a number, the up and down arrows choose another class, Enter takes it, Shift+Enter skips, Ctrl+Z in the empty box undoes, Escape leaves it. Outside the box: "
  : "Digits choose the class, ") + "s skips, u undoes, the left and right arrows go to another row.";
find("classes").append(...buttons);
find("classes").classList.toggle("many", many);
find("classes").classList.toggle("short", classes.every((name) => name.length < 4));
find("find").hidden = !many;
search.addEventListener("input", filter);
find("image").addEventListener("load", () => find("image").classList.toggle("tiny", find("image").naturalHeight <= 128));
find("show").addEventListener("change", draw);
find("back").addEventListener("click", () => move(place - 1));
find("next").addEventListener("click", () => move(place + 1));
find("skip").addEventListener("click", () => answer(SKIPPED));
find("undo").addEventListener("click", undo);
find("download").addEventListener("click", download);
find("reopen").addEventListener("click", () => {
  if (!answers.includes(null)) change(answers.flatMap((one, at) => (one === SKIPPED ? [[at, null]] : [])));
  move(openAfter(-1));
});
find("clear").addEventListener("click", () => {
  change(answers.flatMap((one, at) => (one === null ? [] : [[at, null]])));
  find("last").textContent = "Started over; Undo brings the answers back";
  move(0);
});
find("load").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", async () => {
  const file = find("file").files[0];
  if (file) load(await file.text());
  find("file").value = "";
});
// The same page in another tab.
window.addEventListener("storage", (event) => { if (event.key === key) { restore(); draw(); } });
window.addEventListener("beforeunload", (event) => { if (!kept && !downloaded) event.preventDefault(); });
restore();
save();
move(openAfter(-1));
})();
