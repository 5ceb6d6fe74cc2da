// The page of one run or of several: its parts, and, where a server is there, what is new.
mini.toolbar = (view) => {
  const bar = h("div", { class: "toolbar", role: "search" });
  const find = h("input", { type: "search", placeholder: "Find: model=large lr>=1e-3 failed", "aria-label": "Find jobs", spellcheck: false, oninput: () => view.set({ find: find.value }) });
  const left = h("div", { class: "inline" }), right = h("div", { class: "inline chips" }), count = h("output", { class: "count" });
  bar.append(left, find, right, count);
  let key = "";
  bar.update = () => {
    const { model, s } = view;
    if (document.activeElement !== find) find.value = s.find;
    const now = `${s.metric}|${view.lower}|${model.metrics.map((c) => c.name).join()}`;
    if (now !== key) {
      key = now;
      left.replaceChildren(...(model.metrics.length ? [mini.select("Metric", model.metrics.map((c) => [c.name, c.label]), s.metric, (metric) => view.set({ metric, lower: null })),
        h("button", { type: "button", class: "quiet", "aria-label": `${view.lower ? "Lower" : "Higher"} is better: turn round`, title: "Turn round what is better", onclick: () => view.set({ lower: !view.lower }) }, view.lower ? "↓ lower is better" : "↑ higher is better")] : []));
    }
    const chips = Object.entries(s.brush).map(([name, range]) => {
      const text = typeof range[0] === "number" ? `${mini.number(range[0])} … ${mini.number(range[1])}` : range.length ? range.map(mini.short).join(", ") : "nothing";
      return h("button", { type: "button", class: "chip", title: "Let go", onclick: () => view.brush(name, null) }, `${mini.label(name)}: ${text}`, h("span", { "aria-hidden": "true" }, " ×"));
    });
    if (s.failure) chips.push(h("button", { type: "button", class: "chip", onclick: () => view.set({ failure: "" }) }, mini.short(s.failure), h("span", { "aria-hidden": "true" }, " ×")));
    right.replaceChildren(...chips, ...(view.isFiltered ? [h("button", { type: "button", class: "quiet", onclick: () => { find.value = ""; view.clear(); } }, "Show all")] : []));
    count.textContent = view.isFiltered ? `${view.rows.length.toLocaleString()} of ${mini.plural(model.jobs, "job")}` : mini.plural(model.jobs, "job");
  };
  return bar;
};

mini.bestTile = (view) => {
  const tile = h("div", { class: "best" });
  tile.update = () => {
    const row = view.best(), { model } = view;
    tile.hidden = row < 0 || !view.metric;
    if (tile.hidden) return;
    tile.replaceChildren(h("span", { class: "kicker" }, `Best ${view.metric.label}`), h("strong", {}, view.metric.text(row)), h("span", {}, `${model.name(row)}   ${model.given(row)}`), h("button", { type: "button", class: "quiet", onclick: () => view.choose(row, !view.chosen.has(row)) }, view.chosen.has(row) ? "Chosen" : "Choose it"));
  };
  return tile;
};

mini.show = (model, settings) => {
  const root = document.getElementById("page"), view = new View(model), actions = mini.actions?.(settings, () => view.model) || null;
  const table = new Table(view);
  const panels = [mini.parallel(view), mini.curves(view), mini.importanceCard(view), mini.pair(view), mini.progressOfBest(view), mini.timeline(view)];
  const quick = new Set([panels[0]]), bar = mini.toolbar(view), best = mini.bestTile(view);
  const head = h("div"), failures = h("div", { class: "contents" }), details = h("div", { class: "contents" });
  const [parallel, curves, importance, pair, progress, timeline] = panels;
  root.replaceChildren(head, h("main", {}, bar, best, h("div", { class: "cards" }, failures, parallel, curves, importance, pair, progress, table.element, timeline, details)),
    h("footer", {}, h("span", { class: "made" })));
  const frame = () => {
    head.replaceChildren(mini.head(view.model, actions));
    const list = mini.failures(view);
    const open = new Set([...failures.querySelectorAll("details[open] .what")].map((one) => one.textContent));
    failures.replaceChildren(...(list ? [list] : []));
    for (const one of failures.querySelectorAll("details")) one.open = open.has(one.querySelector(".what").textContent);
    const wasOpen = details.querySelector("details")?.open;
    details.replaceChildren(...mini.details(view.model));
    if (wasOpen) details.querySelector("details").open = true;
    root.querySelector(".made").textContent = `mini, ${mini.time(view.model.generated)}`;
  };
  let later = 0;
  const draw = (isPassing) => {
    bar.update();
    best.update();
    table.update();
    for (const panel of panels) if (!isPassing || quick.has(panel)) panel.update();
    clearTimeout(later);
    if (isPassing) later = setTimeout(() => { for (const panel of panels) if (!quick.has(panel)) panel.update(); }, 60);
    performance.mark("mini-drawn");
  };
  view.listeners.push(draw);
  const all = () => { frame(); draw(false); };
  all();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; view.changed(); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  mini.view = view;
  return (next) => {
    view.use(next);
    view._apply();
    all();
  };
};

mini.begin = async () => {
  const settings = await mini.inline("settings");
  try {
    if (settings.view) await mini[settings.view](settings);
    else if (settings.api) await mini.follow(settings);
    else {
      const values = await mini.inline("data");
      mini.show(new Model(values, await mini.inline("curves", true)), settings);
    }
    document.documentElement.dataset.ready = "1";
  } catch (error) {
    document.getElementById("page").replaceChildren(h("p", { class: "loading" }, `This page cannot be shown: ${error.message}`));
    throw error;
  }
};
