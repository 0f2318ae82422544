"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const messages = byId("messages"), form = byId("ask"), question = byId("question"), keyRow = byId("key-row");
  const history = [];
  const HISTORY_MESSAGES = 10;
  let running = null, answers = 0;
  let language = stored("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
  const text = () => window.JEEVES_TEXTS[language];

  // Markdown of a model is untrusted: parsed, then sanitized. Images are left out; links must be ordinary addresses.
  const policy = {
    USE_PROFILES: { html: true }, FORBID_TAGS: ["img", "style", "form", "input", "button", "video", "audio", "svg"],
    FORBID_ATTR: ["style", "id", "name", "class"], ALLOWED_URI_REGEXP: /^https?:\/\//i, RETURN_TRUSTED_TYPE: true,
  };
  const trusted = (html) => window.DOMPurify.sanitize(html, policy);

  function stored(name) {
    try { return sessionStorage.getItem(`jeeves.${name}`); } catch { return null; }
  }
  function store(name, value) {
    try { sessionStorage.setItem(`jeeves.${name}`, value); } catch { /* private window: kept for this page only */ }
  }
  function element(tag, className, content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content;
    return made;
  }

  function speak() {
    document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
    for (const node of document.querySelectorAll("[data-text]")) node.textContent = text()[node.dataset.text];
    question.placeholder = text().placeholder;
    messages.setAttribute("aria-label", text().conversation);
    const examples = byId("examples");
    examples.replaceChildren(...text().examples.map((example) => {
      const item = element("li"), button = element("button", "", example);
      button.type = "button";
      button.addEventListener("click", () => { question.value = example; form.requestSubmit(); });
      item.append(button);
      return item;
    }));
    tellServed();
  }

  function headers() {
    const key = byId("key").value.trim();
    return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  }

  async function tellServed() {
    try {
      const response = await fetch("/v1/admin/status", { headers: headers() });
      if (!response.ok) return;
      const status = await response.json();
      const parts = status.index ? [text().served(status.model ? status.model.id : "–", status.index.documents)] : [text().noIndex];
      if (status.problem) parts.push(text().starting);
      byId("served").textContent = parts.join(" · ");
    } catch { /* the page works without */ }
  }

  function render(body, markdown, prefix, citations) {
    body.innerHTML = trusted(window.marked.parse(markdown, { gfm: true, breaks: false }));
    for (const link of body.querySelectorAll("a")) { link.target = "_blank"; link.rel = "noopener noreferrer nofollow"; }
    if (citations) linkMarkers(body, prefix, new Set(citations.map((citation) => String(citation.number))));
    for (const block of body.querySelectorAll("pre")) {
      const button = element("button", "copy", text().copy);
      button.type = "button";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(block.querySelector("code").textContent);
        button.textContent = text().copied;
      });
      block.append(button);
    }
  }

  function linkMarkers(body, prefix, numbers) {
    const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
    const nodes = [];
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest("code, a")) nodes.push(walker.currentNode);
    for (const node of nodes) {
      const pieces = node.data.split(/\[(\d)\]/);
      if (pieces.length === 1) continue;
      node.replaceWith(...pieces.map((piece, index) => {
        if (index % 2 === 0) return piece;
        if (!numbers.has(piece)) return `[${piece}]`;
        const link = element("a", "marker", `[${piece}]`);
        link.href = `#${prefix}-${piece}`;
        return link;
      }));
    }
  }

  function showSources(item, prefix, citations) {
    const box = element("div", "sources"), list = element("ol");
    box.append(element("h3", "", text().sources), list);
    for (const citation of citations) {
      const line = element("li");
      line.id = `${prefix}-${citation.number}`;
      line.value = citation.number;
      const title = citation.section && citation.section !== citation.title ? `${citation.title} › ${citation.section}` : citation.title;
      if (/^https?:\/\//i.test(citation.url)) {
        const link = element("a", "", title);
        link.href = citation.url; link.target = "_blank"; link.rel = "noopener noreferrer";
        line.append(link);
      } else line.append(element("span", "", title));
      line.append(" ", element("span", "path", [citation.source_path, citation.licence].filter(Boolean).join(" · ")));
      list.append(line);
    }
    item.append(box);
  }

  function showMeta(item, extension) {
    const meta = element("p", "meta"), rung = element("span", "rung", text().rungs[extension.rung] || extension.rung);
    if (extension.rung !== "full") rung.classList.add("lower");
    meta.append(rung, ` ${extension.model_version}`);
    if (extension.grounded === false) meta.append(` · ${text().unsupported}`);
    item.append(meta);
  }

  // Ratings decide on a canary, corrections become training data once somebody has reviewed them.
  function showRating(item, responseId) {
    const row = element("div", "rate"), told = element("span", "told"), correction = element("div", "correction");
    const right = element("textarea"), send = element("button", "", text().sendCorrection);
    told.setAttribute("role", "status");
    right.rows = 3;
    right.maxLength = 8000;
    right.placeholder = text().correction;
    right.setAttribute("aria-label", text().correction);
    send.type = "button";
    correction.hidden = true;
    correction.append(right, send);
    const give = async (feedback) => {
      const response = await fetch("/v1/feedback", {
        method: "POST", headers: headers(), body: JSON.stringify({ response_id: responseId, ...feedback }),
      }).catch(() => null);
      const problem = response?.ok ? "" : response ? await problemOf(response) : text().unreachable;
      told.textContent = problem ? text().failed + problem : text().thanks;
      return !problem;
    };
    const buttons = ["up", "down"].map((rating) => {
      const button = element("button", rating, text()[rating]);
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", async () => {
        if (!(await give({ rating }))) return;
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        correction.hidden = rating === "up";
        if (rating === "down") correction.scrollIntoView({ block: "nearest" });
      });
      return button;
    });
    send.addEventListener("click", async () => {
      if (right.value.trim() && (await give({ rating: "down", corrected_answer: right.value.trim() }))) correction.hidden = true;
    });
    row.append(...buttons, told);
    item.append(row, correction);
  }

  function showDiagnosis(item, diagnosis, prefix) {
    const found = diagnosis.findings, masked = found.masked.reduce((sum, value) => sum + value.count, 0);
    const facts = [text().confidence[found.confidence], found.failing_stage && text().stage(found.failing_stage), masked && text().masked(masked)];
    item.append(element("p", "cause", found.cause), element("p", "facts", facts.filter(Boolean).join(" · ")));
    if (found.evidence.length) {
      const lines = found.evidence.map((line) => `${String(line.line).padStart(6)}  ${line.text}`);
      const block = element("pre", "evidence");
      block.append(element("code", "", lines.join("\n")));
      item.append(block);
    }
    if (found.fix.length) {
      const steps = element("ol");
      steps.append(...found.fix.map((step) => element("li", "", step)));
      item.append(steps);
    }
    if (!diagnosis.explanation) return;
    const body = element("div");
    item.append(body);
    render(body, diagnosis.explanation, prefix, diagnosis.citations);
    if (diagnosis.citations.length) showSources(item, prefix, diagnosis.citations);
    showRating(item, diagnosis.id);
  }

  async function diagnose(file) {
    const { item, body, prefix } = turn(`${text().log} ${file.name}`);
    try {
      const response = await fetch("/v1/diagnose", {
        method: "POST", headers: { ...headers(), "Content-Type": "application/octet-stream" }, body: file, signal: running.signal,
      });
      const answer = await answered(response);
      const diagnosis = await answer.json();
      showDiagnosis(item, diagnosis, prefix);
      const told = [...diagnosis.findings.fix, diagnosis.explanation].filter(Boolean).join("\n");
      history.push({ role: "user", content: diagnosis.findings.cause }, { role: "assistant", content: told || diagnosis.findings.cause });
    } catch (error) {
      showFailure(item, error);
    }
    body.remove();
    busy(false);
    item.scrollIntoView({ block: "nearest" });
  }

  function turn(asked) {
    byId("welcome").hidden = true;
    messages.append(element("li", "mine", asked));
    const item = element("li", "theirs"), body = element("div", "waiting");
    item.append(body);
    messages.append(item);
    item.scrollIntoView({ block: "nearest" });
    running = new AbortController();
    busy(true);
    return { item, body, prefix: `source-${++answers}` };
  }

  async function answered(response) {
    if (response.ok) return response;
    if (response.status === 401) { keyRow.hidden = false; throw new Error(text().needKey); }
    throw new Error(text().failed + (await problemOf(response)));
  }

  // OpenAI's routes and ours have different bodies for errors; a proxy before the gateway has none.
  async function problemOf(response) {
    const body = await response.json().catch(() => ({}));
    return body.error?.message || body.detail || `HTTP ${response.status}`;
  }

  function showFailure(item, error) {
    item.append(element("p", "failed", error.name === "AbortError" ? text().stopped : error.message));
  }

  async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      buffer += value;
      let end;
      while ((end = buffer.indexOf("\n\n")) >= 0) {
        const data = buffer.slice(0, end).replace(/^data: /, "");
        buffer = buffer.slice(end + 2);
        if (data !== "[DONE]") yield JSON.parse(data);
      }
    }
  }

  async function ask(asked) {
    const { item, body, prefix } = turn(asked);
    history.push({ role: "user", content: asked });
    let answer = "", responseId = "", extension = null, pending = false;
    const refresh = () => { pending = false; render(body, answer, prefix, null); };
    try {
      const response = await fetch("/v1/chat/completions", {
        method: "POST", headers: headers(), signal: running.signal,
        body: JSON.stringify({ model: "jeeves", stream: true, messages: history.slice(-HISTORY_MESSAGES - 1) }),
      });
      for await (const event of events(await answered(response))) {
        if (event.error) throw new Error(text().broken + event.error.message);
        responseId = event.id || responseId;
        answer += event.choices[0]?.delta?.content || "";
        extension = event.jeeves || extension;
        if (!pending) { pending = true; requestAnimationFrame(refresh); }
      }
    } catch (error) {
      showFailure(item, error);
    }
    await new Promise(requestAnimationFrame);
    body.classList.remove("waiting");
    render(body, answer, prefix, extension ? extension.citations : null);
    if (extension?.citations.length) showSources(item, prefix, extension.citations);
    if (extension) { showMeta(item, extension); showRating(item, responseId); }
    if (answer) history.push({ role: "assistant", content: answer }); else history.pop();
    busy(false);
    item.scrollIntoView({ block: "nearest" });
  }

  function busy(is) {
    byId("send").hidden = is;
    byId("stop").hidden = !is;
    byId("log").disabled = is;
    if (!is) { running = null; question.focus(); tellServed(); }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = question.value.trim();
    if (!asked || running) return;
    question.value = "";
    question.rows = 1;
    ask(asked);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
  });
  question.addEventListener("input", () => { question.rows = Math.min(8, question.value.split("\n").length); });
  byId("log").addEventListener("click", () => byId("log-file").click());
  byId("log-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file && !running) diagnose(file);
    event.target.value = "";
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("language").addEventListener("click", () => {
    language = language === "zh" ? "en" : "zh";
    store("language", language);
    speak();
  });
  byId("clear").addEventListener("click", () => {
    running?.abort();
    history.length = 0;
    messages.replaceChildren();
    byId("welcome").hidden = false;
    question.focus();
  });
  byId("key").value = stored("key") || "";
  byId("key").addEventListener("change", (event) => store("key", event.target.value));
  speak();
  question.focus();
})();
