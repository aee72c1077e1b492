"use strict";
// Three planes of a scan with one cursor. The server sends voxels; windowing happens here, so that it follows the mouse.

const PLANES = {
  axial: { fixed: "slice", down: "row", across: "column" },
  coronal: { fixed: "row", down: "slice", across: "column" },
  sagittal: { fixed: "column", down: "slice", across: "row" },
};
const PRESETS = { lung: [-600, 1500], soft: [40, 400], bone: [400, 1800] }; // centre and width, HU
const HELD_BYTES = 96e6;
const PREFETCH = 4;

class Viewer {
  // figures: {axial, coronal, sagittal}: elements that hold a canvas, an svg and an output. onMove: called with the cursor.
  constructor(figures, onMove, onProblem) {
    this.figures = figures;
    this.onMove = onMove;
    this.onProblem = onProblem;
    this.held = new Map(); // address -> promise of voxels, the newest last
    this.window = [...PRESETS.lung];
    this.dragsWindow = false;
    this.clear();
    for (const [name, figure] of Object.entries(figures)) this.#listen(name, figure);
  }

  // Nothing of a scan stays in this page.
  clear() {
    this.loading?.abort();
    this.loading = new AbortController();
    this.held.clear();
    this.job = null;
    this.chosen = -1;
    for (const figure of Object.values(this.figures)) {
      const canvas = figure.querySelector("canvas");
      canvas.width = canvas.height = 1;
      canvas.removeAttribute("data-index");
      figure.querySelector("svg").replaceChildren();
    }
  }

  show(job) {
    this.clear();
    this.job = job;
    const { slices, rows, columns, slice_mm, row_mm, column_mm } = job.scan;
    this.size = { slice: slices, row: rows, column: columns };
    this.mm = { slice: slice_mm, row: row_mm, column: column_mm };
    for (const [name, { down, across }] of Object.entries(PLANES)) {
      const width = this.size[across] * this.mm[across];
      const height = this.size[down] * this.mm[down];
      const stage = this.figures[name].querySelector(".stage");
      stage.style.aspectRatio = `${width} / ${height}`;
      stage.querySelector("svg").setAttribute("viewBox", `0 0 ${width} ${height}`);
    }
    this.cursor = { slice: Math.floor(slices / 2), row: Math.floor(rows / 2), column: Math.floor(columns / 2) };
  }

  moveTo(place) {
    for (const [axis, value] of Object.entries(place)) {
      this.cursor[axis] = Math.max(0, Math.min(Math.round(value), this.size[axis] - 1));
    }
    this.draw();
    this.onMove(this.cursor);
  }

  setWindow(center, width) {
    this.window = [Math.round(Math.max(-1024, Math.min(center, 3000))), Math.round(Math.max(2, Math.min(width, 4000)))];
    this.draw();
  }

  draw() {
    if (this.job) for (const name of Object.keys(PLANES)) this.#drawPlane(name);
  }

  addressOf(name, index) {
    return `/scans/${this.job.number}/planes/${name}/${index}.raw`;
  }

  // --- voxels --------------------------------------------------------------------------------

  #voxels(address) {
    const known = this.held.get(address) ?? this.#load(address);
    this.held.delete(address);
    this.held.set(address, known);
    const each = this.size.row * Math.max(this.size.column, this.size.slice) * 2;
    while (this.held.size > Math.max(8, HELD_BYTES / each)) this.held.delete(this.held.keys().next().value);
    return known;
  }

  async #load(address) {
    const response = await fetch(address, { signal: this.loading.signal });
    if (!response.ok) throw new Error(response.status);
    return new Int16Array(await response.arrayBuffer());
  }

  async #drawPlane(name) {
    const { fixed } = PLANES[name];
    const job = this.job;
    const index = this.cursor[fixed];
    const address = this.addressOf(name, index);
    let voxels;
    try {
      voxels = await this.#voxels(address);
    } catch {
      this.held.delete(address); // so that the next try asks the server again
      if (this.job === job && this.cursor[fixed] === index) this.onProblem("This slice could not be loaded.");
      return;
    }
    if (this.job !== job || this.cursor[fixed] !== index) return; // the reader is elsewhere by now
    // Picture and marks change together: a mark must never lie on another slice.
    this.#paint(name, voxels, index);
    this.#mark(name, index);
    if (name !== "axial") return;
    for (let away = 1; away <= PREFETCH; away++) {
      for (const other of [index + away, index - away].filter((k) => k >= 0 && k < this.size.slice)) {
        const beside = this.addressOf(name, other);
        this.#voxels(beside).catch(() => this.held.delete(beside));
      }
    }
  }

  #paint(name, voxels, index) {
    const { down, across, fixed } = PLANES[name];
    const canvas = this.figures[name].querySelector("canvas");
    const context = canvas.getContext("2d");
    canvas.width = this.size[across];
    canvas.height = this.size[down];
    const image = context.createImageData(canvas.width, canvas.height);
    const grey = new Uint32Array(image.data.buffer);
    const [center, width] = this.window;
    const low = center - width / 2;
    for (let i = 0; i < grey.length; i++) {
      const value = Math.max(0, Math.min(255, ((voxels[i] - low) * 255) / width)) | 0;
      grey[i] = 0xff000000 | (value << 16) | (value << 8) | value;
    }
    context.putImageData(image, 0, 0);
    canvas.dataset.index = index;
    const text = `${name}, ${fixed} ${index + 1} of ${this.size[fixed]}`;
    canvas.setAttribute("aria-label", text);
    this.figures[name].querySelector("output").textContent = `${index + 1} of ${this.size[fixed]}`;
  }

  // --- marks ---------------------------------------------------------------------------------

  // Where a slice lies on the screen: in upright pictures the head is above.
  #onScreen(axis, value) {
    const flips = axis === "slice" && this.job.scan.z_step_mm > 0;
    return flips ? this.size.slice - 1 - value : value;
  }

  #mark(name, index) {
    const { fixed, down, across } = PLANES[name];
    const svg = this.figures[name].querySelector("svg");
    const pixel_mm = (this.size[across] * this.mm[across]) / Math.max(svg.clientWidth, 1);
    const place = (axis, value) => (this.#onScreen(axis, value) + 0.5) * this.mm[axis];
    const marks = [];
    const make = (tag, attributes, parent) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      parent?.append(made);
      return made;
    };
    const x = place(across, this.cursor[across]);
    const y = place(down, this.cursor[down]);
    const [width, height] = [this.size[across] * this.mm[across], this.size[down] * this.mm[down]];
    const gap = 14; // mm around the cursor that stay free, so that nothing is hidden
    const lines = [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]];
    for (const [x1, y1, x2, y2] of lines) {
      if (x2 > x1 || y2 > y1) marks.push(make("line", { class: "cursor", x1, y1, x2, y2 }));
    }
    this.job.findings.forEach((finding, number) => {
      const radius = (finding.diameter_mm ?? 10) / 2;
      if (Math.abs(finding[fixed] - index) * this.mm[fixed] > Math.max(radius, this.mm[fixed])) return;
      const [cx, cy] = [place(across, finding[across]), place(down, finding[down])];
      const group = make("g", { "data-finding": number + 1 });
      if (number === this.chosen) group.setAttribute("class", "chosen");
      make("circle", { cx, cy, r: radius + 3 }, group);
      const left = cx > width * 0.85; // a number stays inside the picture
      const label = make("text", {
        x: left ? cx - radius - 4 : cx + radius + 4, y: Math.max(cy - radius - 2, 16 * pixel_mm),
        "font-size": 16 * pixel_mm, "text-anchor": left ? "end" : "start",
      }, group);
      label.textContent = number + 1;
      marks.push(group);
    });
    svg.replaceChildren(...marks);
  }

  // --- mouse, finger, keys -------------------------------------------------------------------

  #listen(name, figure) {
    const { fixed, down, across } = PLANES[name];
    const stage = figure.querySelector(".stage");
    let drag = null;
    const aim = (event) => {
      const box = stage.getBoundingClientRect();
      const at = (share, axis) => {
        const value = Math.floor(Math.max(0, Math.min(share, 0.9999)) * this.size[axis]);
        return this.#onScreen(axis, value);
      };
      this.moveTo({
        [across]: at((event.clientX - box.left) / box.width, across),
        [down]: at((event.clientY - box.top) / box.height, down),
      });
    };
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("pointerdown", (event) => {
      if (!this.job) return;
      const forWindow = this.dragsWindow || event.button === 2 || event.shiftKey;
      drag = { x: event.clientX, y: event.clientY, window: forWindow ? [...this.window] : null };
      if (event.pointerId) stage.setPointerCapture?.(event.pointerId);
      if (!forWindow) aim(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!drag || !this.job) return;
      if (!drag.window) return aim(event);
      const [center, width] = drag.window;
      this.setWindow(center - 3 * (event.clientY - drag.y), width + 4 * (event.clientX - drag.x));
      this.onMove(this.cursor);
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { drag = null; });
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (this.job) this.moveTo({ [fixed]: this.cursor[fixed] + Math.sign(event.deltaY) });
    }, { passive: false });
    const up = (axis) => (axis === "slice" && this.job.scan.z_step_mm > 0 ? 1 : -1);
    stage.addEventListener("keydown", (event) => {
      if (!this.job || event.ctrlKey || event.metaKey || event.altKey) return;
      const steps = {
        ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [down, up(down)], ArrowDown: [down, -up(down)],
        PageUp: [fixed, -1], PageDown: [fixed, 1],
      };
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      this.moveTo({ [step[0]]: this.cursor[step[0]] + step[1] });
    });
  }
}
