// What the pages can do beyond plain forms: keys, drafts, focused time, an order by clicking.
"use strict";
(() => {
  document.documentElement.classList.add("has-js");
  const IDLE_MS = 60000;
  const DRAFT_MS = 1200;
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Focused time: while the page is visible, has the focus and somebody is there.
  let focused = 0;
  let last = performance.now();
  let active = last;
  const tick = () => {
    const now = performance.now();
    if (!document.hidden && document.hasFocus() && now - active < IDLE_MS) focused += now - last;
    last = now;
  };
  setInterval(tick, 250);
  for (const name of ["pointermove", "keydown", "scroll", "pointerdown"])
    addEventListener(name, () => { active = performance.now(); }, { passive: true, capture: true });

  // Drafts
  let timer = 0;
  const form = () => $("#question");
  const stamp = () => {
    const field = form()?.elements.focused;
    if (field) { tick(); field.value = String(Math.round(focused)); }
  };
  const saveDraft = async () => {
    const target = form();
    if (!target?.dataset.draft) return;
    const body = new URLSearchParams(new FormData(target));
    const response = await fetch(target.dataset.draft, { method: "POST", body, keepalive: true }).catch(() => null);
    const mark = $(".saved");
    if (mark) mark.textContent = response?.ok ? mark.dataset.saved : mark.dataset.unsaved;
  };
  const changed = () => {
    clearTimeout(timer);
    const mark = $(".saved");
    if (mark) mark.textContent = "";
    timer = setTimeout(saveDraft, DRAFT_MS);
  };
  document.addEventListener("input", (event) => { if (event.target.form && event.target.form === form()) changed(); });

  // Sending. The next question waits here while this one is answered and is shown at once; what the
  // server says about the answer then decides. What does not arrive is sent again until it does, and
  // the page says so. Keys that come before there is a question for them are kept for it.
  const PATIENCE_MS = 15000;
  const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
  let ahead = null;
  let sending = false;
  let shown = false;
  let waiting = null;
  const early = [];
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");
  const question = (root) => $("#question", root)?.dataset.draft;
  const lookAhead = async () => {
    ahead = null;
    const here = question(document);
    if (!here || sending) return;
    const response = await fetch(here.replace(/draft$/, "ahead")).catch(() => null);
    if (response?.status !== 200 || question(document) !== here) return;
    ahead = $("#main", parsed(await response.text()));
  };
  const put = (main) => {
    $("#main").replaceWith(document.adoptNode(main));
    window.htmx?.process($("#main"));
    window.scrollTo(0, 0);
    begin();
  };
  const complete = (target) => {
    const data = new FormData(target);
    const names = [...new Set(all("input[type=radio], select[name^=rank_]", target).map((one) => one.name))];
    return $(".ordering", target)
      ? names.some((name) => data.get(name)) || data.has("choice")
      : names.every((name) => data.has(name));
  };
  const inFlight = (now) => {
    sending = now;
    document.documentElement.toggleAttribute("data-sending", now);
  };
  const unreached = $("#unreached");
  const pause = (milliseconds) => new Promise((go) => {
    setTimeout(go, milliseconds);
    addEventListener("online", go, { once: true });
    $("button", unreached).addEventListener("click", go, { once: true });
  });
  const reply = async (address, options) => {
    const response = await fetch(address, { ...options, signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => null);
    if (!response || response.status === 429 || response.status >= 500) return null;
    return $("#main", parsed(await response.text().catch(() => "")));
  };
  // Who takes an answer back once more takes back two: there the page is only read again.
  const delivered = async (target, body) => {
    const again = target.id === "undo" ? [target.dataset.back, {}] : [target.getAttribute("action"), { method: "POST", body }];
    let said = await reply(target.getAttribute("action"), { method: "POST", body });
    for (let attempt = 0; !said; attempt++) {
      unreached.hidden = false;
      await pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
      said = await reply(...again);
    }
    unreached.hidden = true;
    return said;
  };
  const send = async (target, submitter) => {
    const body = new URLSearchParams(new FormData(target));
    if (submitter?.name) body.set(submitter.name, submitter.value);
    shown = Boolean(ahead) && submitter?.value === "answer" && complete(target);
    inFlight(true);
    if (shown) put(ahead); else target.inert = true;
    const said = await delivered(target, body);
    inFlight(false);
    if (shown && question(said) === question(document)) {
      $(".done").replaceWith(document.adoptNode($(".done", said)));
      for (const told of all(".told", said)) $(".bar").after(document.adoptNode(told));
    } else {
      put(said);
    }
    const next = waiting;
    waiting = null;
    if (next?.target.isConnected) next.target.requestSubmit(next.submitter); else lookAhead();
    pressEarly();
  };
  const busy = () => sending && (!shown || Boolean(waiting));
  const pressEarly = () => {
    if (!form()) early.length = 0;
    while (early.length && !busy()) press(early.shift());
  };
  addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });
  document.addEventListener("submit", (event) => {
    const target = event.target;
    if (!target.matches("#question[data-draft], #undo")) return;
    event.preventDefault();
    const submitter = event.submitter ?? (target === form() ? $("#send") : null);
    if (target === form()) { clearTimeout(timer); stamp(); }
    if (!sending) { send(target, submitter); return; }
    waiting ??= { target, submitter };
    target.inert = true;
  });

  // Boxes that hold more than they show say so, and open
  const measure = () => {
    for (const fold of all(".fold:not(.whole)")) {
      const box = fold.firstElementChild;
      fold.classList.toggle("cut", box.scrollHeight > box.clientHeight + 8);
      fold.classList.toggle("end", box.scrollTop + box.clientHeight > box.scrollHeight - 8);
    }
  };
  const whole = (folds, open) => {
    for (const fold of folds) {
      fold.classList.toggle("whole", open);
      $(":scope > .more", fold).setAttribute("aria-expanded", String(open));
    }
    measure();
  };
  document.addEventListener("scroll", (event) => { if (event.target.parentElement?.matches(".fold")) measure(); }, { capture: true, passive: true });
  addEventListener("resize", measure);
  document.addEventListener("toggle", measure, true);
  document.addEventListener("click", (event) => {
    const more = event.target.closest(".fold > .more");
    if (more) whole([more.parentElement], !more.parentElement.matches(".whole"));
  });

  // The view that somebody chose stays
  const restoreView = () => {
    const chosen = localStorage.getItem("view");
    const input = chosen && document.getElementById("view-" + chosen);
    if (input) input.checked = true;
  };
  document.addEventListener("change", (event) => {
    if (event.target.name !== "view") return;
    localStorage.setItem("view", event.target.value);
    measure();
  });

  // What somebody opened or closed stays so while a page keeps itself up to date
  const opened = new Map();
  document.addEventListener("htmx:beforeSwap", () => { for (const one of all("details[id]")) opened.set(one.id, one.open); });
  document.addEventListener("htmx:afterSwap", () => { for (const one of all("details[id]")) if (opened.has(one.id)) one.open = opened.get(one.id); });

  // Light or dark, at once
  document.addEventListener("click", (event) => {
    const button = event.target.closest("#theme-form button");
    if (!button) return;
    event.preventDefault();
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `theme=${root.dataset.theme}; path=/; max-age=100000000; samesite=lax`;
  });

  // Ranking: an array of ranks, each an array of places
  let order = [];
  const card = (place) => $(`.answer[data-place="${place}"]`);
  const letter = (place) => card(place).dataset.letter;
  const readOrder = () => {
    const ranks = new Map();
    for (const select of all("select[name^=rank_]")) {
      if (!select.value) continue;
      const rank = Number(select.value);
      if (!ranks.has(rank)) ranks.set(rank, []);
      ranks.get(rank).push(Number(select.name.slice(5)));
    }
    order = [...ranks.keys()].sort((a, b) => a - b).map((rank) => ranks.get(rank));
  };
  const button = (text, label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "quiet";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.title = label;
    made.addEventListener("click", () => { act(); showOrder(); changed(); });
    return made;
  };
  const remove = (place) => { order = order.map((rank) => rank.filter((p) => p !== place)).filter((rank) => rank.length); };
  const move = (index, by) => {
    const to = index + by;
    if (to < 0 || to >= order.length) return;
    [order[index], order[to]] = [order[to], order[index]];
  };
  const showOrder = () => {
    const list = $(".order");
    if (!list) return;
    for (const select of all("select[name^=rank_]")) select.value = "";
    for (const mark of all(".rank-next")) {
      mark.classList.remove("ranked");
      $("span", mark).textContent = mark.dataset.next;
      delete $("h2", mark.closest(".answer")).dataset.rank;
    }
    list.replaceChildren();
    order.forEach((rank, index) => rank.forEach((place, within) => {
      $(`select[name=rank_${place}]`).value = String(index + 1);
      const mark = $(".rank-next", card(place));
      mark.classList.add("ranked");
      $("span", mark).textContent = list.dataset.ranked.replace("{rank}", index + 1);
      $("h2", card(place)).dataset.rank = String(index + 1);
      const item = document.createElement("li");
      item.draggable = true;
      item.dataset.index = String(index);
      item.classList.toggle("tied", within > 0);
      const name = (text) => text.replace("{letter}", letter(place));
      const label = document.createElement("span");
      label.textContent = `${index + 1}. ${letter(place)}`;
      item.append(label);
      if (index > 0 && within === 0) item.append(button("\u2190", name(list.dataset.up), () => move(index, -1)));
      if (index < order.length - 1 && within === 0) item.append(button("\u2192", name(list.dataset.down), () => move(index, 1)));
      if (index > 0 && within === 0) item.append(button("=", list.dataset.tie, () => { order[index - 1].push(...rank); order.splice(index, 1); }));
      if (within > 0) item.append(button("\u2260", list.dataset.untie, () => { remove(place); order.splice(index + 1, 0, [place]); }));
      item.append(button("\u00d7", name(list.dataset.remove), () => remove(place)));
      item.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", String(index)));
      item.addEventListener("dragover", (event) => event.preventDefault());
      item.addEventListener("drop", (event) => {
        event.preventDefault();
        const from = Number(event.dataTransfer.getData("text/plain"));
        if (!Number.isInteger(from) || !order[from]) return;
        const [moved] = order.splice(from, 1);
        order.splice(index, 0, moved);
        showOrder();
        changed();
      });
      list.append(item);
    }));
  };
  const rankNext = (place) => {
    if (order.flat().includes(place)) remove(place); else order.push([place]);
    showOrder();
    changed();
  };
  document.addEventListener("click", (event) => {
    const next = event.target.closest(".rank-next");
    if (next) rankNext(Number(next.closest(".answer").dataset.place));
    const start = event.target.closest(".start-from");
    if (start) {
      const text = form().elements.better;
      text.value = $(".raw pre", card(start.dataset.place)).textContent;
      text.focus();
      changed();
    }
    if (event.target.closest("#show-keys")) $("#keys").showModal();
  });

  // Ratings: digits fill the current line
  const lines = () => all(".question .line");
  const mark = (index) => lines().forEach((line, i) => line.classList.toggle("current", i === index));
  const current = () => Math.max(0, lines().findIndex((line) => line.classList.contains("current")));
  const rate = (value) => {
    const line = lines()[current()];
    const input = line && $(`input[value="${value}"]`, line);
    if (!input) return false;
    input.click();
    mark(Math.min(current() + 1, lines().length - 1));
    lines()[current()].scrollIntoView({ block: "nearest" });
    return true;
  };

  const typing = (element) => element.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  const view = () => {
    const inputs = all(".views input");
    const next = inputs[(inputs.findIndex((input) => input.checked) + 1) % inputs.length];
    if (next) next.click();
  };
  const press = (key) => {
    if (key === "v") return view();
    if (key === "?") return $("#keys")?.showModal();
    if (key === "n") return $("[data-focus=n]")?.focus();
    if (key === "a") return whole(all(".fold.cut, .fold.whole"), !$(".fold.whole"));
    if ($(".question.rating") && /^[1-5]$/.test(key)) return rate(key);
    if ($(".question.rating") && key === "ArrowDown") return mark(Math.min(current() + 1, lines().length - 1));
    if ($(".question.rating") && key === "ArrowUp") return mark(Math.max(current() - 1, 0));
    if ($(".order") && key === "=" && order.length > 1) { order[order.length - 2].push(...order.pop()); showOrder(); return changed(); }
    if ($(".order") && key === "-") { const tail = order.at(-1); if (tail) { remove(tail.at(-1)); showOrder(); changed(); } return undefined; }
    if (key === "Enter") return $("#send")?.click();
    const target = $(`[data-key="${CSS.escape(key)}"]`);
    if (!target) return false;
    target.click();
    if (key === "s") $("select[name=skip_reason]")?.focus();
    if (key === "e") form().elements.better.focus();
    return true;
  };
  document.addEventListener("keydown", (event) => {
    const on = event.target;
    if (event.key === "Escape" && on.blur && typing(on)) { on.blur(); return; }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { $("#send")?.click(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("dialog[open]")) return;
    if (typing(on)) return;
    if (event.key === "Enter" && on.closest("button, a, summary")) return;
    if (busy()) { early.push(event.key); event.preventDefault(); return; }
    if (press(event.key) !== false) event.preventDefault();
  });

  // A link or a token that is shown once
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy-link");
    if (!button) return;
    const field = $("input", button.parentElement);
    field.select();
    if (navigator.clipboard) await navigator.clipboard.writeText(field.value);
    else document.execCommand("copy");  // plain http from another machine has no clipboard
    button.textContent = button.dataset.done;
  });

  // The tab of this page is in sight where not all fit
  const tab = $(".tabs [aria-current]");
  if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;

  const begin = () => {
    focused = 0;
    last = active = performance.now();
    clearTimeout(timer);
    restoreView();
    readOrder();
    showOrder();
    measure();
    lookAhead();
    if (lines().length) mark(Math.max(0, lines().findIndex((line) => !$("input:checked", line))));
  };
  document.addEventListener("htmx:afterSettle", begin);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
})();
