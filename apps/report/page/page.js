// Draws what every block computed of a photograph, and says what a mark stands for. All numbers come with the page.
"use strict";

const photographs = JSON.parse(document.getElementById("photographs").textContent);
const byId = (id) => document.getElementById(id);
const heat = byId("heat"), mask = byId("mask"), slider = byId("block"), sheet = byId("sheet");
const thumbs = [...document.querySelectorAll("[data-photograph]")];

// Inferno, which stays in order in grey and for every kind of colour vision.
const kRamp = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

const state = { photograph: 0, block: 0, patch: null };

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const count = (value) => value >= 1e9 ? `${(value / 1e9).toPrecision(3)} G` : value >= 1e6 ? `${(value / 1e6).toPrecision(3)} M`
  : value >= 1e3 ? `${(value / 1e3).toPrecision(3)} k` : String(Math.round(value));
const time = (ms) => ms >= 1 ? `${ms.toPrecision(3)} ms` : `${(1000 * ms).toPrecision(3)} µs`;

function colour(share) {
  const at = Math.max(0, Math.min(1, share)) * (kRamp.length - 1), low = Math.min(Math.floor(at), kRamp.length - 2), part = at - low;
  return kRamp[low].map((value, i) => Math.round(value + part * (kRamp[low + 1][i] - value)));
}

const isActive = (block, row, column) => block.mask[row * block.cols + column] === "1";

// Of a patch, as shares of the picture: left, top, right, bottom.
function place(block, row, column) {
  const [height, width] = block.map, side = block.patch || Math.max(height, width);
  return [column * side / width, row * side / height, Math.min(1, (column + 1) * side / width), Math.min(1, (row + 1) * side / height)];
}

function fit(canvas, photograph) {
  canvas.width = photograph.width;
  canvas.height = photograph.height;
  return canvas.getContext("2d");
}

// How many blocks computed each pixel of the finest map.
function density(photograph) {
  const [height, width] = photograph.blocks[0].map, sums = new Float32Array(height * width);
  for (const block of photograph.blocks) {
    const side = block.patch || Math.max(...block.map);
    for (let y = 0; y < height; ++y) {
      const row = Math.min(block.rows - 1, Math.floor((y + 0.5) / height * block.map[0] / side));
      for (let x = 0; x < width; ++x) {
        const column = Math.min(block.cols - 1, Math.floor((x + 0.5) / width * block.map[1] / side));
        if (isActive(block, row, column)) sums[y * width + x] += 1 / photograph.blocks.length;
      }
    }
  }
  return { height, width, sums };
}

function drawHeat(photograph, image) {
  const to = fit(heat, photograph), { height, width, sums } = density(photograph);
  const small = new OffscreenCanvas(width, height), cells = small.getContext("2d"), pixels = cells.createImageData(width, height);
  const low = Math.min(...sums), high = Math.max(...sums), span = Math.max(1e-6, high - low);
  sums.forEach((sum, i) => {
    const share = (sum - low) / span;
    pixels.data.set([...colour(0.14 + 0.8 * share), 255], 4 * i);
  });
  cells.putImageData(pixels, 0, 0);
  // The photograph in grey, tinted, then its light and shade once more, so that it stays a photograph.
  const grey = (mode, alpha) => {
    to.globalCompositeOperation = mode;
    to.globalAlpha = alpha;
    to.filter = "grayscale(1) contrast(1.1)";
    to.drawImage(image, 0, 0, heat.width, heat.height);
    to.filter = "none";
  };
  grey("source-over", 1);
  to.globalAlpha = 0.84;
  to.imageSmoothingQuality = "high";
  to.drawImage(small, 0, 0, heat.width, heat.height);
  grey("soft-light", 1);
  to.globalAlpha = 1;
  to.globalCompositeOperation = "source-over";

  heat.setAttribute("aria-label", `heat map of ${photograph.file}: from ${Math.round(low * photograph.blocks.length)} to ` +
    `${Math.round(high * photograph.blocks.length)} of ${photograph.blocks.length} blocks computed a place`);
}

// The photograph with what a block left out darkened.
function drawMask(canvas, photograph, image, block, scale) {
  canvas.width = Math.round(scale * photograph.width);
  canvas.height = Math.round(scale * photograph.height);
  const to = canvas.getContext("2d"), w = canvas.width, h = canvas.height;
  to.drawImage(image, 0, 0, w, h);
  to.fillStyle = "rgb(10 11 16 / .8)";
  for (let row = 0; row < block.rows; ++row) {
    for (let column = 0; column < block.cols; ++column) {
      if (isActive(block, row, column)) continue;
      const [left, top, right, bottom] = place(block, row, column);
      const x = Math.round(left * w), y = Math.round(top * h);
      to.fillRect(x, y, Math.round(right * w) - x, Math.round(bottom * h) - y);
    }
  }
  return to;
}

// Lines between patches that are computed and patches that are not.
function drawEdges(to, block) {
  const w = to.canvas.width, h = to.canvas.height;
  to.strokeStyle = "rgb(255 210 90 / .95)";
  to.lineWidth = Math.max(1.5, w / 420);
  to.beginPath();
  const differs = (row, column, other, next) => other >= 0 && next >= 0 && other < block.rows && next < block.cols &&
    isActive(block, row, column) !== isActive(block, other, next);
  for (let row = 0; row < block.rows; ++row) {
    for (let column = 0; column < block.cols; ++column) {
      const [left, top, right, bottom] = place(block, row, column);
      if (differs(row, column, row, column + 1)) { to.moveTo(right * w, top * h); to.lineTo(right * w, bottom * h); }
      if (differs(row, column, row + 1, column)) { to.moveTo(left * w, bottom * h); to.lineTo(right * w, bottom * h); }
    }
  }
  to.stroke();
}

function drawPatch(to, block, [row, column]) {
  const [left, top, right, bottom] = place(block, row, column), w = to.canvas.width, h = to.canvas.height;
  to.lineWidth = Math.max(3, w / 200);
  to.strokeStyle = "#000";
  to.strokeRect(left * w, top * h, (right - left) * w, (bottom - top) * h);
  to.lineWidth /= 2;
  to.strokeStyle = "#fff";
  to.strokeRect(left * w, top * h, (right - left) * w, (bottom - top) * h);
}

function say() {
  const block = photographs[state.photograph].blocks[state.block], to = byId("patch");
  if (!state.patch) {
    to.textContent = "Point at a patch, tap it, or use the arrow keys on the mask.";
    return;
  }
  const [row, column] = state.patch, index = row * block.cols + column, active = isActive(block, row, column);
  const logit = block.logits.length > 0 ? block.logits[index] : null;
  const patches = [...block.mask].filter((one) => one === "1").length;
  const cost = active ? `computed, for ${count((block.macs - block.always_macs) / patches)} MACs and about ${time(block.sparse_ms / patches)}`
    : "left out: it costs its share of the masker alone";
  to.textContent = `${block.name}, patch ${row + 1}, ${column + 1}: ` + (logit === null ? "no masker; " : `logit ${logit >= 0 ? "+" : "−"}${Math.abs(logit).toFixed(2)}; `) + cost + ".";
}

function show() {
  const photograph = photographs[state.photograph], block = photograph.blocks[state.block];
  const image = thumbs[state.photograph].querySelector("img");
  const to = drawMask(mask, photograph, image, block, 1);
  drawEdges(to, block);
  if (state.patch) drawPatch(to, block, state.patch);
  slider.value = state.block;
  byId("block-name").textContent = `${block.name}, S = ${block.granularity}: ${percent(block.rate)}`;
  slider.setAttribute("aria-valuetext", byId("block-name").textContent);
  mask.setAttribute("aria-label", `${block.name} computed ${percent(block.rate)} of ${photograph.file}; arrow keys go from patch to patch`);
  sheet.querySelectorAll(".cell").forEach((cell, i) => cell.setAttribute("aria-pressed", String(i === state.block)));
  say();
}

function choosePhotograph(index) {
  state.photograph = index;
  state.patch = null;
  const photograph = photographs[index], image = thumbs[index].querySelector("img");
  thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === index)));
  slider.max = photograph.blocks.length - 1;
  drawHeat(photograph, image);
  const best = photograph.classes[0];
  byId("photograph").textContent = `${photograph.file}, ${photograph.width} × ${photograph.height} px, seen at ${photograph.input[1]} × ${photograph.input[0]}: ` +
    `${best.class}, ${percent(best.probability)}. ${percent(photograph.macs_ratio)} of the MACs, ${time(photograph.sparse_ms)} instead of ${time(photograph.dense_ms)} dense: ${photograph.speedup.toFixed(2)}×.`;
  sheet.replaceChildren(...photograph.blocks.map((block, i) => {
    const cell = document.createElement("button");
    cell.type = "button";
    cell.className = "cell";
    cell.setAttribute("aria-label", `${block.name}: ${percent(block.rate)} computed`);
    const canvas = document.createElement("canvas");
    drawMask(canvas, photograph, image, block, Math.min(1, 260 / photograph.width));
    const what = document.createElement("span"), track = document.createElement("span"), fill = document.createElement("span");
    what.className = "what";
    what.append(Object.assign(document.createElement("span"), { textContent: block.name }), Object.assign(document.createElement("span"), { textContent: percent(block.rate) }));
    track.className = "track";
    fill.className = "fill mark";
    fill.style.width = `${100 * block.rate}%`;
    track.append(fill);
    cell.append(canvas, track, what);
    cell.addEventListener("click", () => chooseBlock(i));
    return cell;
  }));
  show();
}

// The block that a first look is at: one that computed some of the photograph, and not most of it.
function tellingBlock(photograph) {
  const distance = (block) => Math.abs(block.rate - 0.4);
  return photograph.blocks.reduce((best, block, i, all) => distance(block) < distance(all[best]) ? i : best, 0);
}

function chooseBlock(index) {
  state.block = index;
  state.patch = null;
  show();
}

function choosePatch(row, column) {
  const block = photographs[state.photograph].blocks[state.block];
  const patch = [Math.max(0, Math.min(block.rows - 1, row)), Math.max(0, Math.min(block.cols - 1, column))];
  if (state.patch && state.patch[0] === patch[0] && state.patch[1] === patch[1]) return;
  state.patch = patch;
  show();
}

// The patch under a pointer. The picture may be letterboxed in its element.
function patchAt(event) {
  const box = mask.getBoundingClientRect(), scale = Math.min(box.width / mask.width, box.height / mask.height);
  const x = (event.clientX - box.left - (box.width - scale * mask.width) / 2) / (scale * mask.width);
  const y = (event.clientY - box.top - (box.height - scale * mask.height) / 2) / (scale * mask.height);
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
  const block = photographs[state.photograph].blocks[state.block], side = block.patch || Math.max(...block.map);
  choosePatch(Math.floor(y * block.map[0] / side), Math.floor(x * block.map[1] / side));
}

thumbs.forEach((thumb, i) => thumb.addEventListener("click", () => choosePhotograph(i)));
slider.addEventListener("input", () => chooseBlock(Number(slider.value)));
mask.addEventListener("pointermove", patchAt);
mask.addEventListener("pointerdown", patchAt);
mask.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const [row, column] = state.patch || [0, 0];
  state.patch ? choosePatch(row + step[0], column + step[1]) : choosePatch(0, 0);
});
byId("ramp").style.background = `linear-gradient(90deg, ${kRamp.map((rgb) => `rgb(${rgb.join(" ")})`).join(", ")})`;

// What a mark stands for, beside the pointer.
const tip = byId("tip");
document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest("[data-tip]");
  tip.hidden = !mark;
  if (mark) tip.textContent = mark.dataset.tip;
});
document.addEventListener("pointermove", (event) => {
  if (tip.hidden) return;
  const width = tip.offsetWidth, left = Math.min(event.clientX + 14, window.innerWidth - width - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${event.clientY > 60 ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18}px`;
});

// Predictions of other hardware are folded away on the screen, not on paper.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".elsewhere")].filter((one) => !one.open);
  opened.forEach((one) => { one.open = true; });
});
window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting) return;
  links.forEach((link) => link.removeAttribute("aria-current"));
  links.get(entry.target.id).setAttribute("aria-current", "true");
}), { rootMargin: "-40% 0px -55% 0px" });

// The sections below the first one, which would delay the first paint by a third.
function addSections() {
  const rest = byId("rest");
  rest.replaceWith(rest.content);
  document.querySelectorAll(".plot title").forEach((title) => {
    title.parentElement.dataset.tip = title.textContent;
    title.remove();
  });
  document.querySelectorAll("section").forEach((section) => observer.observe(section));
  if (links.has(location.hash.slice(1))) byId(location.hash.slice(1)).scrollIntoView();
}

// Photographs are drawn once the page has been painted.
const begin = () => {
  addSections();
  return Promise.all(thumbs.map((thumb) => thumb.querySelector("img").decode().catch(() => {}))).then(() => {
    state.block = tellingBlock(photographs[0]);
    choosePhotograph(0);
    document.documentElement.dataset.ready = "true";
  });
};
requestAnimationFrame(() => setTimeout(begin));
