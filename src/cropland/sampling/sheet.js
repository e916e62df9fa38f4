"use strict";

const element = id => document.getElementById(id);
const read = id => JSON.parse(element(id).textContent);
const all = selector => [...document.querySelectorAll(selector)];

const SHEET = read("sheet"), WORDS = read("words");
const HEADER = "sample,id,reference,interpreter";
const CELL = '("(?:[^"]|"")*"|[^",]*)', LINE = new RegExp(`^${[CELL, CELL, CELL, CELL].join(",")}$`);
const KEYS = { "1": "1", "0": "0", "?": "?", "？": "?", "/": "?", u: "?" };
const PAUSE_MS = 120_000; // a longer time between two answers is a pause, not work

// All that changes. answers: by the id of a point. tables: the two that are compared, else none. first: the table that
// waits for the second of a comparison. worked: how many answers took how long, for the pace.
const state = {
  name: "", answers: new Map(), isSaved: true, tables: [], first: null, isComparing: false,
  points: SHEET.points, at: 0, rendering: 0, worked: { answers: 0, ms: 0, since: 0 },
};

const filled = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const answered = () => state.points.filter(point => state.answers.has(point.id)).length;

// --- what the browser keeps -----------------------------------------------------------------------------------------

const keyOf = name => `cropland sample ${SHEET.sample} ${name}`;

function keep() {
  const { answers, isSaved, tables } = state;
  const kept = { answers: [...answers], isSaved, tables: tables.map(({ name, answers }) => [name, [...answers]]) };
  try {
    localStorage.setItem(keyOf(state.name), JSON.stringify(kept));
    sessionStorage.setItem(keyOf(""), state.name); // of this tab alone: the next interpreter is asked for a name
  } catch {
    tell(WORDS.notKept);
  }
}

function kept(name) {
  try {
    const { answers, isSaved, tables } = JSON.parse(localStorage.getItem(keyOf(name)));
    return { answers: new Map(answers), isSaved, tables: tables.map(([name, its]) => ({ name, answers: new Map(its) })) };
  } catch {
    return { answers: new Map(), isSaved: true, tables: [] };
  }
}

function nameOfThisTab() {
  try {
    return sessionStorage.getItem(keyOf(""));
  } catch {
    return null;
  }
}

// --- answering ------------------------------------------------------------------------------------------------------

function start(name, given = kept(name)) {
  Object.assign(state, { name, ...given });
  state.points = state.tables.length ? SHEET.points.filter(differs) : SHEET.points;
  state.worked = { answers: 0, ms: 0, since: Date.now() };
  element("start").close();
  keep();
  go(Math.max(0, nextOpen(-1)));
}

function differs({ id }) {
  const [first, second] = state.tables.map(table => table.answers.get(id));
  return first !== undefined && second !== undefined && first !== second;
}

// The next point without an answer, from the beginning again after the last; -1 if there is none.
function nextOpen(at) {
  const order = state.points.map((_, step) => (at + 1 + step) % state.points.length);
  return order.find(each => !state.answers.has(state.points[each].id)) ?? -1;
}

function answer(value) {
  count();
  state.answers.set(state.points[state.at].id, value);
  state.isSaved = false;
  tell("");
  keep();
  const next = nextOpen(state.at);
  go(next < 0 ? state.at : next);
  if (next < 0) tell(WORDS.complete);
}

function count() {
  const { worked } = state, now = Date.now(), spent = now - worked.since;
  worked.since = now;
  if (spent > PAUSE_MS) return;
  worked.answers += 1;
  worked.ms += spent;
}

function go(at) {
  state.at = Math.min(Math.max(at, 0), state.points.length - 1);
  draw();
}

// --- drawing --------------------------------------------------------------------------------------------------------

function draw() {
  const point = state.points[state.at];
  all("figure").forEach((figure, number) => drawView(figure, point.views[number]));
  element("id").textContent = point.id;
  element("place").textContent = point.place;
  element("place").parentElement.hidden = !point.place; // a scene without a coordinate reference system
  element("name").textContent = state.name;
  all("[data-answer]").forEach(button =>
    button.setAttribute("aria-pressed", state.answers.get(point.id) === button.dataset.answer));
  element("others").textContent =
    state.tables.map(({ name, answers }) => `${name}: ${WORDS[`answer${answers.get(point.id)}`]}`).join(" · ");
  drawProgress();
}

function drawView(figure, view) {
  figure.querySelector("img").src = view.pictures[state.rendering];
  drawScale(figure.querySelector(".scale"), view.side);
  for (const line of figure.querySelectorAll("polygon")) line.setAttribute("points", view.middle ? "" : view.outline);
  for (const line of figure.querySelectorAll("path")) line.setAttribute("d", view.middle ? cross(view.middle) : "");
}

// Four lines that lead to a pixel too small to be outlined, and leave it free.
const cross = ([x, y]) => `M${x - 22} ${y}h14M${x + 8} ${y}h14M${x} ${y - 22}v14M${x} ${y + 8}v14`;

// A bar of 1, 2 or 5 times a power of ten, at most a third of the view.
function drawScale(bar, side) {
  const power = 10 ** Math.floor(Math.log10(side / 3));
  const metres = power * [5, 2, 1].find(each => each * power <= side / 3);
  bar.style.width = `${100 * metres / side}%`;
  bar.textContent = metres < 1000 ? `${Number(metres.toPrecision(1))} m` : `${metres / 1000} km`;
}

function drawProgress() {
  const done = answered(), total = state.points.length, { answers, ms } = state.worked;
  const words = [filled(WORDS.point, { at: state.at + 1, total }), filled(WORDS.answered, { done, total })];
  if (answers > 2 && done < total) {
    const rate = answers / ms * 60_000;
    words.push(filled(WORDS.pace, { rate: Number(rate.toPrecision(2)), minutes: Math.ceil((total - done) / rate) }));
  }
  Object.assign(element("bar"), { value: done, max: total });
  element("progress").textContent = words.join(" · ");
}

function toggleRendering() {
  if (!element("rendering")) return;
  state.rendering = 1 - state.rendering;
  element("rendering").setAttribute("aria-pressed", state.rendering === 1);
  draw();
}

function tell(sentence) {
  element(element("start").open ? "refused" : "message").textContent = sentence;
}

// --- CSV ------------------------------------------------------------------------------------------------------------

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([asCsv()], { type: "text/csv" }));
  link.download = state.tables.length ? "resolved.csv" : `answers_${state.name.replace(/[^\p{L}\p{N}.-]+/gu, "_")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // some browsers read it only then
  state.isSaved = true;
  keep();
}

function asCsv() {
  const quoted = text => /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const rows = state.points.filter(({ id }) => state.answers.has(id))
    .map(({ id }) => [SHEET.sample, id, state.answers.get(id), state.name].map(quoted).join(","));
  return [HEADER, ...rows, ""].join("\n");
}

// The name and the answers of a file; throws the sentence that says why it cannot be used.
function parsed(file, text) {
  const [header, ...lines] = text.replace(/^\ufeff/, "").split(/\r?\n/);
  if (header !== HEADER) throw filled(WORDS.header, { file, header: HEADER });
  const ids = new Set(SHEET.points.map(point => point.id)), table = { name: null, answers: new Map() };
  lines.forEach((text, number) => {
    if (text) addLine(table, text, ids, { file, text, line: number + 2 });
  });
  if (!table.answers.size) throw filled(WORDS.empty, { file });
  return table;
}

function addLine(table, text, ids, where) {
  const cells = text.match(LINE)?.slice(1).map(cell => cell.replace(/^"(.*)"$/, "$1").replaceAll('""', '"'));
  const [sample, id, reference, name] = cells ?? [];
  if (cells && sample !== SHEET.sample)
    throw filled(WORDS.otherSample, { ...where, theirs: sample, ours: SHEET.sample });
  if (!ids.has(id) || !["1", "0", "?"].includes(reference) || !name.trim()) throw filled(WORDS.damaged, where);
  if (table.answers.has(id)) throw filled(WORDS.twice, { ...where, id });
  if (name !== (table.name ??= name)) throw filled(WORDS.names, { ...where, first: table.name, second: name });
  table.answers.set(id, reference);
}

async function open(files) {
  tell("");
  try {
    if (files.length > 2) throw filled(WORDS.tooMany, { count: files.length });
    const tables = await Promise.all(files.map(async file => parsed(file.name, await file.text())));
    if (state.first && tables.length === 1) tables.unshift(state.first);
    if (tables.length === 2) compare(tables);
    else if (state.isComparing) wait(tables[0]);
    else resume(tables[0], files[0].name);
  } catch (refusal) {
    if (typeof refusal !== "string") throw refusal;
    tell(refusal);
  }
}

function wait(table) {
  state.first = table;
  tell(filled(WORDS.second, { first: table.name }));
}

function compare(tables) {
  const [first, second] = tables.map(table => table.name);
  if (first === second) throw filled(WORDS.sameName, { name: first });
  state.first = null;
  const differ = [...tables[0].answers].some(([id, value]) => (tables[1].answers.get(id) ?? value) !== value);
  if (!differ) throw filled(WORDS.agree, { first, second });
  const name = `${first} + ${second}`;
  start(name, { ...kept(name), tables });
  tell("");
}

// An answer that is already there stays: a file that is older than the page must not undo work.
function resume(table, file) {
  const isNew = element("start").open;
  if (!isNew && state.name !== table.name)
    throw filled(WORDS.otherName, { file, theirs: table.name, name: state.name });
  const own = isNew ? kept(table.name) : state;
  const taken = [...table.answers].filter(([id]) => !own.answers.has(id));
  const left = [...table.answers].filter(([id, value]) => own.answers.has(id) && own.answers.get(id) !== value).length;
  const isSaved = own.isSaved && (own.answers.size === 0 || taken.length === 0);
  start(table.name, { answers: new Map([...own.answers, ...taken]), isSaved, tables: own.tables });
  tell(filled(WORDS.merged, { taken: taken.length, file, left }));
}

// --- keys, buttons, leaving -----------------------------------------------------------------------------------------

function onKey(event) {
  if (element("start").open || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in KEYS && event.repeat) return; // a key that is held down judges one point
  if (key in KEYS) answer(KEYS[key]);
  else if (key === "Backspace" || key === "ArrowLeft") go(state.at - 1);
  else if (key === "ArrowRight") go(state.at + 1);
  else if (key === "n") toggleRendering();
  else return;
  event.preventDefault();
}

function onLeaving(event) {
  if (state.isSaved) return;
  event.preventDefault();
  event.returnValue = true; // what browsers before 2024 look at
}

function askName() {
  element("who").value = "";
  element("refused").textContent = "";
  element("start").showModal();
}

function choose(isComparing) {
  Object.assign(state, { isComparing, first: isComparing ? state.first : null });
  element("file").click();
}

function listen() {
  addEventListener("keydown", onKey);
  addEventListener("beforeunload", onLeaving);
  all("[data-answer]").forEach(button => button.addEventListener("click", () => answer(button.dataset.answer)));
  element("back").addEventListener("click", () => go(state.at - 1));
  element("forward").addEventListener("click", () => go(state.at + 1));
  element("rendering")?.addEventListener("click", toggleRendering);
  element("save").addEventListener("click", save);
  all(".open").forEach(button => button.addEventListener("click", () => choose(false)));
  all(".compare").forEach(button => button.addEventListener("click", () => choose(true)));
  element("file").addEventListener("change", async ({ target }) => {
    await open([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
  element("name").addEventListener("click", askName);
  element("start").addEventListener("close", () => state.name || askName());
  element("start").addEventListener("submit", event => {
    event.preventDefault();
    start(element("who").value.trim().replace(/\s+/g, " "));
  });
}

listen();
if (nameOfThisTab()) start(nameOfThisTab());
else askName();
