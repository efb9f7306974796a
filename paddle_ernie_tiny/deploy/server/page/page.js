"use strict";
// The page asks /v1/models once and /v1/predict for every chosen model; texts go nowhere else.

const WORDS = {
  en: {
    other: "中文", otherName: "Switch to Chinese",
    tagline: "Ask one text of several models, side by side.",
    models: "Models", key: "API key", text: "Text", textB: "Second text (for models that compare two), or the context to read",
    similarity: (value) => `Similarity ${value.toFixed(3)}`, vector: (n) => `A vector of ${n} numbers`,
    send: "Predict", hint: "or Ctrl + Enter", examples: "Examples", answers: "Answers",
    footer: "Texts go to this server only and are not logged.",
    latency: (round, inside) => `${round} ms round trip, ${inside} ms in the server`,
    done: (n) => `${n} ${n === 1 ? "answer" : "answers"}`,
    score: "Score", none: "No entities found", unlabelled: "No label", noAnswer: "No answer in this text", more: (n) => `and ${n} more labels`,
    choose: "Choose a model.", unreachable: "The server cannot be reached.", wantsKey: "This server asks for an API key.",
    singles: ["The room is spacious and the staff were kind.", "Breakfast was cold and we waited an hour."],
    pairs: [["How do I reset my password?", "I forgot my password"], ["Is it raining?", "What time is it?"]],
    kinds: { classification: "classification", regression: "score", token_classification: "entities", multi_label: "several labels", reading: "reading", embedding: "vectors" }, pair: "pairs",
    readings: [["Where was Li Hua born?", "Li Hua was born in Dali 🌸. She studies law in Beijing."]],
  },
  zh: {
    other: "English", otherName: "切换到英文",
    tagline: "同一段文字，多个模型并排比较。",
    models: "模型", key: "API 密钥", text: "文本", textB: "第二段文本（用于比较两段文本的模型），或要阅读的文章",
    similarity: (value) => `相似度 ${value.toFixed(3)}`, vector: (n) => `${n} 维向量`,
    send: "预测", hint: "或按 Ctrl + Enter", examples: "示例", answers: "结果",
    footer: "文本只发送到本服务器，不写入日志。",
    latency: (round, inside) => `往返 ${round} 毫秒，服务器内 ${inside} 毫秒`,
    done: (n) => `${n} 个结果`,
    score: "得分", none: "没有找到实体", unlabelled: "没有标签", noAnswer: "文中没有答案", more: (n) => `另有 ${n} 个标签`,
    choose: "请选择一个模型。", unreachable: "无法连接服务器。", wantsKey: "本服务器需要 API 密钥。",
    singles: ["房间很宽敞，服务也热情，下次还住这里。", "早餐是凉的，等了一个小时才办好入住。", "王小明昨天从北京去了上海。"],
    pairs: [["怎么修改密码？", "密码忘了怎么重置"], ["明天会下雨吗", "现在几点了"]],
    kinds: { classification: "分类", regression: "打分", token_classification: "实体", multi_label: "多标签", reading: "阅读理解", embedding: "向量" }, pair: "文本对",
    readings: [["李华出生在哪里？", "李华出生在大理🌸。她在北京学法律，周末喜欢读《红楼梦》。"]],
  },
};
const MOST_BARS = 8;
const $ = (id) => document.getElementById(id);
let models = [];
let language = stored() || (navigator.language.startsWith("zh") ? "zh" : "en");

function stored() {
  try { return localStorage.getItem("language"); } catch { return null; }
}

function element(tag, content, className) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.append(content);
  return made;
}

function say() {
  const words = WORDS[language];
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = words[node.dataset.say];
  $("language").textContent = words.other;
  $("language").setAttribute("aria-label", words.otherName);
  for (const node of document.querySelectorAll("[data-model]")) {
    node.textContent = kindOf(models.find((model) => model.name === node.dataset.model));
  }
  showExamples();
}

function kindOf(model) {
  const words = WORDS[language];
  const kind = words.kinds[model.task_type.replace("pair_", "")] ?? model.task_type;
  return isPair(model) && !reads(model) ? `${kind}, ${words.pair}` : kind;
}

const isPair = (model) => model.task_type.startsWith("pair_");
const reads = (model) => model.task_type === "pair_reading";
const embeds = (model) => model.task_type === "embedding"; // two texts are compared by their vectors
const chosen = () => models.filter((_, i) => $(`model-${i}`).checked);

function showExamples() {
  const pair = chosen().some((model) => isPair(model) || embeds(model));
  $("second").hidden = !pair;
  $("text-b").required = chosen().some(isPair);
  const rows = chosen().some(reads) ? WORDS[language].readings : pair ? WORDS[language].pairs : WORDS[language].singles.map((text) => [text, ""]);
  $("examples").replaceChildren(...rows.map(([text, textB]) => {
    const button = element("button", textB ? `${text} / ${textB}` : text);
    button.type = "button";
    button.addEventListener("click", () => { $("text").value = text; $("text-b").value = textB; predict(); });
    return button;
  }));
}

async function call(path, body) {
  const headers = $("key").value ? { Authorization: `Bearer ${$("key").value}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error(WORDS[language].unreachable);
  }
  const values = await reply.json();
  if (reply.ok) return values;
  if (reply.status === 401) {
    $("key-field").hidden = false;
    throw new Error(WORDS[language].wantsKey);
  }
  const { message, where, remedy } = values.error;
  throw new Error([where, message, remedy].filter(Boolean).join(" · "));
}

async function loadModels() {
  models = (await call("v1/models")).models;
  $("models").replaceChildren(...models.map((model, i) => {
    const box = element("input");
    Object.assign(box, { type: "checkbox", id: `model-${i}`, checked: isPair(model) === isPair(models[0]) });
    box.addEventListener("change", showExamples);
    const kind = element("small");
    kind.dataset.model = model.name;
    const label = element("label", box);
    label.append(element("span", model.name), kind);
    return label;
  }));
  say();
}

async function ask(model) {
  const body = { model: model.name, text: $("text").value };
  if (isPair(model)) body.text_b = $("text-b").value;
  const start = performance.now();
  const texts = [$("text").value, $("text-b").value].filter((text) => text.trim());
  const values = embeds(model)
    ? await call("v1/embed", { model: model.name, texts }) : await call("v1/predict", body);
  return card(model, values, performance.now() - start);
}

function card(model, values, milliseconds) {
  const row = values.results ? values.results[0] : values;
  const made = element("article", element("h3", model.name), "card");
  if (row.embeddings) made.append(element("p", compared(row.embeddings), "verdict"));
  else if (row.entities) made.append(tagged(row.text, row.entities));
  else if (row.n_best) made.append(...quoted(row));
  else if (row.score !== undefined) made.append(element("p", `${WORDS[language].score} ${row.score.toFixed(3)}`, "verdict"));
  else if (row.labels && row.probabilities) made.append(element("p", verdict(row.labels), "verdict"), bars(row.probabilities, row.labels));
  else if (row.probabilities) made.append(element("p", row.label, "verdict"), bars(row.probabilities, [row.label]));
  else made.append(element("p", answerOf(row), "verdict")); // of a kind that an extension brings
  const words = WORDS[language].latency(milliseconds.toFixed(1), values.latency_ms.toFixed(1));
  made.append(element("p", words, "latency"));
  return made;
}

function compared([one, other]) {
  const words = WORDS[language];
  if (!other) return words.vector(one.length);
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  return words.similarity(dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other)));
}

function answerOf(row) {
  const fields = Object.entries(row).filter(([name]) => name !== "text" && name !== "text_b");
  return fields.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(" · ");
}

const verdict = (labels) => labels.join(", ") || WORDS[language].unlabelled;

// Those that the model gives are first: with a threshold for each label another may be more probable.
function bars(probabilities, labels) {
  const rank = ([label]) => (labels.includes(label) ? 0 : 1);
  const sorted = Object.entries(probabilities).sort((a, b) => rank(a) - rank(b) || b[1] - a[1]);
  const list = element("ul", undefined, "bars");
  for (const [label, probability] of sorted.slice(0, MOST_BARS)) {
    const item = element("li", element("span", label), labels.includes(label) ? "given" : undefined);
    const track = element("div", undefined, "track");
    const bar = element("div", undefined, "bar");
    bar.style.width = `${100 * probability}%`;
    track.append(bar);
    track.setAttribute("aria-hidden", "true"); // the number beside it says the same
    item.append(element("span", `${(100 * probability).toFixed(1)} %`, "share"), track);
    list.append(item);
  }
  if (sorted.length > MOST_BARS) list.append(element("li", WORDS[language].more(sorted.length - MOST_BARS), "hint"));
  return list;
}

function quoted(row) { // the answer in its context, then the likeliest ones
  const { noAnswer } = WORDS[language];
  const marks = row.end ? [{ ...row, text: row.answer, label: "" }] : [];
  const shares = row.n_best.map(({ text, probability }) => [text || noAnswer, probability]);
  const verdict = element("p", row.answer || noAnswer, "verdict");
  return [verdict, marked(row.text_b, marks), bars(Object.fromEntries(shares.reverse()), [row.answer || noAnswer])];
}

function tagged(text, entities) {
  const line = marked(text, entities);
  if (entities.length) return line;
  const both = element("div", line);
  both.append(element("p", WORDS[language].none, "hint"));
  return both;
}

function marked(text, entities) {
  const kinds = [...new Set(entities.map((entity) => entity.label))].sort();
  const characters = [...text]; // offsets count characters, JavaScript's strings count UTF-16 units
  const line = element("p", undefined, "tagged");
  let at = 0;
  for (const entity of entities) {
    line.append(characters.slice(at, entity.start).join(""));
    const mark = element("mark", entity.text, `tag-${kinds.indexOf(entity.label) % 4}`);
    mark.append(element("small", `${entity.label} ${(100 * entity.probability).toFixed(0)} %`));
    line.append(mark);
    at = entity.end;
  }
  line.append(characters.slice(at).join(""));
  return line;
}

async function predict() {
  $("message").textContent = "";
  if (!models.length) await loadModels().catch(fail);
  if (!models.length || !$("ask").reportValidity()) return;
  if (!chosen().length) return fail(new Error(WORDS[language].choose));
  $("send").disabled = true;
  const outcomes = await Promise.allSettled(chosen().map(ask));
  $("send").disabled = false;
  const cards = outcomes.filter((outcome) => outcome.status === "fulfilled").map((outcome) => outcome.value);
  const failures = outcomes.filter((outcome) => outcome.status === "rejected").map((outcome) => outcome.reason.message);
  $("answers").replaceChildren(...cards);
  $("results").hidden = !cards.length;
  $("status").textContent = WORDS[language].done(cards.length);
  if (failures.length) fail(new Error([...new Set(failures)].join("\n")));
}

function fail(error) {
  $("message").textContent = error.message;
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
$("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); predict(); }
});
$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  try { localStorage.setItem("language", language); } catch { /* a private window */ }
  say();
});
say();
loadModels().catch(fail);
