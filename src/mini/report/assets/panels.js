// What was asked and how it went: the head of the page, failures, the time line of the workers, importance, details.
mini.facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

mini.command = (run) => {
  const quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`);
  return (run.asked.command || []).map((word, i) => (i ? quote(String(word)) : String(word).split("/").slice(-2).join("/"))).join(" ");
};

mini.bar = (run) => {
  const order = ["done", "failed", "timeout", "lost", "unreadable", "cancelled", "running", "queued"];
  const said = Object.entries(run.counts).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  return h("div", { class: "progress" },
    h("div", { class: "bar", role: "img", "aria-label": said.map(([state, count]) => `${count} ${state}`).join(", ") },
      said.map(([state, count]) => h("span", { class: mini.stateClass(state), style: { "flex-grow": count } }))),
    h("div", { class: "legend" }, said.map(([state, count]) => h("span", {}, h("i", { class: mini.stateClass(state) }), `${count.toLocaleString()} ${state}`))));
};

mini.head = (model, actions) => {
  const [run] = model.runs, many = model.runs.length > 1;
  const title = many ? `${model.runs.length} runs compared` : run.id;
  const git = run.asked.git;
  const took = run.began ? (run.ended || model.generated) - run.began : NaN;
  const hours = run.seconds.map(([gpu, seconds]) => `${mini.duration(seconds)} on ${gpu || "CPU"}`).join(", ");
  const top = h("div", { class: "title" }, actions?.back || null, h("h1", {}, title), many ? null : h("span", { class: `state big ${mini.stateClass(run.state)}` }, run.state), h("div", { class: "actions" }, actions?.buttons || []));
  if (many) return h("header", { class: "head" }, top, h("div", { class: "runs" }, model.runs.map((one, i) => h("div", { class: "run" }, h("i", { class: "dot", style: { background: mini.palette(i) } }), h("strong", {}, one.id), h("span", { class: `state ${mini.stateClass(one.state)}` }, one.state), mini.bar(one), h("code", {}, mini.command(one))))));
  return h("header", { class: "head" }, top,
    h("code", { class: "command" }, mini.command(run)), mini.bar(run),
    mini.facts([["Began", mini.time(run.began)], [run.ended ? "Took" : "Running for", mini.duration(took)], ["Jobs' time", hours], ["Engine", run.engines.join(", ")],
      ["Commit", git ? `${String(git.commit).slice(0, 9)}${git.dirty ? " + changes" : ""}` : ""], ["Task", run.asked.task]]),
    run.damaged.length ? h("details", { class: "warning" }, h("summary", {}, mini.plural(run.damaged.length, "file") + " could not be read"), h("ul", {}, run.damaged.map((text) => h("li", {}, text)))) : null);
};

mini.failures = (view) => {
  const { model } = view;
  if (!model.failures.length) return null;
  const total = model.failures.reduce((sum, one) => sum + one.rows.length, 0);
  const groups = model.failures.slice(0, 100).map((one) => {
    const logs = one.rows.slice(0, 6).filter((row) => model.link(row, "log.txt")).map((row) => h("a", { href: model.link(row, "log.txt"), target: "_blank", rel: "noopener noreferrer" }, `log of ${model.name(row)}`));
    return h("details", { class: "failure" },
      h("summary", {}, h("span", { class: "count" }, one.rows.length.toLocaleString()), h("span", { class: "what" }, one.text)),
      h("div", { class: "more" }, h("div", { class: "inline" }, h("button", { type: "button", onclick: () => view.set({ failure: view.s.failure === one.text ? "" : one.text }) }, "Only these jobs"), logs),
        one.traceback ? h("pre", { tabindex: "0", role: "region", "aria-label": "Traceback" }, one.traceback) : null));
  });
  const card = mini.card("Failures", `${mini.plural(total, "job")}, by the last line`, null, ...groups);
  card.classList.add("wide", "failures");
  return card;
};

mini.importanceCard = (view) => {
  const body = h("div", { class: "bars" });
  const note = h("p", { class: "note" });
  const card = mini.card("What mattered", null, null, note, body);
  card.update = () => {
    const { model } = view, found = model.importance?.[view.s.metric];
    card.hidden = model.swept.filter((c) => c.varies).length < 2;
    body.replaceChildren();
    if (!found) {
      note.textContent = model.importance === null ? "Needs scikit-learn: pip install 'hydra-apparatus[report]', then mini report" :
        model.importance === undefined ? "" : `Too few finished jobs, or ${mini.label(view.s.metric)} is the same for all`;
      return;
    }
    note.textContent = `for ${mini.label(view.s.metric)}: permutation importance over ${mini.plural(found.jobs, "job")}` + (found.fit === null ? "" : `, fit R² ${found.fit.toFixed(2)}`);
    for (const [name, share, deviation] of found.values.slice(0, 12)) {
      body.append(h("div", { class: "bar-row" }, h("span", { class: "name", title: name }, mini.label(name)),
        h("span", { class: "track" }, h("span", { class: "fill", style: { width: `${Math.max(0.5, 100 * share)}%` } })),
        h("span", { class: "value" }, `${Math.round(100 * share)} %`, deviation >= 0.005 ? h("small", {}, ` ±${Math.round(100 * deviation)}`) : null)));
    }
  };
  return card;
};

mini.timeline = (view) => {
  const canvas = h("canvas", { role: "img" });
  const note = h("p", { class: "note" });
  const card = mini.card("Time line", null, null, note, h("div", { class: "plot" }, canvas));
  card.classList.add("wide");
  let boxes = [];
  card.update = () => {
    const { model } = view, started = model.byName.get("started").num, seconds = model.byName.get("seconds").num, host = model.byName.get("host").raw;
    const now = model.generated, rows = [];
    for (let i = 0; i < model.jobs; i++) if (Number.isFinite(started[i])) rows.push(i);
    card.hidden = rows.length < 2;
    if (card.hidden) return;
    rows.sort((a, b) => started[a] - started[b]);
    const end = (row) => (Number.isFinite(seconds[row]) ? started[row] + seconds[row] : model.state[row] === "running" ? now : started[row]);
    const lanes = new Map(); // by host, when each of its workers is free
    const place = new Map();
    let from = Infinity, to = -Infinity;
    for (const row of rows) {
      const key = `${model.runOf ? model.runOf.raw[row] : ""} ${host[row] || ""}`;
      if (!lanes.has(key)) lanes.set(key, []);
      const free = lanes.get(key);
      let lane = free.findIndex((t) => t <= started[row] + 0.02);
      if (lane < 0) lane = free.length;
      free[lane] = end(row);
      place.set(row, [key, lane]);
      from = Math.min(from, started[row]);
      to = Math.max(to, end(row));
    }
    const offsets = new Map();
    let total = 0;
    for (const [key, free] of lanes) { offsets.set(key, total); total += free.length + (lanes.size > 1 && lanes.size < 40 ? 0.5 : 0); }
    const lane = Math.max(2, Math.min(18, 260 / total)), height = Math.round(total * lane) + 26;
    const drawn = mini.canvas(canvas, height);
    if (!drawn) return;
    const { context, width } = drawn, x = (t) => ((t - from) / (to - from || 1)) * (width - 2) + 1;
    const kept = new Set(view.rows);
    boxes = [];
    for (const row of rows) {
      const [key, n] = place.get(row), y = (offsets.get(key) + n) * lane, w = Math.max(1, x(end(row)) - x(started[row]) - 0.6);
      context.globalAlpha = kept.has(row) ? 1 : 0.15;
      context.fillStyle = mini.stateColour(model.state[row]);
      context.beginPath();
      context.roundRect(x(started[row]), y + 1, w, Math.max(1, lane - 2), Math.min(3, w / 2));
      context.fill();
      boxes.push([row, x(started[row]), y, w, lane]);
    }
    context.globalAlpha = 1;
    context.fillStyle = colour("muted");
    context.textBaseline = "bottom";
    const room = Math.max(2, Math.floor(width / 130));
    for (let i = 0; i <= room; i++) {
      context.textAlign = i === 0 ? "left" : i === room ? "right" : "center";
      context.fillText(i ? `+${mini.duration(((to - from) * i) / room)}` : "0", (width * i) / room, height - 2);
    }
    const busy = rows.reduce((sum, row) => sum + end(row) - started[row], 0);
    const hosts = new Set(rows.map((row) => host[row])).size;
    const workers = [...lanes.values()].reduce((sum, free) => sum + free.length, 0);
    note.textContent = `${mini.plural(workers, "worker")}${hosts > 1 ? ` on ${mini.plural(hosts, "host")}` : ""}, ${Math.round((100 * busy) / (workers * (to - from || 1)))} % busy`;
    canvas.setAttribute("aria-label", note.textContent);
  };
  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: px, offsetY: py } = event;
    const hit = boxes.findLast(([, x, y, w, lane]) => px >= x - 1 && px <= x + w + 1 && py >= y && py < y + lane);
    if (!hit) return mini.tip.hide();
    const { model } = view, [row] = hit;
    mini.tip.show(event, [`${model.name(row)} ${model.state[row]}`, model.given(row), model.byName.get("seconds").text(row), model.byName.get("host").text(row)]);
  });
  canvas.addEventListener("pointerleave", () => mini.tip.hide());
  return card;
};

// What differs between the runs that are compared, and what is the same for all jobs.
mini.details = (model) => {
  const facts = (run) => ({ command: mini.command(run), task: run.asked.task, overrides: (run.asked.overrides || []).join("  "), engines: run.engines.join(", "), commit: run.asked.git?.commit, "changed since the commit": run.asked.git ? (run.asked.git.dirty ? "yes" : "no") : "not in a repository",
    python: run.asked.python, "uv.lock": run.asked.lock, images: run.asked.images.map((one) => one.key).join(", "), host: run.asked.host, user: run.asked.user, folder: run.asked.cwd });
  const all = model.runs.map(facts), names = Object.keys(all[0]);
  const cell = (value) => (value === null || value === undefined ? "" : String(value));
  const grid = (caption, rows, heads) => h("div", { class: "scroll free", tabindex: "0", role: "region", "aria-label": caption }, h("table", { class: "grid" }, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "name")), heads.map((one) => h("th", { scope: "col" }, one)))), h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((one) => h("td", {}, cell(one))))))));
  const parts = [];
  if (model.runs.length > 1) {
    const rows = names.filter((name) => new Set(all.map((one) => cell(one[name]))).size > 1).map((name) => [name, ...all.map((one) => one[name])]);
    for (const column of model.columns.filter((c) => ["config", "swept"].includes(c.group))) {
      const of = model.runs.map((run) => new Set(column.raw.filter((_, i) => model.runOf.raw[i] === run.id)));
      if (of.every((set) => set.size <= 3) && new Set(of.map((set) => [...set].sort().join())).size > 1) rows.push([column.name, ...of.map((set) => [...set].map((v) => (v === null ? "—" : cell(v))).join(", "))]);
    }
    const card = mini.card("What differs", rows.length ? "" : "Nothing that was asked", null, rows.length && grid("What differs between the runs", rows, model.runs.map((one) => one.id)));
    card.classList.add("wide");
    parts.push(card);
  } else {
    const card = mini.card("What was asked", null, null, mini.facts(names.map((name) => [name, cell(all[0][name])])));
    card.classList.add("wide", "asked");
    parts.push(card);
  }
  const constants = Object.entries(model.constants);
  if (constants.length) {
    const card = h("section", { class: "card wide", "aria-label": "The same for all jobs" }, h("details", {}, h("summary", {}, `The same for all jobs: ${mini.plural(constants.length, "value")}`), grid("Values that all jobs share", constants.map(([name, value]) => [name, value]), ["value"])));
    parts.push(card);
  }
  return parts;
};
