// Parallel coordinates: a line for each job, the best last, and a brush on each axis.
mini.parallel = (view) => {
  const canvas = h("canvas", { "aria-hidden": "true" }), layer = h("div", { class: "axes" });
  const controls = h("div", { class: "inline" });
  const plot = h("div", { class: "plot parallel" }, canvas, layer);
  const card = mini.card("Parallel coordinates", "Drag along an axis to keep only those jobs; click it to let go", controls, h("div", { class: "sideways", tabindex: "0", role: "region", "aria-label": "Axes" }, plot));
  card.classList.add("wide");
  const HEIGHT = 320, TOP = 40, BOTTOM = 34;
  let axes = [], key = "";

  const chosen = () => {
    const { model, s } = view;
    if (s.axes) return s.axes.map((name) => model.byName.get(name)).filter((c) => c && !c.isEmpty);
    const swept = model.swept.filter((c) => c.varies).slice(0, 9);
    return [...(model.runOf ? [model.runOf] : []), ...swept, ...(view.metric ? [view.metric] : [])];
  };
  const y = (axis, i) => {
    const at = axis.at(axis.num[i]);
    return Number.isFinite(at) ? TOP + (1 - at) * (HEIGHT - TOP - BOTTOM) : HEIGHT - 12;
  };

  const lines = (width) => {
    const drawn = mini.canvas(canvas, HEIGHT);
    if (!drawn) return;
    const { context } = drawn, { model, goodness } = view;
    const xs = axes.map((_, k) => (axes.length > 1 ? 60 + (k * (width - 120)) / (axes.length - 1) : width / 2));
    const heights = axes.map((axis) => Float32Array.from({ length: model.jobs }, (_, i) => y(axis, i)));
    const trace = (i) => {
      context.moveTo(xs[0], heights[0][i]);
      for (let k = 1; k < axes.length; k++) {
        const middle = (xs[k - 1] + xs[k]) / 2;
        if (model.jobs > 3000) context.lineTo(xs[k], heights[k][i]);
        else context.bezierCurveTo(middle, heights[k - 1][i], middle, heights[k][i], xs[k], heights[k][i]);
      }
    };
    context.lineWidth = 1;
    if (view.isFiltered) { // the others stay as a shadow; of very many a part says enough
      context.globalAlpha = Math.min(0.3, 30 / Math.sqrt(model.jobs) / 10);
      context.strokeStyle = colour("faint");
      context.beginPath();
      const step = Math.ceil(model.jobs / 2000);
      for (let i = 0; i < model.jobs; i += step) trace(i);
      context.stroke();
    }
    const steps = Array.from({ length: mini.RAMP_STEPS + 1 }, () => []);
    for (const row of view.rows) steps[Number.isFinite(goodness[row]) ? 1 + Math.min(mini.RAMP_STEPS - 1, Math.floor(goodness[row] * mini.RAMP_STEPS)) : 0].push(row);
    const many = view.rows.length;
    context.lineWidth = many > 300 ? 1 : many > 60 ? 1.4 : 1.9;
    steps.forEach((rows, n) => { // the best are drawn last
      if (!rows.length) return;
      context.globalAlpha = many > 3000 ? 0.35 : many > 300 ? 0.6 : 0.9;
      context.strokeStyle = mini.ramp(n ? (n - 0.5) / mini.RAMP_STEPS : NaN);
      context.beginPath();
      rows.forEach(trace);
      context.stroke();
    });
    context.globalAlpha = 1;
    context.strokeStyle = colour("warm");
    context.lineWidth = 2.4;
    for (const row of view.chosen) { context.beginPath(); trace(row); context.stroke(); }
  };

  const frame = (width) => {
    layer.replaceChildren(...axes.map((axis, k) => {
      const x = axes.length > 1 ? 60 + (k * (width - 120)) / (axes.length - 1) : width / 2;
      const brush = h("div", { class: "brush", hidden: true });
      const ticks = axis.ticks(6).map(([at, text]) => h("span", { class: "tick", style: { top: `${TOP + (1 - at) * (HEIGHT - TOP - BOTTOM)}px` } }, text));
      const element = h("div", { class: `axis ${axis.group}`, style: { left: `${x}px`, height: `${HEIGHT}px` } },
        h("span", { class: "axis-name", title: axis.name }, axis.label), h("span", { class: "rule" }), ticks, h("div", { class: "hit", "data-axis": axis.name }, brush));
      grab(element.querySelector(".hit"), axis);
      element.brush = brush;
      return element;
    }));
  };

  const grab = (hit, axis) => {
    let from = null;
    const at = (event) => Math.min(1, Math.max(0, 1 - (event.clientY - hit.getBoundingClientRect().top - 8) / (HEIGHT - TOP - BOTTOM)));
    const range = (a, b) => {
      const [low, high] = a < b ? [a, b] : [b, a];
      if (axis.kind === "number") return [axis.value(low), axis.value(high)];
      return [...axis.code].filter(([, code]) => { const place = axis.at(code); return place >= low - 0.02 && place <= high + 0.02; }).map(([level]) => level);
    };
    hit.addEventListener("pointerdown", (event) => { from = at(event); hit.setPointerCapture(event.pointerId); event.preventDefault(); });
    hit.addEventListener("pointermove", (event) => { if (from !== null && Math.abs(at(event) - from) > 0.01) view.brush(axis.name, range(from, at(event)), true); });
    hit.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const to = at(event);
      view.brush(axis.name, Math.abs(to - from) > 0.01 ? range(from, to) : null);
      from = null;
    });
  };

  card.update = () => {
    axes = chosen();
    card.hidden = axes.length < 2 || view.model.jobs < 2;
    if (card.hidden) return;
    const room = plot.parentElement.clientWidth, width = Math.max(room, axes.length * 96);
    plot.style.width = `${width}px`;
    const now = `${axes.map((c) => `${c.name} ${c.least} ${c.most}`).join()}|${width}|${view.model.generated}`;
    if (now !== key) {
      key = now;
      frame(width);
      const names = new Set(axes.map((c) => c.name));
      const possible = view.model.columns.filter((c) => !c.isEmpty && c.varies && c.name !== "folder" && (c.kind === "number" || c.count <= 60));
      const toggle = (name, is) => view.set({ axes: possible.map((c) => c.name).filter((one) => (one === name ? is : names.has(one))) });
      const open = controls.querySelector("details")?.open;
      const menu = mini.menu("Axes", [h("button", { type: "button", class: "plain", onclick: () => view.set({ axes: null }) }, "As at first"), possible.map((c) => mini.check(c.label, names.has(c.name), (is) => toggle(c.name, is)))]);
      menu.open = Boolean(open);
      controls.replaceChildren(menu);
    }
    axes.forEach((axis, k) => {
      const range = view.s.brush[axis.name], { brush } = layer.children[k];
      brush.hidden = !range;
      if (!range) return;
      const places = axis.kind === "number" ? range.map((v) => axis.at(v)) : range.map((level) => axis.at(axis.code.get(level)));
      const high = Math.max(...places), low = Math.min(...places), pad = axis.kind === "number" ? 0 : 6;
      brush.style.top = `${8 + (1 - high) * (HEIGHT - TOP - BOTTOM) - pad}px`;
      brush.style.height = `${Math.max(4, (high - low) * (HEIGHT - TOP - BOTTOM) + 2 * pad)}px`;
    });
    lines(width);
  };
  return card;
};
