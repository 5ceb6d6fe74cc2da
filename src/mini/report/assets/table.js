// The table: only the rows in sight are in the page, whatever their number.
const ROW = 30; // pixels

class Table {
  constructor(view) {
    this.view = view;
    this.head = h("tr");
    this.body = h("tbody");
    this.table = h("table", {}, h("caption", { class: "unseen" }, "Jobs"), h("thead", {}, this.head), this.body);
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of jobs", onscroll: () => this.rows() }, this.table);
    this.controls = h("div", { class: "inline" });
    this.count = h("p", { class: "note" });
    this.element = mini.card("Jobs", null, this.controls, this.count, this.scroll);
    this.element.classList.add("wide");
  }

  columns() {
    const { model, view } = this;
    const { show } = view.s;
    if (show) return show.map((name) => view.model.byName.get(name)).filter(Boolean);
    return view.model.columns.filter((c) => {
      if (["job", "state", "run"].includes(c.name)) return true;
      if (c.name === "seconds") return !c.isEmpty;
      if (c.name === "error") return view.model.failures.length > 0;
      if (c.name === "progress") return true;
      return ["swept", "metric"].includes(c.group) && (c.varies || c.group === "metric") && !c.isEmpty;
    }).slice(0, 40);
  }

  update() {
    const { view } = this, { model } = view;
    this.shown = this.columns();
    const sorting = view.s.sort.replace(/^-/, ""), down = view.s.sort.startsWith("-");
    this.spark = view.curve;
    const sortable = (column) => {
      const is = column.name === sorting;
      return h("th", { scope: "col", class: `${column.kind} ${column.group}`, "aria-sort": is ? (down ? "descending" : "ascending") : null },
        h("button", { type: "button", title: `${column.name}: sort`, onclick: () => this.sort(column) },
          h("span", {}, column.label), h("span", { class: "arrow", "aria-hidden": "true" }, is ? (down ? "↓" : "↑") : "")));
    };
    const heads = this.shown.map(sortable);
    const focused = [...this.head.querySelectorAll("button")].indexOf(document.activeElement);
    this.head.replaceChildren(h("th", { class: "pick" }, h("span", { class: "unseen" }, "Chosen")), ...heads,
      ...(this.spark ? [h("th", { class: "spark" }, this.spark)] : []), h("th", { scope: "col" }, "files"));
    if (focused >= 0) this.head.querySelectorAll("button")[focused]?.focus();
    this.table.setAttribute("aria-rowcount", view.rows.length + 1);
    this.count.textContent = `${mini.plural(view.rows.length, "job")}${view.isFiltered ? ` of ${model.jobs.toLocaleString()}` : ""}` +
      (view.chosen.size ? `, ${view.chosen.size} chosen` : "");
    this._controls();
    this.rows(true);
  }

  sort(column) {
    const { s } = this.view;
    const first = column.name === this.view.s.metric && !this.view.lower ? `-${column.name}` : column.name;
    const second = first.startsWith("-") ? column.name : `-${column.name}`;
    this.view.set({ sort: s.sort === first ? second : s.sort === second ? "" : first });
  }

  _controls() {
    const { view } = this, shown = new Set(this.shown.map((c) => c.name));
    const key = `${[...shown].join("\n")}|${view.model.columns.length}|${view.chosen.size}`;
    if (key === this.controlsKey) return;
    this.controlsKey = key;
    const wasOpen = this.controls.querySelector("details")?.open;
    const toggle = (name, is) => {
      const names = view.model.columns.map((c) => c.name).filter((one) => (one === name ? is : shown.has(one)));
      view.set({ show: names });
    };
    const menu = mini.menu("Columns", [
      h("button", { type: "button", class: "plain", onclick: () => view.set({ show: null }) }, "As at first"),
      view.model.columns.filter((c) => !c.isEmpty && c.name !== "folder")
        .map((c) => mini.check(c.group === "config" ? c.name : c.label, shown.has(c.name), (is) => toggle(c.name, is))),
    ]);
    menu.open = Boolean(wasOpen);
    this.controls.replaceChildren(...(view.chosen.size ? [h("button", { type: "button", onclick: () => view.set({ chosen: [] }) }, "Choose none")] : []), menu,
      h("button", { type: "button", onclick: () => this.download() }, "CSV"));
  }

  rows(isNew = false) {
    const { view } = this, rows = view.sorted;
    const room = Math.ceil(Math.max(560, this.scroll.clientHeight) / ROW) + 12;
    const first = Math.max(0, Math.min(Math.floor(this.scroll.scrollTop / ROW) - 6, rows.length - room));
    if (!isNew && first === this.first) return;
    this.first = first;
    const here = rows.slice(first, first + room);
    const gap = (count) => h("tr", { class: "gap", "aria-hidden": "true", style: { height: `${count * ROW}px` } });
    const focused = document.activeElement?.dataset?.row;
    const after = rows.length - first - here.length;
    this.body.replaceChildren(...(first > 0 ? [gap(first)] : []), ...here.map((row, i) => this._row(row, first + i)), ...(after > 0 ? [gap(after)] : []));
    if (!rows.length) this.body.append(h("tr", {}, h("td", { class: "none", colSpan: this.shown.length + 3 }, "No job fits.")));
    if (focused !== undefined) this.body.querySelector(`input[data-row="${focused}"]`)?.focus({ preventScroll: true });
  }

  _row(row, place) {
    const { view } = this, { model } = view;
    const chosen = view.chosen.has(row);
    const cells = this.shown.map((column) => {
      const text = column.text(row);
      if (column.name === "state") return h("td", {}, h("span", { class: `state ${mini.stateClass(text)}` }, text));
      const full = typeof column.raw[row] === "number" ? String(column.raw[row]) : text;
      return h("td", { class: column.kind + (column.raw[row] === null ? " none" : ""), title: full.length > 8 ? full : null }, text);
    });
    const pick = h("input", { type: "checkbox", checked: chosen, "data-row": row, "aria-label": `Choose job ${model.name(row)}`, onchange: (e) => view.choose(row, e.target.checked) });
    const link = (file, text) => h("a", { href: model.link(row, file), target: "_blank", rel: "noopener noreferrer", "aria-label": `${text} of job ${model.name(row)}` }, text);
    return h("tr", { class: chosen ? "chosen" : "", "aria-rowindex": place + 2, style: { height: `${ROW}px` } }, h("td", { class: "pick" }, pick), cells,
      this.spark ? h("td", { class: "spark" }, this._spark(row)) : null,
      h("td", { class: "files" }, model.folders[row] === null ? null : [link("log.txt", "log"), link("", "folder")]));
  }

  _spark(row) {
    const curve = this.view.model.curveOf.get(this.spark)?.get(row);
    if (!curve || curve.values.length < 2) return null;
    const ratio = devicePixelRatio || 1, width = 84, height = 20;
    const canvas = h("canvas", { width: width * ratio, height: height * ratio, role: "img", "aria-label": `${this.spark} from ${mini.number(curve.values[0])} to ${mini.number(curve.values.at(-1))}` });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    let least = Infinity, most = -Infinity;
    for (const value of curve.values) if (Number.isFinite(value)) { least = Math.min(least, value); most = Math.max(most, value); }
    context.strokeStyle = colour("accent");
    context.lineWidth = 1.25;
    context.beginPath();
    let pen = false;
    curve.values.forEach((value, i) => {
      if (!Number.isFinite(value)) { pen = false; return; }
      const x = 2 + (i / (curve.values.length - 1)) * (width - 4), y = height - 3 - ((value - least) / (most - least || 1)) * (height - 6);
      if (pen) context.lineTo(x, y); else context.moveTo(x, y);
      pen = true;
    });
    context.stroke();
    return canvas;
  }

  download() {
    const { view } = this;
    const quote = (value) => (/[",\n\r]/.test(value) ? `"${value.replace(/"/g, '""')}"` : value);
    const lines = [this.shown.map((c) => quote(c.name)).join(",")];
    for (const row of view.sorted) lines.push(this.shown.map((c) => quote(c.raw[row] === null ? "" : Number.isNaN(c.raw[row]) ? "nan" : String(c.raw[row]))).join(","));
    const link = h("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })), download: `${view.model.runs[0].id}.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

mini.stateClass = (state) => (["done", "running", "queued", "cancelled"].includes(state) ? state : "failed");
