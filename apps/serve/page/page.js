// The page: sends a photograph and the knob's value, and draws what comes back.
"use strict";

const byId = (id) => document.getElementById(id);
const state = {
  models: [],
  model: null,
  key: sessionStorage.getItem("lasnet-key") || "",
  picture: null,     // what is drawn, as a canvas: the part of the photograph that the network sees
  file: null,        // what is sent
  result: null,
  denseMs: null,
  block: null,       // whose mask is shown; null: all blocks together
  isBusy: false,
  isWaiting: false,  // for another run, once the one that is under way has ended
  camera: null,
};

// ---- talking to the server

class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(path, options = {}) {
  const headers = {...(options.headers || {})};
  if (state.key) headers.Authorization = "Bearer " + state.key;
  let response;
  try {
    response = await fetch(path, {...options, headers});
  } catch {
    throw new ServerError(0, "the server does not answer");
  }
  if (!response.ok) {
    const text = await response.text();
    let message = text;
    try {
      message = JSON.parse(text).error || text;
    } catch {}
    throw new ServerError(response.status, message);
  }
  return response;
}

// Sends an image, binary, and gives {outputs by name, parameters}; texts and numbers as arrays, masks as bytes.
async function infer(file, parameters, names) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const outputs = names.map((name) => ({name, parameters: {binary_data: name === "masks"}}));
  const input = {name: "image", datatype: "BYTES", shape: [1], parameters: {binary_data_size: bytes.length + 4}};
  const json = new TextEncoder().encode(JSON.stringify({parameters, inputs: [input], outputs}));
  const length = new Uint8Array(new Uint32Array([bytes.length]).buffer);
  const response = await call("v2/models/" + encodeURIComponent(state.model.name) + "/infer", {
    method: "POST",
    headers: {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": String(json.length)},
    body: new Blob([json, length, bytes]),
  });
  const body = new Uint8Array(await response.arrayBuffer());
  const size = Number(response.headers.get("Inference-Header-Content-Length") || body.length);
  const answer = JSON.parse(new TextDecoder().decode(body.subarray(0, size)));
  const found = {parameters: answer.parameters};
  let offset = size;
  for (const output of answer.outputs) {
    const raw = output.parameters && output.parameters.binary_data_size;
    const values = raw === undefined ? output.data : body.subarray(offset, offset + raw);
    if (raw !== undefined) offset += raw;
    found[output.name] = {shape: output.shape, values};
  }
  return found;
}

// ---- words and numbers

const percent = (share) => (100 * share).toFixed(1) + " %";
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(2) : ms.toFixed(1)) + " ms";

function showError(error) {
  byId("error").hidden = !error;
  byId("error").textContent = error ? error.message : "";
  byId("key-form").hidden = !(error && error.status === 401);
}

function bars(table, rows) {
  const body = table.tBodies[0];
  body.replaceChildren(...rows.map(({name, share}) => {
    const row = document.createElement("tr");
    const label = row.insertCell();
    label.textContent = name;
    label.title = name;
    const track = document.createElement("div");
    track.className = "track";
    const fill = document.createElement("div");
    fill.className = "fill";
    fill.style.width = (100 * share).toFixed(1) + "%";
    track.append(fill);
    row.insertCell().append(track);
    row.insertCell().textContent = percent(share);
    return row;
  }));
  return [...body.rows];
}

function showResult() {
  const {result} = state;
  const classes = result.classes.values.map((name, i) => ({name, share: result.scores.values[i]}));
  bars(byId("classes"), classes);
  const blocks = state.model.blocks.map((block, i) => ({name: block.name, share: result.rates.values[i]}));
  bars(byId("blocks"), blocks).forEach((row, i) => {
    row.tabIndex = 0;
    row.setAttribute("aria-selected", String(state.block === i));
    const choose = () => {
      state.block = state.block === i ? null : i;
      showResult();
    };
    row.addEventListener("click", choose);
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose();
      }
    });
  });
  byId("macs").textContent = percent(result.parameters.macs_ratio);
  byId("time").textContent = milliseconds(result.parameters.run_ms);
  byId("dense").textContent = state.denseMs ? milliseconds(state.denseMs) : "–";
  byId("speedup").textContent = state.denseMs ? (state.denseMs / result.parameters.run_ms).toFixed(2) + "x" : "–";
  draw();
}

// ---- the picture

// The share of blocks that computed each pixel, or one block's mask, as {width, height, values in 0 ... 1}.
function regions() {
  const masks = state.model.blocks
      .map((block, i) => ({mask: state.result["mask." + block.name], index: i}))
      .filter(({mask, index}) => mask && (state.block === null || state.block === index));
  if (masks.length === 0) return null;
  const height = Math.max(...masks.map(({mask}) => mask.shape[1]));
  const width = Math.max(...masks.map(({mask}) => mask.shape[2]));
  const values = new Float32Array(height * width);
  for (const {mask} of masks) {
    const [, rows, columns] = mask.shape;
    for (let y = 0; y < height; ++y) {
      const row = Math.floor(y * rows / height) * columns;
      for (let x = 0; x < width; ++x)
        values[y * width + x] += mask.values[row + Math.floor(x * columns / width)] / masks.length;
    }
  }
  return {width, height, values};
}

function draw() {
  const canvas = byId("picture");
  const context = canvas.getContext("2d");
  canvas.width = state.picture.width;
  canvas.height = state.picture.height;
  context.drawImage(state.picture, 0, 0);
  byId("drop").classList.add("full");
  const map = state.result && regions();
  byId("shown").textContent = !map ? "" : state.block === null
      ? "bright: computed by many blocks" : "bright: computed by " + state.model.blocks[state.block].name;
  if (!map) return;
  const shade = new OffscreenCanvas(map.width, map.height);
  const pixels = new ImageData(map.width, map.height);
  const least = state.block === null ? Math.min(...map.values) : 0;
  const most = state.block === null ? Math.max(...map.values) : 1;
  map.values.forEach((value, i) => {
    const share = most > least ? (value - least) / (most - least) : 1;
    pixels.data.set([10, 12, 24, Math.round(205 * (1 - share))], 4 * i);
  });
  shade.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = state.block === null;
  context.drawImage(shade, 0, 0, canvas.width, canvas.height);
}

// The part of a photograph that the network sees, at most 1280 px wide.
function visiblePart(bitmap) {
  const {crop, resize} = state.model;
  let {width, height} = bitmap;
  if (crop > 0) width = height = Math.min(width, height) * crop / resize;
  const scale = Math.min(1, 1280 / Math.max(width, height));
  const part = new OffscreenCanvas(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  part.getContext("2d").drawImage(bitmap, (bitmap.width - width) / 2, (bitmap.height - height) / 2, width, height, 0, 0,
                                  part.width, part.height);
  return part;
}

// Large photographs become smaller here, so that the knob stays quick: twice what the network sees is enough.
async function sendable(bitmap, file) {
  const shorter = Math.min(bitmap.width, bitmap.height);
  const enough = 2 * (state.model.resize || 256);
  if (file && shorter <= 2 * enough) return file;
  const scale = Math.min(1, enough / shorter);
  const canvas = new OffscreenCanvas(Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({type: "image/jpeg", quality: 0.95});
}

async function usePhoto(file) {
  stopCamera();
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {imageOrientation: "from-image"});
  } catch {
    // The server says what is wrong with it.
    state.file = file;
    state.picture = state.picture || new OffscreenCanvas(1, 1);
    return run();
  }
  state.picture = visiblePart(bitmap);
  state.file = await sendable(bitmap, file);
  bitmap.close();
  state.result = state.denseMs = null;
  draw();
  await run();
}

// ---- the knob

function knobParameters() {
  const value = Number(byId("knob").value);
  if (!state.model.dynamic) return {};
  return state.model.operating_points.length > 0 ? {macs: value} : {threshold: value};
}

function showKnob() {
  const points = state.model.operating_points;
  const value = Number(byId("knob").value);
  byId("knob-value").textContent = !state.model.dynamic
      ? "a static network computes everything"
      : points.length > 0 ? "at most " + percent(value) + " of the MACs" : "threshold " + value.toFixed(2);
}

function setUpKnob() {
  const knob = byId("knob");
  const points = state.model.operating_points;
  knob.disabled = !state.model.dynamic;
  if (points.length > 0) {
    const least = points[0].macs_ratio, most = points[points.length - 1].macs_ratio;
    Object.assign(knob, {min: (Math.ceil(least * 200) / 200).toFixed(3), max: most.toFixed(3), step: 0.005});
    knob.value = knob.max;
    byId("knob-name").textContent = "compute (MACs)";
  } else {
    Object.assign(knob, {min: -4, max: 4, step: 0.05});
    knob.value = 0;
    byId("knob-name").textContent = "threshold: more computes less";
  }
  showKnob();
}

async function denseMilliseconds(file) {
  return (await infer(file, {dense: true, top_k: 1}, ["classes"])).parameters.run_ms;
}

// Runs once, and again if something changed meanwhile.
async function run() {
  state.isWaiting = true;
  if (state.isBusy) return;
  state.isBusy = true;
  while (state.isWaiting && state.file) {
    state.isWaiting = false;
    try {
      if (state.camera) await grabFrame();
      const file = state.file;
      const names = ["classes", "scores", "rates"];
      if (state.model.dynamic) names.push("masks");
      if (state.denseMs === null && state.model.dynamic) {
        await denseMilliseconds(file);  // the first run of a size takes longer
        state.denseMs = await denseMilliseconds(file);
      }
      const result = await infer(file, {...knobParameters(), top_k: 5}, names);
      if (file === state.file) {
        state.result = result;
        showResult();
      }
      showError(null);
      if (state.camera) state.isWaiting = true;
    } catch (error) {
      showError(error);
      stopCamera();
    }
  }
  state.isBusy = false;
}

// ---- the camera

async function grabFrame() {
  const video = byId("video");
  await new Promise(requestAnimationFrame);
  const bitmap = await createImageBitmap(video);
  state.picture = visiblePart(bitmap);
  state.file = await sendable(bitmap, null);
  bitmap.close();
}

function stopCamera() {
  if (!state.camera) return;
  state.camera.getTracks().forEach((track) => track.stop());
  state.camera = null;
  byId("camera").textContent = "Use the camera";
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("the browser lends its camera to https and to localhost alone");
  }
  const stream = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}});
  const video = byId("video");
  video.srcObject = stream;
  await video.play();
  state.camera = stream;
  state.result = state.denseMs = null;
  byId("camera").textContent = "Stop the camera";
  await grabFrame();
  await run();
}

// ---- beginning

function chooseModel(name) {
  state.model = state.models.find((model) => model.name === name);
  state.result = state.denseMs = state.block = null;
  byId("about").textContent = state.model.architecture;
  byId("shown").textContent = "";
  setUpKnob();
  if (state.file) run();
}

async function begin() {
  try {
    const server = await (await call("v2/lasnet")).json();
    state.models = server.models;
    byId("model").replaceChildren(...server.models.map(({name}) => new Option(name)));
    chooseModel(server.models[0].name);
    showError(null);
  } catch (error) {
    showError(error);
  }
}

byId("model").addEventListener("change", (event) => chooseModel(event.target.value));
byId("knob").addEventListener("input", () => {
  showKnob();
  if (state.file) run();
});
byId("file").addEventListener("change", (event) => {
  if (event.target.files.length > 0 && state.model) usePhoto(event.target.files[0]);
});
byId("camera").addEventListener("click", () => {
  if (state.camera) return stopCamera();
  if (state.model) startCamera().catch(showError);
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = byId("key").value.trim();
  sessionStorage.setItem("lasnet-key", state.key);
  begin();
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length > 0 && state.model) usePhoto(event.dataTransfer.files[0]);
  });
}
begin();
