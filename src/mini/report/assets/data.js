"use strict";
// What a page knows: columns of jobs, and their curves. Reading it, and saying numbers and times.
const mini = {};

mini.unpack = async (element) => {
  const packed = atob(element.textContent.trim());
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
};

mini.inline = async (id, asBytes) => {
  const element = document.getElementById(id);
  if (!element) return null;
  if (element.type === "application/json") return JSON.parse(element.textContent);
  const buffer = await mini.unpack(element);
  element.remove(); // its text is as large again
  return asBytes ? buffer : JSON.parse(new TextDecoder().decode(buffer));
};

mini.labels = new Map();
mini.plain = (name) => name.replace(/^(overrides|config|metrics)\./, "");
mini.label = (name) => mini.labels.get(name) ?? mini.plain(name);

// `optimizer.lr` is called lr where nothing else is.
mini.shorten = (columns) => {
  const taken = new Map();
  const last = (name) => mini.plain(name).split(".").at(-1);
  for (const { name, group } of columns) if (group !== "config") taken.set(last(name), (taken.get(last(name)) || 0) + 1);
  for (const { name, group } of columns) if (group === "swept") mini.labels.set(name, taken.get(last(name)) === 1 && last(name) ? last(name) : mini.plain(name));
};
mini.NONFINITE = { nan: NaN, inf: Infinity, "-inf": -Infinity };
mini.isLower = (name) => /loss|err|mse|mae|rmse|nll|perplex|ppl|cost|seconds|latency|distance|regret/i.test(name);
const natural = new Intl.Collator("en", { numeric: true });

class Column {
  constructor({ name, group, kind, values }) {
    Object.assign(this, { name, group, kind, label: mini.label(name), raw: values });
    this.num = new Float64Array(values.length).fill(NaN);
    if (kind === "number") {
      let least = Infinity, most = -Infinity, whole = true;
      const distinct = new Set();
      for (let i = 0; i < values.length; i++) {
        if (typeof values[i] === "string") values[i] = mini.NONFINITE[values[i]];
        const value = values[i];
        if (value === null || value === undefined) continue;
        this.num[i] = value;
        if (!Number.isFinite(value)) continue;
        if (value < least) least = value;
        if (value > most) most = value;
        if (distinct.size <= 40) distinct.add(value);
        whole = whole && Number.isInteger(value);
      }
      Object.assign(this, { least, most, whole, isEmpty: least > most });
      this.levels = distinct.size <= 40 ? [...distinct].sort((a, b) => a - b) : null;
      this.isLog = least > 0 && most / least >= 50;
    } else {
      const distinct = new Set();
      for (const value of values) if (value !== null && value !== undefined) distinct.add(value);
      this.isEmpty = distinct.size === 0;
      const sorted = [...distinct].sort(natural.compare);
      this.code = new Map(sorted.map((level, i) => [level, i]));
      for (let i = 0; i < values.length; i++) if (this.code.has(values[i])) this.num[i] = this.code.get(values[i]);
      this.levels = sorted.length <= 40 ? sorted : null;
      this.count = sorted.length;
      this.least = 0;
      this.most = Math.max(0, sorted.length - 1);
    }
    this.varies = this.kind === "number" ? this.levels === null || this.levels.length > 1 : this.count > 1;
  }

  text(i) {
    const value = this.raw[i];
    if (value === null || value === undefined) return "";
    if (this.name === "seconds") return mini.duration(value);
    if (this.name === "started") return mini.time(value);
    if (this.name === "progress") return `${Math.round(100 * value)} %`;
    return this.kind === "number" ? mini.number(value) : String(value);
  }

  // 0 at the bottom of an axis, 1 at its top; NaN for what is not there.
  at(value) {
    if (this.most === this.least) return Number.isFinite(value) ? 0.5 : NaN;
    if (this.isLog) return Math.log(value / this.least) / Math.log(this.most / this.least);
    return (value - this.least) / (this.most - this.least);
  }

  value(at) {
    if (this.isLog) return this.least * Math.pow(this.most / this.least, at);
    return this.least + at * (this.most - this.least);
  }

  ticks(room) {
    if (this.levels && this.levels.length <= Math.max(2, room)) {
      return this.levels.map((level, i) => [this.at(this.kind === "number" ? level : i), mini.short(level)]);
    }
    if (this.kind !== "number") {
      const step = Math.ceil(this.count / room), names = [...this.code.keys()];
      return names.filter((_, i) => i % step === 0).map((name, i) => [this.at(i * step), mini.short(name)]);
    }
    return mini.ticks(this.least, this.most, room, this.isLog).map((v) => [this.at(v), mini.number(v)]);
  }
}

mini.ticks = (least, most, room, isLog) => {
  const found = [];
  if (isLog && most / least >= 50) {
    const step = Math.max(1, Math.ceil(Math.log10(most / least) / room));
    for (let e = Math.ceil(Math.log10(least) - 1e-9); e <= Math.log10(most) + 1e-9; e += step) found.push(Math.pow(10, e));
    if (found.length > 1) return found;
    return [least, most];
  }
  if (!(most > least)) return [least];
  const raw = (most - least) / Math.max(1, room);
  const power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw) || raw;
  for (let v = Math.ceil(least / step - 1e-9) * step; v <= most + step * 1e-9; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return found;
};

class Model {
  constructor(values, buffer) {
    Object.assign(this, { runs: values.runs, jobs: values.jobs, constants: values.constants, failures: values.failures });
    this.importance = values.importance;
    this.generated = values.generated;
    mini.shorten(values.columns);
    this.columns = values.columns.map((one) => new Column(one));
    this.byName = new Map(this.columns.map((one) => [one.name, one]));
    this.swept = this.columns.filter((c) => c.group === "swept" && !c.isEmpty);
    this.metrics = this.columns.filter((c) => c.group === "metric" && c.kind === "number" && !c.isEmpty);
    this.state = this.byName.get("state").raw;
    this.folders = this.byName.get("folder").raw;
    this.errors = this.byName.get("error").raw;
    this.jobNumbers = this.byName.get("job").raw;
    this.runOf = this.byName.get("run");
    this._history(values.history, buffer);
  }

  _history(described, buffer) {
    this.curves = described.metrics;
    this.thinned = described.thinned;
    this.curveOf = new Map(described.metrics.map((name) => [name, new Map()]));
    if (!buffer || !described.series) return;
    const series = new Int32Array(buffer, 0, described.series * 5);
    const steps = new Float32Array(buffer, series.byteLength, described.steps);
    const values = new Float32Array(buffer, series.byteLength + steps.byteLength, described.values);
    for (let i = 0; i < series.length; i += 5) {
      const [row, metric, step, value, length] = series.subarray(i, i + 5);
      const curve = { steps: steps.subarray(step, step + length), values: values.subarray(value, value + length), key: `${step}+${length}` };
      this.curveOf.get(described.metrics[metric]).set(row, curve);
    }
  }

  key(row) {
    return this.runs.length > 1 ? `${this.runOf.raw[row]}/${this.jobNumbers[row]}` : String(this.jobNumbers[row]);
  }

  rowOf(key) {
    if (!this.rows) {
      this.rows = new Map();
      for (let i = 0; i < this.jobs; i++) this.rows.set(this.key(i), i);
    }
    return this.rows.get(key);
  }

  name(row) {
    return this.runs.length > 1 ? `${this.runOf.raw[row]} #${this.jobNumbers[row]}` : `#${this.jobNumbers[row]}`;
  }

  given(row) {
    return this.swept.filter((c) => c.raw[row] !== null).map((c) => `${c.label}=${c.text(row)}`).join("  ");
  }

  // A link into a job's folder. It always begins with ./, so that no name in it is taken for a scheme.
  link(row, file) {
    const folder = this.folders[row];
    return folder === null ? null : `./${`${folder}/${file}`.split("/").map(encodeURIComponent).join("/")}`;
  }
}

mini.number = (value) => {
  if (value === null || value === undefined) return "";
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-4) return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
};

mini.short = (value) => {
  const text = typeof value === "number" ? mini.number(value) : String(value);
  return text.length > 18 ? `${text.slice(0, 17)}…` : text;
};

mini.duration = (seconds) => {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${Number(seconds.toPrecision(3))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${(seconds / 86400).toFixed(1)} days`;
};

mini.time = (unix) =>
  Number.isFinite(unix)
    ? new Date(unix * 1000).toLocaleString(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" })
    : "";

mini.plural = (count, one) => `${count.toLocaleString()} ${one}${count === 1 ? "" : "s"}`;
