"use strict";
// Stored text is only ever put into text nodes: it cannot become markup.
const WORDS = {
  en: {
    question: "Question", search: "Search", calls: "Scorer calls", more: "More", where: "Condition on fields",
    deadline: "Answer within (ms)", key: "API key", other: "中文", busy: "Searching …", none: "Nothing found.",
    rank: "Rank", first: "first guess", exact: "exact", estimate: "estimate", lost: "The server does not answer.",
    partial: "partial answer: the time was over",
    cost: (a) => `${a.calls} calls, ${a.milliseconds} ms. Scoring everything: ${a.everything.calls} calls` +
      (a.everything.milliseconds ? `, about ${a.everything.milliseconds} ms.` : "."),
  },
  zh: {
    question: "问题", search: "搜索", calls: "打分次数", more: "更多", where: "字段条件",
    deadline: "时限（毫秒）", key: "API 密钥", other: "English", busy: "正在搜索……", none: "没有找到结果。",
    rank: "名次", first: "初步排序", exact: "精确", estimate: "估计", lost: "服务器没有响应。",
    partial: "部分结果：时间已到",
    cost: (a) => `打分 ${a.calls} 次，用时 ${a.milliseconds} 毫秒。全部打分需 ${a.everything.calls} 次` +
      (a.everything.milliseconds ? `，约 ${a.everything.milliseconds} 毫秒。` : "。"),
  },
};
const FIRST = 200; // of the first guess are asked for, to say which rank a hit has there
const at = (id) => document.getElementById(id);
let language = navigator.language.startsWith("zh") ? "zh" : "en";
let shown = null; // the last answer, to say it again in the other language
let newest = 0;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function marked(text, words) {
  const found = element("p", undefined, "text");
  const lower = text.toLowerCase();
  const same = lower.length === text.length ? lower : text; // a few letters grow in lower case
  let from = 0;
  while (from < text.length) {
    let next = null;
    for (const word of words) {
      const start = same.indexOf(word, from);
      if (start >= 0 && (!next || start < next.start || (start === next.start && word.length > next.word.length))) {
        next = { start, word };
      }
    }
    if (!next) break;
    found.append(text.slice(from, next.start), element("mark", text.slice(next.start, next.start + next.word.length)));
    from = next.start + next.word.length;
  }
  found.append(text.slice(from));
  return found;
}

function show() {
  const say = WORDS[language];
  document.documentElement.lang = language;
  for (const place of document.querySelectorAll("[data-say]")) place.textContent = say[place.dataset.say];
  at("language").textContent = say.other;
  at("language").lang = language === "en" ? "zh" : "en";
  at("hits").replaceChildren();
  at("notes").replaceChildren();
  if (!shown) return;
  at("status").textContent = (shown.hits.length ? "" : say.none + " ") + say.cost(shown) + (shown.complete ? "" : ` (${say.partial})`);
  for (const note of shown.notes) at("notes").append(element("li", note));
  shown.hits.forEach((hit, i) => {
    const item = element("li");
    const facts = element("div", undefined, "facts");
    facts.append(element("strong", `${say.rank} ${i + 1}`));
    facts.append(element("span", `${say.first} ${hit.first_rank}`));
    facts.append(element("span", `${hit.exact ? "" : "~"}${hit.score.toFixed(3)} ${hit.exact ? say.exact : say.estimate}`));
    facts.append(element("span", hit.id));
    for (const [name, value] of Object.entries(hit.fields)) {
      if (value !== null) facts.append(element("span", `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`));
    }
    item.append(facts, marked(hit.text, hit.words));
    at("hits").append(item);
  });
}

function fail(message) {
  shown = null;
  show();
  at("status").textContent = "";
  at("error").textContent = message;
  at("error").hidden = false;
}

async function search(event) {
  event.preventDefault();
  const turn = ++newest;
  const key = at("key").value.trim();
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const body = { query: at("query").value, calls: +at("calls").value, deadline_ms: +at("deadline").value };
  if (at("where").value.trim()) body.where = at("where").value;
  at("error").hidden = true;
  at("status").textContent = WORDS[language].busy;
  try {
    const ask = (asked) => fetch("v1/search", { method: "POST", headers, body: JSON.stringify({ ...body, ...asked }) });
    const [answer, guess] = await Promise.all([ask({}), ask({ calls: 0, k: FIRST })]);
    const [found, first] = [await answer.json(), await guess.json()];
    if (turn !== newest) return; // a later question was asked meanwhile
    if (!answer.ok) return fail(found.detail);
    const ranks = new Map((first.hits || []).map((hit, i) => [hit.id, i + 1]));
    for (const hit of found.hits) hit.first_rank = ranks.get(hit.id) || `> ${FIRST}`;
    shown = found;
    show();
  } catch {
    if (turn === newest) fail(WORDS[language].lost);
  }
}

at("search").addEventListener("submit", search);
at("calls").addEventListener("input", () => { at("budget").value = at("calls").value; });
at("calls").addEventListener("change", () => { if (shown) at("search").requestSubmit(); });
at("language").addEventListener("click", () => { language = language === "en" ? "zh" : "en"; show(); });
show();
