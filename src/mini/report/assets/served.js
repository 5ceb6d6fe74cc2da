// Pages that are served: a run that is followed while it goes on, and the list of all runs.
mini.ask = async (path, given = {}) => {
  const answer = await fetch(path, { cache: "no-store", ...given });
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 500) || answer.statusText);
  return answer;
};

mini.say = (text) => {
  const place = document.querySelector(".said");
  if (place) place.textContent = text;
};

mini.post = async (path, question) => {
  if (!confirm(question)) return;
  mini.say("Asked…");
  try {
    const answer = await mini.ask(path, { method: "POST", headers: { "X-Mini": "1" } });
    mini.say(await answer.text());
  } catch (error) {
    mini.say(`That did not work: ${error.message}`);
  }
};

mini.contents = async (settings, tag) => {
  const answer = await mini.ask(settings.api, tag ? { headers: { "If-None-Match": tag } } : {});
  if (!answer) return null;
  const buffer = await answer.arrayBuffer(), length = new DataView(buffer).getUint32(0, true);
  const values = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { tag: answer.headers.get("ETag"), model: new Model(values, buffer.slice(4 + length)) };
};

mini.actions = (settings, model) => {
  if (!settings.api) return null;
  const [id] = settings.runs || [], one = settings.runs.length === 1;
  const run = () => model().runs[0];
  const buttons = !one ? [] : run().state === "running"
    ? [h("button", { type: "button", class: "danger", onclick: () => mini.post(`./cancel?run=${encodeURIComponent(id)}`, `Stop ${id}? What is done is kept.`) }, "Cancel")]
    : Object.keys(run().counts).some((state) => state !== "done") ? [h("button", { type: "button", onclick: () => mini.post(`./retry?run=${encodeURIComponent(id)}`, `Run again what is not done of ${id}?`) }, "Retry")] : [];
  return { buttons: [...buttons, h("output", { class: "said" })], back: h("a", { href: "./" }, "All runs") };
};

// Looks for news as often as looking is cheap: a look takes at most a quarter of the time.
mini.follow = async (settings) => {
  const first = await mini.contents(settings);
  const replace = mini.show(first.model, settings);
  const look = async (tag, isRunning) => {
    const began = performance.now();
    let now = { tag, isRunning };
    try {
      const next = document.hidden ? null : await mini.contents(settings, tag);
      if (next) {
        replace(next.model);
        now = { tag: next.tag, isRunning: next.model.runs.some((run) => run.state === "running") };
      }
      mini.say("");
    } catch (error) {
      mini.say(`No news: ${error.message}`);
    }
    setTimeout(() => look(now.tag, now.isRunning), Math.max(now.isRunning ? 1000 : 4000, 3 * (performance.now() - began)));
  };
  setTimeout(() => look(first.tag, first.model.runs.some((run) => run.state === "running")), 1000);
};

mini.list = async (settings) => {
  const root = document.getElementById("page");
  const find = h("input", { type: "search", placeholder: "Find: name, tag, note, override, state", "aria-label": "Find runs", oninput: () => draw() });
  const compare = h("button", { type: "button", class: "first", disabled: true, onclick: () => { location.href = `./run?${[...chosen].map((id) => `run=${encodeURIComponent(id)}`).join("&")}`; } }, "Compare");
  const count = h("output", { class: "count" }), body = h("tbody"), chosen = new Set();
  const head = h("tr");
  const table = h("table", { class: "listing" }, h("caption", { class: "unseen" }, "Runs"), h("thead", {}, head), body);
  root.replaceChildren(h("header", { class: "head" }, h("div", { class: "title" }, h("h1", {}, settings.project), h("div", { class: "actions" }, h("output", { class: "said" })))),
    h("main", {}, h("div", { class: "toolbar", role: "search" }, find, compare, count), h("section", { class: "card wide", "aria-label": "Runs" }, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of runs" }, table))));
  let runs = [], limit = 200;
  const parts = new URLSearchParams(location.hash.slice(1));
  find.value = parts.get("find") || "";
  const draw = () => {
    history.replaceState(null, "", find.value ? `#${new URLSearchParams({ find: find.value })}` : location.pathname);
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fit = runs.filter((run) => words.every((word) => [run.id, run.state, run.task, run.engines.join(" "), run.command, run.tags.join(" "), run.note].join(" ").toLowerCase().includes(word)));
    const isTagged = runs.some((run) => run.tags.length || run.note);
    const heads = ["run", "state", "jobs", "began", "engine", "command", ...(isTagged ? ["tags and notes"] : [])];
    head.replaceChildren(h("th", {}, h("span", { class: "unseen" }, "Chosen")), ...heads.map((one) => h("th", { scope: "col" }, one)));
    count.textContent = mini.plural(fit.length, "run");
    compare.disabled = chosen.size < 2 || chosen.size > 10;
    compare.textContent = chosen.size ? `Compare ${chosen.size}` : "Compare";
    compare.title = compare.disabled ? "Choose two to ten runs" : "";
    const focused = document.activeElement?.dataset?.run;
    body.replaceChildren(...fit.slice(0, limit).map((run) => h("tr", { class: chosen.has(run.id) ? "chosen" : "" },
      h("td", { class: "pick" }, h("input", { type: "checkbox", "data-run": run.id, checked: chosen.has(run.id), "aria-label": `Choose ${run.id}`, onchange: (e) => { if (e.target.checked) chosen.add(run.id); else chosen.delete(run.id); draw(); } })),
      h("td", {}, h("a", { href: `./run?run=${encodeURIComponent(run.id)}` }, run.id)),
      h("td", {}, h("span", { class: `state ${mini.stateClass(run.state)}` }, run.state)),
      h("td", {}, mini.bar(run)), h("td", {}, mini.time(run.began)), h("td", {}, run.engines.join(", ")), h("td", { title: run.command }, h("code", {}, run.command)),
      isTagged ? h("td", { class: "tags" }, run.tags.map((tag) => h("span", {}, tag)), run.note) : null)),
      ...(fit.length > limit ? [h("tr", {}, h("td", { colSpan: 8 }, h("button", { type: "button", onclick: () => { limit += 1000; draw(); } }, `${fit.length - limit} more`)))] : []),
      ...(fit.length ? [] : [h("tr", {}, h("td", { class: "none", colSpan: 8 }, runs.length ? "No run fits." : "There is no run yet."))]));
    if (focused !== undefined) body.querySelector(`input[data-run="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  };
  const look = async (tag) => {
    const began = performance.now();
    let now = tag;
    try {
      const answer = document.hidden ? null : await mini.ask(settings.list, tag ? { headers: { "If-None-Match": tag } } : {});
      if (answer) { runs = await answer.json(); now = answer.headers.get("ETag"); draw(); }
      mini.say("");
    } catch (error) {
      mini.say(`No news: ${error.message}`);
    }
    setTimeout(() => look(now), Math.max(2000, 4 * (performance.now() - began)));
  };
  await look(null);
};
