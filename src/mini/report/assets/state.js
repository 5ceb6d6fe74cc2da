// What is chosen on the page. It is in the address, so that a view can be sent.
class View {
  constructor(model) {
    this.listeners = [];
    this.pending = false;
    this.use(model);
    this.read();
    addEventListener("hashchange", () => { if (location.hash !== this.written) { this.read(); this.changed(); } });
  }

  use(model) {
    this.model = model;
    const metric = model.metrics.find((c) => /acc|reward|score|f1|auc|return/i.test(c.name)) || model.metrics[0];
    this.usual = {
      metric: metric ? metric.name : "", lower: null, find: "", failure: "", sort: "", show: null, axes: null, chosen: [], brush: {},
      curve: "", group: null, log: false, smooth: 0, each: false, x: "", y: "",
    };
  }

  read() {
    const parts = new URLSearchParams(location.hash.slice(1));
    this.s = { ...structuredClone(this.usual) };
    for (const [name, usual] of Object.entries(this.usual)) {
      if (!parts.has(name)) continue;
      const text = parts.get(name);
      try {
        if (name === "brush") this.s.brush = this._brushes(JSON.parse(text));
        else if (["show", "axes", "chosen", "group"].includes(name)) this.s[name] = JSON.parse(text).map(String);
        else if (typeof usual === "boolean" || name === "lower") this.s[name] = text === "1";
        else if (typeof usual === "number") this.s[name] = Math.min(0.99, Math.max(0, Number(text) || 0));
        else this.s[name] = text;
      } catch { /* an address somebody has changed: that part is as usual */ }
    }
    this._apply();
  }

  _brushes(raw) {
    const found = {};
    for (const [name, range] of Object.entries(raw)) {
      if (Array.isArray(range) && (range.length !== 2 || range.every((v) => typeof v === "number") || range.every((v) => typeof v === "string"))) found[name] = range;
    }
    return found;
  }

  write() {
    const parts = new URLSearchParams();
    for (const [name, usual] of Object.entries(this.usual)) {
      const value = this.s[name];
      if (JSON.stringify(value) === JSON.stringify(usual)) continue;
      parts.set(name, typeof value === "object" && value !== null ? JSON.stringify(value) : typeof value === "boolean" ? (value ? "1" : "0") : String(value));
    }
    const text = parts.toString();
    this.written = text ? `#${text}` : "";
    history.replaceState(null, "", this.written || location.pathname + location.search);
  }

  set(change, isPassing = false) {
    Object.assign(this.s, change);
    this._apply();
    this.isPassing = isPassing;
    if (!isPassing) this.write();
    this.changed();
  }

  changed() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      for (const listener of this.listeners) listener(this.isPassing);
    });
  }

  get metric() { return this.model.byName.get(this.s.metric); }
  get lower() { return this.s.lower ?? mini.isLower(this.s.metric); }
  get curve() {
    const { curves } = this.model;
    return curves.includes(this.s.curve) ? this.s.curve : curves.includes(this.s.metric) ? this.s.metric : curves[0] || "";
  }

  // Rows that are looked at, and the same in the table's order.
  _apply() {
    const { model, s } = this;
    if (s.metric && !model.byName.has(s.metric)) s.metric = this.usual.metric;
    const tests = [];
    for (const [name, range] of Object.entries(s.brush)) {
      const column = model.byName.get(name);
      if (!column) continue;
      if (column.kind === "number") {
        const [least, most] = range;
        tests.push((i) => column.num[i] >= least && column.num[i] <= most);
      } else {
        const levels = new Set(range);
        tests.push((i) => levels.has(column.raw[i]));
      }
    }
    const failure = s.failure && model.failures.find((one) => one.text === s.failure);
    if (failure) { const rows = new Set(failure.rows); tests.push((i) => rows.has(i)); }
    tests.push(...mini.search(model, s.find));
    const rows = [];
    for (let i = 0; i < model.jobs; i++) if (tests.every((test) => test(i))) rows.push(i);
    this.rows = rows;
    this.isFiltered = rows.length < model.jobs || tests.length > 0;
    this.chosen = new Set(s.chosen.map((key) => model.rowOf(key)).filter((row) => row !== undefined));
    const name = s.sort.replace(/^-/, ""), column = model.byName.get(name);
    this.sorted = rows;
    if (column) this.sorted = mini.sorted(rows, column, s.sort.startsWith("-"));
    this.goodness = this._goodness();
  }

  _goodness() {
    const key = `${this.s.metric} ${this.lower}`;
    if (this._good?.key !== key || this._good.model !== this.model) {
      this._good = { key, model: this.model, shares: mini.goodness(this.model, this.metric, this.lower) };
    }
    return this._good.shares;
  }

  best() {
    let best = -1;
    for (const row of this.rows) {
      if (Number.isFinite(this.goodness[row]) && (best < 0 || this.goodness[row] > this.goodness[best])) best = row;
    }
    return best;
  }

  brush(name, range, isPassing) {
    const brush = { ...this.s.brush };
    if (range === null) delete brush[name];
    else brush[name] = range;
    this.set({ brush }, isPassing);
  }

  choose(row, is) {
    const key = this.model.key(row), chosen = this.s.chosen.filter((one) => one !== key);
    this.set({ chosen: is ? [...chosen, key] : chosen });
  }

  clear() { this.set({ brush: {}, find: "", failure: "" }); }
}

mini.sorted = (rows, column, down) => {
  const sign = down ? -1 : 1, { num } = column;
  return [...rows].sort((a, b) => {
    const x = num[a], y = num[b];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b; // what is not there comes last
    return (x < y ? -sign : x > y ? sign : 0) || a - b;
  });
};

// `model=large lr>=1e-3 failed`: every word must fit; a word without a column is looked for in all text.
mini.search = (model, text) => {
  const tests = [];
  for (const word of text.trim().match(/"[^"]*"|\S+/g) || []) {
    const found = /^"?([^<>=!"]+)(<=|>=|!=|=|<|>)(.*?)"?$/.exec(word);
    const column = found && model.columns.find((c) => [c.name, c.label, mini.plain(c.name)].includes(found[1]));
    if (column) {
      const [, , sign, wanted] = found, number = Number(wanted);
      const isNumber = column.kind === "number" && wanted !== "" && !Number.isNaN(number);
      tests.push((i) => {
        const value = isNumber ? column.num[i] : String(column.raw[i] ?? "").toLowerCase();
        const other = isNumber ? number : wanted.toLowerCase();
        return { "=": value === other, "!=": value !== other, "<": value < other, ">": value > other, "<=": value <= other, ">=": value >= other }[sign];
      });
      continue;
    }
    const wanted = word.replace(/"/g, "").toLowerCase();
    const texts = model.columns.filter((c) => ["swept", "job"].includes(c.group) && c.name !== "folder" && c.name !== "started");
    if (/^#\d+$/.test(wanted)) tests.push((i) => `#${model.jobNumbers[i]}` === wanted);
    else tests.push((i) => texts.some((c) => c.raw[i] !== null && `${mini.plain(c.name)}=${c.raw[i]}`.toLowerCase().includes(wanted)));
  }
  return tests;
};
