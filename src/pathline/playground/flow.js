/* Particles of a flow on a canvas: play, scrub, draw. One file for the playground and for the pages of the documentation.

   PathlineFlow.mount(element, {onDraw, onPick}) -> player with load(message), which takes
     {kind: "flow", id, box, views: [{title, times, states, classes, data}]}   particles, one view a canvas
     {kind: "backdrop", id, views: [{times, arrows, density}]}                 what stands behind them
     {kind: "draw", box}                                                      an empty square to draw points in
   Arrays are {dtype: "f4" | "u1" | "u2", shape, data: base64, low, high}, as pathline.playground.payload packs them.
   On a static page, <div data-flow="NAME"> shows the messages of <script type="application/json" id="flow-NAME">. */
globalThis.PathlineFlow = globalThis.PathlineFlow || (() => {
  "use strict";
  const THEMES = {
    light: { paper: [255, 255, 255], ink: "#1b1f24", muted: "#5b6470", line: "#c9ced6", data: "rgba(91,100,112,0.28)",
      trail: "rgba(0,114,178,0.22)", arrow: "rgba(27,31,36,0.42)", dense: [95, 165, 210],
      dots: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1b1f24", "#6f2dd6", "#602000", "#002080"] },
    dark: { paper: [21, 24, 29], ink: "#e8ebef", muted: "#9aa4b1", line: "#3a414b", data: "rgba(200,208,218,0.26)",
      trail: "rgba(86,180,233,0.24)", arrow: "rgba(232,235,239,0.42)", dense: [28, 96, 148],
      dots: ["#56b4e9", "#ff8a3d", "#2bd3a2", "#eca3cc", "#f0c040", "#8fd0ff", "#ffffff", "#b18cff", "#d09070", "#8fa2ff"] },
  };
  const TRAILS = 160, SECONDS = 4, MOST_DRAWN = 1500, LATE = 12;
  const STYLE = `
    .plflow { --pl-ink:#1b1f24; --pl-muted:#5b6470; --pl-line:#c9ced6; --pl-face:#f3f5f8; --pl-accent:#0072b2; color:var(--pl-ink);
      font: 14px/1.4 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
    .plflow[data-theme=dark] { --pl-ink:#e8ebef; --pl-muted:#9aa4b1; --pl-line:#3a414b; --pl-face:#252a31; --pl-accent:#56b4e9; }
    .plflow-views { display:flex; flex-wrap:wrap; gap:12px; justify-content:center; }
    .plflow-view { flex:1 1 260px; max-width:640px; min-width:0; margin:0; }
    .plflow-view canvas { display:block; width:100%; aspect-ratio:1; border:1px solid var(--pl-line); border-radius:6px; touch-action:pan-y; }
    .plflow[data-mode=draw] canvas { touch-action:none; cursor:crosshair; }
    .plflow-view figcaption { color:var(--pl-ink); font-size:13px; margin:0 0 4px; min-height:1.4em; text-align:center; }
    .plflow-bar { display:flex; flex-wrap:wrap; gap:8px 12px; align-items:center; margin:8px auto 0; max-width:1292px; }
    .plflow-views[data-count="1"] + .plflow-bar { max-width:640px; }
    .plflow-bar button { background:var(--pl-face); color:var(--pl-ink); border:1px solid var(--pl-line); border-radius:6px; padding:5px 12px;
      font:inherit; cursor:pointer; min-width:84px; min-height:34px; }
    .plflow-bar button:focus-visible, .plflow-bar input:focus-visible, .plflow-bar select:focus-visible { outline:2px solid var(--pl-accent); outline-offset:2px; }
    .plflow-bar input[type=range] { flex:1 1 140px; min-width:100px; accent-color:var(--pl-accent); margin:0; height:28px; }
    .plflow-bar output { font-variant-numeric:tabular-nums; min-width:4.6em; }
    .plflow-bar label { display:inline-flex; gap:5px; align-items:center; color:var(--pl-ink); white-space:nowrap; font-size:13px; }
    .plflow-bar input[type=checkbox] { appearance:auto !important; background:none !important; border:0 !important; box-shadow:none !important; width:15px; height:15px;
      accent-color:var(--pl-accent); margin:0; }
    .plflow-bar input[type=checkbox]::before, .plflow-bar input[type=checkbox]::after { content:none !important; }
    .plflow-bar select { background:var(--pl-face); color:var(--pl-ink); border:1px solid var(--pl-line); border-radius:6px; padding:3px 6px; font:inherit; }
    .plflow [hidden] { display:none !important; }`;

  function unpack(told) {
    const text = atob(told.data), bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    if (told.dtype === "f4") return new Float32Array(bytes.buffer);
    const whole = told.dtype === "u1" ? bytes : new Uint16Array(bytes.buffer);
    const top = told.dtype === "u1" ? 255 : 65535, out = new Float32Array(whole.length);
    for (let i = 0; i < whole.length; i++) out[i] = told.low + (told.high - told.low) * whole[i] / top;
    return out;
  }

  /* The place of t among rising times: [k, part of the way to k + 1]. */
  function place(times, t) {
    let low = 0, high = times.length - 1;
    while (high - low > 1) { const mid = (low + high) >> 1; if (times[mid] <= t) low = mid; else high = mid; }
    const gap = times[high] - times[low];
    return [low, gap > 0 ? Math.min(1, Math.max(0, (t - times[low]) / gap)) : 0];
  }

  function isDark() {
    const html = document.documentElement, body = document.body;
    const scheme = body.getAttribute("data-md-color-scheme") || html.getAttribute("data-md-color-scheme");
    if (scheme) return scheme === "slate";
    if (body.classList.contains("dark") || html.classList.contains("dark")) return true;
    return document.querySelector("gradio-app, .gradio-container") === null && matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function make(tag, attributes = {}, text = "") {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  }

  class View {
    constructor(holder, box, title) {
      this.box = box;
      this.figure = make("figure", { class: "plflow-view" });
      this.caption = make("figcaption", {}, title || "");
      this.canvas = make("canvas", { role: "img" });
      this.figure.append(this.caption, this.canvas);
      this.caption.hidden = !title;
      holder.append(this.figure);
      this.context = this.canvas.getContext("2d", { alpha: false });
      this.small = document.createElement("canvas");
      this.layer = document.createElement("canvas");
      this.walls = [document.createElement("canvas"), document.createElement("canvas")];
      this.stamps = new Map();
    }

    fill(told) {
      this.times = unpack(told.times);
      [this.frames, this.count] = told.states.shape;
      this.states = unpack(told.states);
      this.classes = told.classes ? unpack(told.classes) : null;
      this.data = told.data ? unpack(told.data) : null;
      this.back = this.ways = null;
      this.canvas.setAttribute("aria-label", `${this.count} particles moving from noise to data${told.title ? ", " + told.title : ""}`);
    }

    behind(told) {
      this.back = { times: unpack(told.times), arrows: unpack(told.arrows), side: Math.round(Math.sqrt(told.arrows.shape[1])),
        density: unpack(told.density), cells: told.density.shape[1] };
      for (const wall of this.walls) wall.shown = "";
    }

    /* Asks the page for its size only after that may have changed: to ask in every frame lays the whole page out in every frame. */
    fit(ratio) {
      if (this.fitted && this.ratio === ratio) return;
      this.fitted = true;
      const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
      if (this.canvas.width !== width || this.canvas.height !== width) { this.canvas.width = this.canvas.height = width; }
      this.ratio = ratio;
    }

    x(v) { return (v - this.box[0]) / (this.box[1] - this.box[0]) * this.canvas.width; }
    y(v) { return (this.box[3] - v) / (this.box[3] - this.box[2]) * this.canvas.height; }

    /* A dot as pixels: for each of 4 x 4 places within a pixel [dx, dy, offset, word] of what it covers, words of little-endian RGBA. */
    dots(colour, opacity, radius) {
      const width = this.canvas.width, key = [colour, opacity, radius, width].join();
      if (this.stamps.has(key)) return this.stamps.get(key);
      const probe = this.small.getContext("2d", { willReadFrequently: true });
      probe.clearRect(0, 0, 1, 1);
      probe.fillStyle = colour;
      probe.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = probe.getImageData(0, 0, 1, 1).data, reach = Math.ceil(radius) + 1, made = [];
      for (let place = 0; place < 16; place++) {
        const cx = ((place % 4) + 0.5) / 4, cy = (Math.floor(place / 4) + 0.5) / 4, stamp = [];
        for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) {
          const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x + 0.5 - cx, y + 0.5 - cy)));
          if (cover > 0.02) stamp.push(x, y, y * width + x, (Math.round(a * opacity * cover) << 24) | (b << 16) | (g << 8) | r);
        }
        made.push(Int32Array.from(stamp));
      }
      made.reach = reach;
      if (this.stamps.size > 40) this.stamps.clear();  // of former sizes
      this.stamps.set(key, made);
      return made;
    }

    /* An empty sheet of pixels to stamp dots on: several times as fast as drawing each, where no graphics card helps. */
    sheet() {
      const width = this.canvas.width;
      if (!this.image || this.image.width !== width) {
        this.layer.width = this.layer.height = width;
        this.image = new ImageData(width, width);
        this.words = new Uint32Array(this.image.data.buffer);
      } else this.words.fill(0);
    }

    /* One dot with its centre at (x, y), in pixels, over what is there. */
    stamp(dots, x, y) {
      const width = this.canvas.width, left = Math.floor(x), top = Math.floor(y), reach = dots.reach, words = this.words;
      if (!(left > -reach && top > -reach && left < width + reach && top < width + reach)) return;
      const whole = left >= reach && top >= reach && left < width - reach && top < width - reach;
      const stamp = dots[4 * Math.floor(4 * (y - top)) + Math.floor(4 * (x - left))], origin = top * width + left;
      for (let i = 0; i < stamp.length; i += 4) {
        if (!whole) {
          const px = left + stamp[i], py = top + stamp[i + 1];
          if (px < 0 || py < 0 || px >= width || py >= width) continue;
        }
        const at = origin + stamp[i + 2], word = stamp[i + 3], under = words[at];
        if (under === 0) { words[at] = word; continue; }
        const above = word >>> 24, all = above + (under >>> 24) * (255 - above) / 255, share = above / all;
        const r = (under & 255) + share * ((word & 255) - (under & 255));
        const g = (under >>> 8 & 255) + share * ((word >>> 8 & 255) - (under >>> 8 & 255));
        const b = (under >>> 16 & 255) + share * ((word >>> 16 & 255) - (under >>> 16 & 255));
        words[at] = (Math.round(all) << 24) | (b << 16) | (g << 8) | r;
      }
    }

    lay() {
      this.layer.getContext("2d").putImageData(this.image, 0, 0);
      this.context.drawImage(this.layer, 0, 0);
    }

    /* The density between two of its times: one picture of each, as large as the canvas and kept, and a part of the later one. */
    paintDensity(theme, t) {
      const [k, part] = place(this.back.times, t), pen = this.context;
      pen.drawImage(this.wall(theme, k), 0, 0);
      if (part === 0) return;
      pen.globalAlpha = part;
      pen.drawImage(this.wall(theme, k + 1), 0, 0);
      pen.globalAlpha = 1;
    }

    wall(theme, k) {
      const wall = this.walls[k % 2], { density, cells } = this.back, width = this.canvas.width, shown = [k, width, theme.ink].join();
      if (wall.shown === shown) return wall;
      wall.shown = shown;
      wall.width = wall.height = width;
      this.small.width = this.small.height = cells;
      const image = new ImageData(cells, cells), begin = k * cells * cells;
      for (let row = 0; row < cells; row++) for (let column = 0; column < cells; column++) {
        const v = density[begin + row * cells + column], to = 4 * ((cells - 1 - row) * cells + column);
        for (let c = 0; c < 3; c++) image.data[to + c] = theme.paper[c] + v * (theme.dense[c] - theme.paper[c]);
        image.data[to + 3] = 255;
      }
      this.small.getContext("2d").putImageData(image, 0, 0);
      wall.getContext("2d", { alpha: false }).drawImage(this.small, 0, 0, width, width);
      return wall;
    }

    paintArrows(theme, t) {
      const pen = this.context, { times, arrows, side } = this.back, [k, part] = place(times, t);
      const next = Math.min(k + 1, times.length - 1), size = 2 * side * side, cell = this.canvas.width / side, head = 0.22 * cell;
      pen.strokeStyle = theme.arrow;
      pen.lineWidth = this.ratio;
      pen.beginPath();
      for (let i = 0; i < side * side; i++) {
        const at = 2 * i;
        let dx = (1 - part) * arrows[k * size + at] + part * arrows[next * size + at];
        let dy = (1 - part) * arrows[k * size + at + 1] + part * arrows[next * size + at + 1];
        const long = Math.hypot(dx, dy);
        if (!(long > 0.02)) continue;
        const cut = 0.85 * cell / Math.max(1, long);
        dx *= cut; dy *= -cut;
        const x = ((i % side) + 0.5) * cell - 0.5 * dx, y = this.canvas.height - (Math.floor(i / side) + 0.5) * cell - 0.5 * dy;
        const angle = Math.atan2(dy, dx), tip = Math.min(head, 0.5 * Math.hypot(dx, dy));
        pen.moveTo(x, y);
        pen.lineTo(x + dx, y + dy);
        for (const turn of [2.6, -2.6]) {
          pen.moveTo(x + dx, y + dy);
          pen.lineTo(x + dx + tip * Math.cos(angle + turn), y + dy + tip * Math.sin(angle + turn));
        }
      }
      pen.stroke();
    }

    /* The ways so far, by colour: what lies behind is kept, and grows with the time. */
    paintTrails(theme, k, part) {
      const pen = this.context, n = this.count, s = this.states, width = this.canvas.width;
      if (!this.ways || this.ways.width !== width || this.ways.k > k) this.ways = { width, k: 0, groups: this.trailing() };
      const from = this.ways.k;
      this.ways.k = k;
      pen.lineWidth = this.ratio;
      for (const { colour, members, path } of this.ways.groups) {
        for (let f = from; f < k; f++) for (const i of members) {  // by the time, so that a picture does not tell how one came to it
          path.moveTo(this.x(s[2 * (f * n + i)]), this.y(s[2 * (f * n + i) + 1]));
          path.lineTo(this.x(s[2 * ((f + 1) * n + i)]), this.y(s[2 * ((f + 1) * n + i) + 1]));
        }
        const whole = new Path2D(path);
        if (part > 0) for (const i of members) {
          whole.moveTo(this.x(s[2 * (k * n + i)]), this.y(s[2 * (k * n + i) + 1]));
          whole.lineTo(this.x(this.at(i, k, part, 0)), this.y(this.at(i, k, part, 1)));
        }
        pen.strokeStyle = colour < 0 ? theme.trail : theme.dots[colour] + "44";
        pen.stroke(whole);
      }
    }

    /* The particles that leave a trail, by colour. */
    trailing() {
      const groups = new Map();
      for (let i = 0; i < this.count; i += Math.max(1, Math.floor(this.count / TRAILS))) {
        const colour = this.classes ? this.classes[i] : -1;
        if (!groups.has(colour)) groups.set(colour, { colour, members: [], path: new Path2D() });
        groups.get(colour).members.push(i);
      }
      return [...groups.values()];
    }

    /* The whole way of one particle, and a ring around it. */
    paintPicked(theme, k, part) {
      const pen = this.context, i = this.picked, n = this.count, s = this.states;
      pen.lineWidth = 2 * this.ratio;
      pen.strokeStyle = theme.ink;
      pen.beginPath();
      for (let f = 0; f < this.frames; f++) pen[f ? "lineTo" : "moveTo"](this.x(s[2 * (f * n + i)]), this.y(s[2 * (f * n + i) + 1]));
      pen.stroke();
      pen.beginPath();
      pen.arc(this.x(this.at(i, k, part, 0)), this.y(this.at(i, k, part, 1)), 7 * this.ratio, 0, 2 * Math.PI);
      pen.stroke();
    }

    /* The particle nearest to a place of the box at the time t. */
    nearest(t, x, y) {
      const [k, part] = place(this.times, t);
      let best = 0, least = Infinity;
      for (let i = 0; i < this.count; i++) {
        const far = (this.at(i, k, part, 0) - x) ** 2 + (this.at(i, k, part, 1) - y) ** 2;
        if (far < least) { least = far; best = i; }
      }
      return best;
    }

    at(i, k, part, axis) {
      const a = this.states[2 * (k * this.count + i) + axis], b = this.states[2 * (Math.min(k + 1, this.frames - 1) * this.count + i) + axis];
      return a + part * (b - a);
    }

    paint(t, dark, show, ratio) {
      this.fit(ratio);
      const theme = dark ? THEMES.dark : THEMES.light, pen = this.context, width = this.canvas.width;
      pen.fillStyle = `rgb(${theme.paper})`;
      pen.fillRect(0, 0, width, this.canvas.height);
      if (!this.times) return;
      if (show.density && this.back) this.paintDensity(theme, t);
      if (show.data && this.data) this.paintPoints(this.data, theme.data, 1.3);
      if (show.arrows && this.back) this.paintArrows(theme, t);
      const [k, part] = place(this.times, t);
      if (show.trails) this.paintTrails(theme, k, part);
      if (this.picked !== undefined) this.paintPicked(theme, k, part);
      const radius = this.ratio * Math.min(3, Math.max(1.5, 90 / Math.sqrt(this.count)));
      const dots = (this.classes ? theme.dots : theme.dots.slice(0, 1)).map((colour) => this.dots(colour, 0.82, radius));
      const n = this.count, now = 2 * k * n, then = 2 * Math.min(k + 1, this.frames - 1) * n, s = this.states;
      const [left, right, bottom, top] = this.box, fx = width / (right - left), fy = this.canvas.height / (top - bottom);
      this.sheet();
      for (let i = 0; i < n; i++) {
        const px = s[now + 2 * i], py = s[now + 2 * i + 1];
        const x = (px + part * (s[then + 2 * i] - px) - left) * fx, y = (top - py - part * (s[then + 2 * i + 1] - py)) * fy;
        this.stamp(dots[this.classes ? this.classes[i] : 0], x, y);
      }
      this.lay();
    }

    paintPoints(points, colour, radius) {
      const dots = this.dots(colour, 0.82, this.ratio * radius);
      this.sheet();
      for (let i = 0; i < points.length; i += 2) this.stamp(dots, this.x(points[i]), this.y(points[i + 1]));
      this.lay();
    }
  }

  class Player {
    constructor(element, options) {
      this.options = options;
      this.views = [];
      this.t = 0;
      this.drawn = [];
      this.root = make("div", { class: "plflow" });
      this.holder = make("div", { class: "plflow-views" });
      this.bar = make("div", { class: "plflow-bar", role: "group", "aria-label": "playback" });
      this.bar.hidden = true;  // until there is something to play
      this.button = make("button", { type: "button" }, "Play");
      this.slider = make("input", { type: "range", min: "0", max: "1", step: "any", value: "0", "aria-label": "time t, from 0 noise to 1 data" });
      this.told = make("output", {}, "t = 0.00");
      this.boxes = {};
      this.bar.append(this.button, this.slider, this.told);
      const given = options.show || { trails: true, density: true, arrows: false, data: false };
      for (const [name, text] of [["trails", "trails"], ["density", "density"], ["arrows", "field"], ["data", "data"]]) {
        const label = make("label"), box = make("input", { type: "checkbox" });
        box.checked = Boolean(given[name]);
        box.addEventListener("change", () => this.paint());
        label.append(box, text);
        label.hidden = true;
        this.bar.append(label);
        this.boxes[name] = box;
      }
      this.tools();
      this.root.append(this.holder, this.bar, this.pens);
      element.replaceChildren(this.root);
      this.button.addEventListener("click", () => (this.playing ? this.pause() : this.play()));
      this.slider.addEventListener("input", () => { const t = Number(this.slider.value); this.pause(); this.seek(t); });
      new ResizeObserver(() => { for (const view of this.views) view.fitted = false; this.paint(); }).observe(this.holder);
      const again = () => { this.dark = isDark(); this.paint(); };
      this.dark = isDark();
      const watcher = new MutationObserver(again);
      for (const node of [document.body, document.documentElement]) watcher.observe(node, { attributes: true, attributeFilter: ["class", "data-md-color-scheme"] });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
      this.state("empty");
    }

    tools() {
      this.pens = make("div", { class: "plflow-bar", role: "group", "aria-label": "drawing" });
      this.brush = make("select", { "aria-label": "class of the points you draw" });
      for (let c = 0; c < 4; c++) this.brush.append(make("option", { value: String(c) }, `class ${c}`));
      const undo = make("button", { type: "button" }, "Undo"), clear = make("button", { type: "button" }, "Clear");
      this.counted = make("output", {}, "");
      undo.addEventListener("click", () => { this.drawn = this.drawn.slice(0, this.strokes.pop() || 0); this.tell(); });
      clear.addEventListener("click", () => { this.drawn = []; this.strokes = []; this.tell(); });
      this.pens.append(make("span", {}, "Drag on the square to draw data."), this.brush, undo, clear, this.counted);
      this.pens.hidden = true;
    }

    state(name) { this.root.dataset.state = name; }

    load(message) {
      if (!message || !message.kind) return;
      if (message.kind === "backdrop") {
        if (message.id !== this.root.dataset.flow) return;  // of a play that has been replaced
        message.views.forEach((told, i) => this.views[i].behind(told));
        this.root.dataset.backdrop = message.id;
        this.offer(true);
        this.paint();
        return;
      }
      this.pause();
      this.holder.replaceChildren();
      const draws = message.kind === "draw";
      this.root.dataset.mode = message.kind;
      this.bar.hidden = draws;
      this.pens.hidden = !draws;
      const wanted = draws ? [{ title: "" }] : message.views;
      this.holder.dataset.count = wanted.length;
      this.views = wanted.map((told) => new View(this.holder, message.box, told.title));
      if (draws) { this.listen(this.views[0]); this.state("drawing"); this.tell(false); return; }
      message.views.forEach((told, i) => { this.views[i].fill(told); this.pickable(this.views[i], i); });
      this.root.dataset.flow = message.id;
      delete this.root.dataset.backdrop;
      delete this.root.dataset.picked;
      this.state("ready");
      this.offer(false);
      this.seek(0);
      this.arrived = performance.now();
      this.root.dataset.first = String(this.arrived);
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches || message.still;
      if (!still) this.play();
    }

    /* Only what there is can be switched on. */
    offer(backdrop) {
      this.boxes.trails.parentElement.hidden = false;
      this.boxes.data.parentElement.hidden = !this.views.some((view) => view.data);
      this.boxes.density.parentElement.hidden = this.boxes.arrows.parentElement.hidden = !backdrop;
    }

    /* A click follows the nearest particle, the same one in every view: particle i has the same noise in all. */
    pickable(view, which) {
      view.canvas.style.cursor = "pointer";
      view.canvas.addEventListener("click", (event) => {
        const area = view.canvas.getBoundingClientRect(), [left, right, bottom, top] = view.box;
        const x = left + (event.clientX - area.left) / area.width * (right - left), y = top - (event.clientY - area.top) / area.height * (top - bottom);
        const index = view.nearest(this.t, x, y);
        for (const other of this.views) other.picked = index < other.count ? index : undefined;
        this.root.dataset.picked = String(index);
        this.paint();
        if (this.options.onPick) this.options.onPick(index, which);
      });
    }

    listen(view) {
      const canvas = view.canvas;
      canvas.setAttribute("aria-label", "a square to draw data in with the mouse or a finger");
      const put = (event) => {
        const area = canvas.getBoundingClientRect(), [left, right, bottom, top] = view.box;
        const x = left + (event.clientX - area.left) / area.width * (right - left), y = top - (event.clientY - area.top) / area.height * (top - bottom);
        for (let i = 0; i < 3 && this.drawn.length < MOST_DRAWN; i++) {  // a brush of a little width
          const angle = 2 * Math.PI * Math.random(), far = 0.12 * Math.sqrt(Math.random());
          this.drawn.push([x + far * Math.cos(angle), y + far * Math.sin(angle), Number(this.brush.value)]);
        }
        this.tell(false);
      };
      this.strokes = this.strokes || [];
      canvas.addEventListener("pointerdown", (event) => { this.down = true; this.strokes.push(this.drawn.length); canvas.setPointerCapture(event.pointerId); put(event); });
      canvas.addEventListener("pointermove", (event) => { if (this.down) put(event); });
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { if (this.down) { this.down = false; this.tell(); } });
    }

    tell(send = true) {
      this.counted.textContent = `${this.drawn.length} points${this.drawn.length >= MOST_DRAWN ? " (all that fit)" : ""}`;
      this.root.dataset.drawn = String(this.drawn.length);
      this.paint();
      if (send && this.options.onDraw) this.options.onDraw(this.drawn.map((p) => p.map((v) => Math.round(v * 100) / 100)));
    }

    play() {
      if (!this.views.length || this.playing) return;
      if (this.t >= 1) this.seek(0);
      this.playing = true;
      this.button.textContent = "Pause";
      this.state("playing");
      this.gaps = [];
      let before = null;
      const step = (now) => {
        if (!this.playing) return;
        if (before !== null) {
          this.gaps.push(now - before);
          const last = this.gaps.slice(-LATE);  // a fine screen and no graphics card: play coarsely, stand still finely
          if (last.length === LATE && last.reduce((a, b) => a + b) > 20 * LATE) this.coarse = true;
          this.seek(Math.min(1, this.t + (now - before) / 1000 / SECONDS));
        }
        before = now;
        if (this.t >= 1) { this.pause(); return; }
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    }

    pause() {
      if (!this.playing) return;
      this.playing = false;
      this.button.textContent = "Play";
      this.tellTime();
      this.root.dataset.cost = this.cost.toFixed(2);
      if (this.coarse) this.paint();
      if (this.gaps.length) {
        this.root.dataset.fps = (1000 * this.gaps.length / this.gaps.reduce((a, b) => a + b)).toFixed(1);
        this.root.dataset.gaps = JSON.stringify(this.gaps.map((g) => Math.round(10 * g) / 10));
      }
      this.state("paused");
    }

    seek(t) {
      this.t = t;
      this.tellTime();
      this.paint();
    }

    /* While it plays a hundred times, not in every frame: what stands around the canvas costs more than the canvas. */
    tellTime() {
      const text = `t = ${this.t.toFixed(2)}`;
      if (this.playing && text === this.told.textContent) return;
      this.told.textContent = text;
      this.slider.value = String(this.t);
      this.root.dataset.t = this.t.toFixed(4);
    }

    paint() {
      const dark = this.dark, begin = performance.now(), theme = dark ? "dark" : "light";
      if (this.root.dataset.theme !== theme) this.root.dataset.theme = theme;
      const show = Object.fromEntries(Object.entries(this.boxes).map(([name, box]) => [name, box.checked]));
      for (const view of this.views) {
        view.paint(this.t, dark, show, this.playing && this.coarse ? 1 : Math.min(2, globalThis.devicePixelRatio || 1));
        if (this.root.dataset.mode === "draw") {
          const colours = (dark ? THEMES.dark : THEMES.light).dots;
          for (let c = 0; c < 4; c++) view.paintPoints(this.drawn.filter((p) => p[2] === c).flatMap((p) => [p[0], p[1]]), colours[c], 1.8);
        }
      }
      this.cost = performance.now() - begin;
    }
  }

  function mount(element, options = {}) {
    if (!document.getElementById("plflow-style")) {
      const style = make("style", { id: "plflow-style" }, STYLE);
      document.head.append(style);
    }
    return new Player(element, options);
  }

  function mountStatic() {
    for (const element of document.querySelectorAll("[data-flow]:not([data-mounted])")) {
      const told = document.getElementById(`flow-${element.dataset.flow}`);
      if (!told || element.classList.contains("plflow")) continue;
      element.dataset.mounted = "yes";
      const messages = JSON.parse(told.textContent), player = mount(element, messages.options || {});
      for (const message of messages.messages) player.load({ ...message, still: true });
      new IntersectionObserver((seen, watcher) => {  // begins when it comes into sight
        if (!seen.some((entry) => entry.isIntersecting)) return;
        watcher.disconnect();
        if (!matchMedia("(prefers-reduced-motion: reduce)").matches) player.play();
      }, { threshold: 0.4 }).observe(element);
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountStatic);
  else mountStatic();
  return { mount, mountStatic, unpack };
})();
