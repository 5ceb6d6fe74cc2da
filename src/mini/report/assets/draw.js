// Elements and canvases. Text goes through textContent; there is no way here to put markup into the page.
const h = (tag, given = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else if (name === "class") element.className = value;
    else if (name in element && !name.includes("-") && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false && child !== 0));
  return element;
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
mini.isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// A canvas as sharp as the screen is. Returns its context and its size, or null where it has no room.
mini.canvas = (canvas, height) => {
  const width = canvas.parentElement.clientWidth, ratio = devicePixelRatio || 1;
  if (!width) return null;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `12px ${colour("font")}`;
  return { context, width, height };
};

const PALETTE = {
  light: ["#2f66d0", "#d4581c", "#1f8f63", "#9b40ad", "#ad8200", "#1b8fae", "#c23a63", "#6b7280"],
  dark: ["#7aa7ff", "#ff9a62", "#55cf9c", "#d48be6", "#e6bd4a", "#63cbe8", "#ff85a5", "#a3abba"],
};
mini.palette = (i) => PALETTE[mini.isDark() ? "dark" : "light"][i % 8];

// From the worst, which steps back, to the best, which stands out.
const RAMP = {
  light: [[208, 214, 224], [138, 178, 214], [62, 131, 190], [28, 78, 156], [20, 32, 96]],
  dark: [[58, 68, 84], [58, 104, 138], [70, 150, 184], [104, 190, 214], [170, 228, 236]],
};
mini.RAMP_STEPS = 24;
mini.ramp = (share) => {
  const stops = RAMP[mini.isDark() ? "dark" : "light"];
  if (!Number.isFinite(share)) return mini.isDark() ? "#4a505c" : "#d9dce2";
  const at = Math.min(0.9999, Math.max(0, share)) * (stops.length - 1), i = Math.floor(at);
  const mixed = stops[i].map((part, k) => Math.round(part + (stops[i + 1][k] - part) * (at - i)));
  return `rgb(${mixed.join(",")})`;
};

// How good a row is among all: by rank, so that one diverged job does not make all others look alike.
mini.goodness = (model, column, lower) => {
  const shares = new Float64Array(model.jobs).fill(NaN);
  if (!column) return shares;
  const known = [];
  for (let i = 0; i < model.jobs; i++) if (Number.isFinite(column.num[i])) known.push(i);
  known.sort((a, b) => column.num[a] - column.num[b]);
  let rank = 0;
  known.forEach((row, i) => {
    if (i && column.num[row] !== column.num[known[i - 1]]) rank = i;
    const share = known.length > 1 ? rank / (known.length - 1) : 1;
    shares[row] = lower ? 1 - share : share;
  });
  return shares;
};

mini.stateColour = (state) => colour(`state-${["done", "running", "queued", "cancelled"].includes(state) ? state : "failed"}`);

// A small box beside the pointer.
mini.tip = {
  element: null,
  show(event, lines) {
    if (!this.element) document.body.append((this.element = h("div", { class: "tip", role: "presentation" })));
    this.element.replaceChildren(...lines.filter(Boolean).map((line, i) => h("div", { class: i ? "" : "strong" }, line)));
    this.element.hidden = false;
    const box = this.element.getBoundingClientRect();
    const x = Math.min(event.clientX + 14, innerWidth - box.width - 8);
    const y = event.clientY + 16 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 16;
    this.element.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
  },
  hide() {
    if (this.element) this.element.hidden = true;
  },
};

mini.card = (title, note, controls, ...body) =>
  h("section", { class: "card", "aria-label": title },
    h("header", {}, h("h2", {}, title), note ? h("p", { class: "note" }, note) : null, h("div", { class: "controls" }, controls || [])),
    ...body);

mini.select = (label, options, value, change) =>
  h("label", { class: "field" }, h("span", {}, label),
    h("select", { onchange: (event) => change(event.target.value) },
      options.map(([key, text]) => h("option", { value: key, selected: key === value }, text))));

mini.check = (label, checked, change) =>
  h("label", { class: "check" }, h("input", { type: "checkbox", checked, onchange: (event) => change(event.target.checked) }), h("span", {}, label));

mini.menu = (label, entries) =>
  h("details", { class: "menu", onkeydown: (e) => { if (e.key === "Escape") { e.currentTarget.open = false; e.currentTarget.firstChild.focus(); } } },
    h("summary", {}, label), h("div", { class: "entries" }, entries));
document.addEventListener("pointerdown", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
