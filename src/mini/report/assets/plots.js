// Curves, two values against each other, and the best so far.
const axisStyle = () => ({ stroke: colour("muted"), font: `12px ${colour("font")}`, grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 } });

mini.curves = (view) => {
  const plot = h("div", { class: "plot" }), legend = h("ul", { class: "curve-legend" }), note = h("p", { class: "note" }), controls = h("div", { class: "inline" });
  const card = mini.card("Learning curves", null, controls, note, plot, legend);
  card.classList.add("two-thirds");
  let chart = null, controlsKey = "";

  // Which values make a group: all that was swept, but for the seeds, over which is averaged.
  const grouping = () => {
    const { model, s } = view;
    if (s.group) return s.group.map((name) => model.byName.get(name)).filter(Boolean);
    return [...(model.runOf ? [model.runOf] : []), ...model.swept.filter((c) => c.varies && !/seed|fold|replica|repeat|trial/i.test(c.name))];
  };

  const groups = () => {
    const { model, s } = view, curves = model.curveOf.get(view.curve);
    const rows = (view.chosen.size ? [...view.chosen] : view.rows).filter((row) => curves.has(row));
    if (view.chosen.size || s.each) return { by: [], groups: rows.map((row) => ({ label: `${model.name(row)}  ${model.given(row)}`, rows: [row] })) };
    const by = grouping(), found = new Map();
    for (const row of rows) {
      const key = by.map((c) => c.text(row)).join("\u0000");
      if (!found.has(key)) found.set(key, { label: by.map((c) => (c.name === "run" ? c.text(row) : `${c.label}=${c.text(row)}`)).join("  ") || "all jobs", rows: [] });
      found.get(key).rows.push(row);
    }
    return { by, groups: [...found.values()] };
  };

  const last = (group) => {
    const curves = view.model.curveOf.get(view.curve);
    let sum = 0;
    for (const row of group.rows) sum += curves.get(row).values.at(-1);
    return sum / group.rows.length;
  };

  // Mean and deviation of a group at the steps of `grid`.
  const statistics = (group, grid) => {
    const curves = view.model.curveOf.get(view.curve), n = grid.length, smooth = view.s.smooth;
    const count = new Float64Array(n), sum = new Float64Array(n), squares = new Float64Array(n);
    for (const row of group.rows) {
      const { steps, values } = curves.get(row);
      let k = 0, mean = NaN;
      for (let i = 0; i < n; i++) {
        if (grid[i] < steps[0] || grid[i] > steps[steps.length - 1]) continue;
        while (k + 1 < steps.length && steps[k + 1] <= grid[i]) k++;
        let value = values[k];
        if (steps[k] < grid[i] && k + 1 < steps.length) value += ((values[k + 1] - value) * (grid[i] - steps[k])) / (steps[k + 1] - steps[k]);
        if (!Number.isFinite(value)) continue;
        mean = smooth && Number.isFinite(mean) ? smooth * mean + (1 - smooth) * value : value;
        count[i]++;
        sum[i] += mean;
        squares[i] += mean * mean;
      }
    }
    const mean = [], low = [], high = [];
    for (let i = 0; i < n; i++) {
      if (!count[i]) { mean.push(null); low.push(null); high.push(null); continue; }
      const m = sum[i] / count[i], d = count[i] > 1 ? Math.sqrt(Math.max(0, (squares[i] - count[i] * m * m) / (count[i] - 1))) : 0;
      mean.push(m);
      low.push(view.s.log && m - d <= 0 ? m : m - d);
      high.push(m + d);
    }
    return [mean, high, low];
  };

  const gridOf = (shown) => {
    const curves = view.model.curveOf.get(view.curve), seen = new Set(), steps = new Set();
    for (const group of shown) for (const row of group.rows) {
      const curve = curves.get(row);
      if (seen.has(curve.key)) continue;
      seen.add(curve.key);
      for (const step of curve.steps) steps.add(step);
    }
    const all = [...steps].sort((a, b) => a - b), stride = Math.ceil(all.length / 1000);
    return all.filter((_, i) => i % stride === 0 || i === all.length - 1);
  };

  card.update = () => {
    const { model, s } = view;
    card.hidden = !model.curves.length;
    if (card.hidden) return;
    const found = groups(), down = mini.isLower(view.curve) ? 1 : -1;
    const most = found.by.length || !view.chosen.size ? 8 : 24;
    let shown = found.groups;
    if (shown.length > most) {
      const rank = (group) => { const value = last(group); return Number.isFinite(value) ? down * value : Infinity; };
      shown = shown.map((group) => [rank(group), group]).sort((a, b) => a[0] - b[0]).slice(0, most).map(([, group]) => group);
    }
    const several = shown.some((group) => group.rows.length > 1);
    note.textContent = [found.groups.length > shown.length ? `the best ${shown.length} of ${found.groups.length.toLocaleString()} ${view.chosen.size || s.each ? "jobs" : "groups"}` : "", several ? "mean and standard deviation of each group" : "", model.thinned ? "long curves are thinned" : ""].filter(Boolean).join("; ");
    const grid = gridOf(shown), data = [grid], series = [{}], bands = [];
    shown.forEach((group, i) => {
      const stroke = mini.palette(i);
      const [mean, high, low] = statistics(group, grid);
      const dash = i >= 8 ? [6, 4] : undefined;
      series.push({ label: "", stroke, width: 2, dash, points: { show: grid.length < 3 } });
      data.push(mean);
      if (group.rows.length > 1) {
        series.push({ label: "", stroke: "transparent", width: 0, points: { show: false } }, { label: "", stroke: "transparent", width: 0, points: { show: false } });
        data.push(high, low);
        bands.push({ series: [series.length - 2, series.length - 1], fill: `${stroke}2e` });
      }
      group.at = data.length - (group.rows.length > 1 ? 3 : 1);
    });
    const values = shown.map(() => h("span", { class: "value" }));
    legend.replaceChildren(...shown.map((group, i) => h("li", {}, h("i", { style: { background: mini.palette(i) } }), h("span", { class: "label", title: group.label }, group.label), group.rows.length > 1 ? h("small", {}, `n=${group.rows.length}`) : null, values[i])));
    const say = (index) => shown.forEach((group, i) => { const column = data[group.at]; let k = index ?? column.length - 1; while (index === null && k > 0 && column[k] === null) k--; values[i].textContent = mini.number(column[k]); });
    say(null);
    chart?.destroy();
    plot.replaceChildren();
    const style = axisStyle();
    chart = new uPlot({
      width: plot.clientWidth || 600, height: 300, legend: { show: false }, series, bands, padding: [8, 8, 0, 0],
      scales: { x: { time: false }, y: { distr: s.log ? 3 : 1 } },
      axes: [{ ...style, values: (_, ticks) => ticks.map((v) => (v === null ? "" : mini.number(v))) }, { ...style, size: 62, values: (_, ticks) => ticks.map((v) => (v === null ? "" : mini.number(v))) }],
      cursor: { y: false, points: { size: 6 } },
      hooks: { setCursor: [(u) => { say(u.cursor.idx ?? null); }] },
    }, data, plot);
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${view.curve} by step`);
    const key = JSON.stringify([model.curves, view.curve, s.log, s.smooth, s.each, grouping().map((c) => c.name), view.chosen.size > 0, model.generated]);
    if (key !== controlsKey) { controlsKey = key; show(); }
  };

  const show = () => {
    const { model, s } = view, by = new Set(grouping().map((c) => c.name)), open = controls.querySelector("details")?.open;
    const possible = [...(model.runOf ? [model.runOf] : []), ...model.swept.filter((c) => c.varies)];
    const toggle = (name, is) => view.set({ group: possible.map((c) => c.name).filter((one) => (one === name ? is : by.has(one))) });
    const menu = mini.menu("Groups", [mini.check("Each job for itself", s.each, (each) => view.set({ each })), h("p", { class: "note" }, "A group for each value of"), possible.map((c) => mini.check(c.label, by.has(c.name), (is) => toggle(c.name, is)))]);
    menu.open = Boolean(open);
    const slider = h("label", { class: "field" }, h("span", {}, "Smooth"), h("input", { type: "range", min: "0", max: "0.95", step: "0.05", value: String(s.smooth), oninput: (e) => view.set({ smooth: Number(e.target.value) }) }));
    if (document.activeElement?.type === "range" && controls.contains(document.activeElement)) return;
    controls.replaceChildren(mini.select("Curve", model.curves.map((name) => [name, mini.label(name)]), view.curve, (curve) => view.set({ curve })), slider, mini.check("Log", s.log, (log) => view.set({ log })), ...(possible.length ? [menu] : []));
  };
  return card;
};

mini.progressOfBest = (view) => {
  const plot = h("div", { class: "plot" }), note = h("p", { class: "note" });
  const card = mini.card("Best so far", null, null, note, plot);
  let chart = null;
  card.update = () => {
    const { model, metric } = view, started = model.byName.get("started").num, seconds = model.byName.get("seconds").num;
    const rows = metric ? view.rows.filter((row) => Number.isFinite(metric.num[row]) && Number.isFinite(started[row])) : [];
    card.hidden = !metric || model.jobs < 3;
    if (card.hidden) return;
    const end = (row) => started[row] + (Number.isFinite(seconds[row]) ? seconds[row] : 0);
    rows.sort((a, b) => end(a) - end(b));
    const from = rows.length ? Math.min(...model.runs.map((run) => run.began || Infinity), end(rows[0])) : 0;
    const x = rows.map((row) => end(row) - from), values = rows.map((row) => metric.num[row]);
    let best = NaN;
    const line = values.map((v) => (best = Number.isNaN(best) ? v : view.lower ? Math.min(best, v) : Math.max(best, v)));
    note.textContent = `${mini.label(metric.name)}, ${view.lower ? "lower" : "higher"} is better, by the time a job ended`;
    chart?.destroy();
    plot.replaceChildren();
    const style = axisStyle(), span = x.length ? x.at(-1) - x[0] : 0;
    for (let i = 1; i < x.length; i++) if (x[i] <= x[i - 1]) x[i] = x[i - 1] + span * 1e-9 + 1e-9;
    chart = new uPlot({
      width: plot.clientWidth || 400, height: 260, legend: { show: false }, padding: [8, 12, 0, 0],
      scales: { x: { time: false }, y: { distr: metric.isLog ? 3 : 1 } },
      axes: [{ ...style, space: 70, values: (_, ticks) => ticks.map((v) => mini.duration(v)) }, { ...style, size: 62, values: (_, ticks) => ticks.map((v) => (v === null ? "" : mini.number(v))) }],
      cursor: { y: false },
      series: [{}, { stroke: "transparent", width: 0, paths: () => null, points: { show: true, size: rows.length > 1000 ? 3 : 6, width: 0, fill: mini.isDark() ? "#7f8fa8aa" : "#8496b0aa" } }, { stroke: colour("accent"), width: 2.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }],
      hooks: { setCursor: [(u) => { const i = u.cursor.idx, box = u.over.getBoundingClientRect(); if (i === null || i === undefined || u.cursor.left < 0) mini.tip.hide(); else mini.tip.show({ clientX: box.left + u.cursor.left, clientY: box.top + u.cursor.top }, [`${model.name(rows[i])}  ${mini.number(values[i])}`, model.given(rows[i]), `best so far ${mini.number(line[i])}`]); }] },
    }, [x, values, line], plot);
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", note.textContent);
  };
  return card;
};

mini.pair = (view) => {
  const canvas = h("canvas", { role: "img" }), note = h("p", { class: "note" }), controls = h("div", { class: "inline" });
  const card = mini.card("Two values", null, controls, note, h("div", { class: "plot" }, canvas));
  const HEIGHT = 260, LEFT = 78, BOTTOM = 38, TOP = 10, RIGHT = 12;
  let hits = [], controlsKey = "";
  const axes = () => {
    const { model, s } = view;
    const swept = model.swept.filter((c) => c.varies).sort((a, b) => /seed/i.test(a.name) - /seed/i.test(b.name));
    const possible = [...swept, ...model.metrics, ...model.columns.filter((c) => c.name === "seconds" && !c.isEmpty)];
    const x = model.byName.get(s.x) || swept[0] || possible[0];
    return { possible, x, y: model.byName.get(s.y) || swept.find((c) => c !== x) || view.metric || possible[1] };
  };
  card.update = () => {
    const { model, metric, goodness } = view, { possible, x, y } = axes();
    card.hidden = !x || !y || model.jobs < 2;
    if (card.hidden) return;
    const key = `${possible.map((c) => c.name).join()}|${x.name}|${y.name}`;
    if (key !== controlsKey) {
      controlsKey = key;
      const options = possible.map((c) => [c.name, c.label]);
      controls.replaceChildren(mini.select("x", options, x.name, (name) => view.set({ x: name })), mini.select("y", options, y.name, (name) => view.set({ y: name })));
    }
    const drawn = mini.canvas(canvas, HEIGHT);
    if (!drawn) return;
    const { context, width } = drawn, W = width - LEFT - RIGHT, H = HEIGHT - TOP - BOTTOM;
    hits = [];
    const isMap = x.group === "swept" && y.group === "swept" && x.levels && y.levels && x.levels.length <= 24 && y.levels.length <= 24;
    context.fillStyle = colour("muted");
    if (isMap && metric) heat(context, x, y, metric, W, H);
    else {
      axesOf(context, x, y, W, H);
      const shown = view.rows.filter((row) => Number.isFinite(x.num[row]) && Number.isFinite(y.num[row])).sort((a, b) => (goodness[a] || 0) - (goodness[b] || 0));
      const size = shown.length > 2000 ? 1.8 : shown.length > 200 ? 3 : 5;
      for (const row of shown) {
        const px = LEFT + 8 + x.at(x.num[row]) * (W - 16), py = TOP + 8 + (1 - y.at(y.num[row])) * (H - 16);
        context.fillStyle = mini.ramp(goodness[row]);
        context.globalAlpha = 0.85;
        context.beginPath();
        context.arc(px, py, view.chosen.has(row) ? size + 2 : size, 0, 7);
        context.fill();
        if (view.chosen.has(row)) { context.strokeStyle = colour("warm"); context.lineWidth = 2; context.stroke(); }
        hits.push([px, py, row]);
      }
      context.globalAlpha = 1;
      note.textContent = `${mini.plural(shown.length, "job")}, darker is better in ${mini.label(view.s.metric)}`.replace("darker", mini.isDark() ? "brighter" : "darker");
    }
    canvas.setAttribute("aria-label", `${x.label} against ${y.label}: ${note.textContent}`);
  };

  const heat = (context, x, y, metric, W, H) => {
    const cells = new Map(), w = W / x.levels.length, tall = H / y.levels.length;
    const place = (column, i) => (column.kind === "number" ? column.levels.indexOf(column.num[i]) : column.num[i]);
    for (const row of view.rows) {
      const a = place(x, row), b = place(y, row);
      if (!(a >= 0 && b >= 0)) continue;
      const key = a * 100 + b;
      if (!cells.has(key)) cells.set(key, { a, b, rows: [], sum: 0, count: 0 });
      const cell = cells.get(key);
      cell.rows.push(row);
      if (Number.isFinite(metric.num[row])) { cell.sum += metric.num[row]; cell.count++; }
    }
    const means = [...cells.values()].filter((c) => c.count).map((c) => c.sum / c.count), least = Math.min(...means), most = Math.max(...means);
    for (const cell of cells.values()) {
      const mean = cell.sum / cell.count, share = most > least ? (mean - least) / (most - least) : 1;
      const left = LEFT + cell.a * w, top = TOP + (y.levels.length - 1 - cell.b) * tall, good = cell.count ? (view.lower ? 1 - share : share) : NaN;
      context.fillStyle = mini.ramp(good);
      context.beginPath();
      context.roundRect(left + 1.5, top + 1.5, w - 3, tall - 3, 4);
      context.fill();
      if (w > 46 && tall > 20) {
        context.fillStyle = (good > 0.45) !== mini.isDark() ? "#fff" : "#10151f";
        context.textAlign = "center";
        context.textBaseline = "middle";
        context.fillText(cell.count ? mini.number(mean) : "–", left + w / 2, top + tall / 2);
      }
      hits.push([left, top, cell, w, tall]);
    }
    context.fillStyle = colour("muted");
    context.textAlign = "center";
    context.textBaseline = "top";
    const skip = Math.ceil(x.levels.length / Math.max(1, Math.floor(W / 60)));
    x.levels.forEach((level, i) => { if (i % skip === 0) context.fillText(mini.short(level), LEFT + (i + 0.5) * w, TOP + H + 5); });
    context.textAlign = "right";
    context.textBaseline = "middle";
    y.levels.forEach((level, i) => context.fillText(mini.short(level).slice(0, 11), LEFT - 6, TOP + (y.levels.length - 0.5 - i) * tall));
    names(context, x, y, W, H);
    note.textContent = `mean of ${mini.label(metric.name)} in each cell`;
  };

  const names = (context, x, y, W, H) => {
    context.fillStyle = colour("ink");
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText(x.label, LEFT + W / 2, HEIGHT - 1);
    context.save();
    context.translate(11, TOP + H / 2);
    context.rotate(-Math.PI / 2);
    context.textBaseline = "middle";
    context.fillText(y.label, 0, 0);
    context.restore();
  };

  const axesOf = (context, x, y, W, H) => {
    context.strokeStyle = colour("grid");
    context.lineWidth = 1;
    context.textBaseline = "top";
    context.textAlign = "center";
    for (const [at, text] of x.ticks(Math.max(2, Math.floor(W / 70)))) {
      const px = LEFT + 8 + at * (W - 16);
      context.beginPath(); context.moveTo(px, TOP); context.lineTo(px, TOP + H); context.stroke();
      context.fillText(text, px, TOP + H + 5);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [at, text] of y.ticks(6)) {
      const py = TOP + 8 + (1 - at) * (H - 16);
      context.beginPath(); context.moveTo(LEFT, py); context.lineTo(LEFT + W, py); context.stroke();
      context.fillText(text.slice(0, 11), LEFT - 6, py);
    }
    names(context, x, y, W, H);
  };

  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: px, offsetY: py } = event, { model } = view;
    const cell = hits.find((one) => one.length === 5 && px >= one[0] && px < one[0] + one[3] && py >= one[1] && py < one[1] + one[4]);
    if (cell) return mini.tip.show(event, [`${mini.label(view.s.metric)} ${mini.number(cell[2].sum / cell[2].count)}`, `mean of ${mini.plural(cell[2].count, "job")}`, cell[2].rows.length > cell[2].count ? `${cell[2].rows.length - cell[2].count} without a value` : ""]);
    let near = null, least = 144;
    for (const [x, y, row, w] of hits) if (w === undefined) { const d = (x - px) ** 2 + (y - py) ** 2; if (d < least) { least = d; near = row; } }
    if (near === null) return mini.tip.hide();
    mini.tip.show(event, [`${model.name(near)}  ${view.metric ? view.metric.text(near) : ""}`, model.given(near)]);
    return undefined;
  });
  canvas.addEventListener("pointerleave", () => mini.tip.hide());
  return card;
};
