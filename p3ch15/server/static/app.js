"use strict";
// The page of p3ch15.server: send a scan, watch the analysis, scroll through its slices.

const element = (id) => document.getElementById(id);
const STAGES = {
  reading: "reading the scan", segmentation: "looking for suspicious voxels",
  classification: "judging the candidates", report: "writing the report",
};
const PREFETCH = 6;

let job = null; // the state of the scan that is shown, as GET /scans/N answers it
let chosen = -1; // which finding
let watching = ""; // the job that is being asked after
let sending = null; // the request that is sending a scan
let loading = new AbortController(); // ends the requests for slices
const pictures = new Map(); // address of a slice -> promise of its picture's URL in memory, the newest last

// --- sending a scan --------------------------------------------------------------------------

function send(file) {
  forget();
  showProblem("");
  sending?.abort();
  const request = new XMLHttpRequest();
  sending = request;
  request.open("POST", `/scans?name=${encodeURIComponent(file.name)}`);
  request.responseType = "json";
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (event) => showWork(`sending ${file.name}`, event.loaded / event.total);
  request.onerror = () => showProblem("The server does not answer.");
  request.onload = () => {
    if (request.status === 202) {
      watch(request.response.job);
    } else {
      const wait = request.getResponseHeader("Retry-After");
      const reason = request.response?.error ?? `The server refused the file (${request.status}).`;
      showProblem(request.status === 503 ? `${reason} Try again in ${wait} s.` : reason);
    }
  };
  showWork(`sending ${file.name}`, 0);
  request.send(file);
}

// Whatever was shown or watched is over: nothing of it stays in this page.
function forget() {
  stopLoading();
  watching = "";
  job = null;
  chosen = -1;
  for (const url of pictures.values()) url.then(URL.revokeObjectURL, () => {});
  pictures.clear();
  element("slice").removeAttribute("src");
  element("marks").replaceChildren();
  element("findings").replaceChildren();
  element("warnings").replaceChildren();
  element("result").hidden = true;
  history.replaceState(null, "", location.pathname);
}

function stopLoading() {
  loading.abort();
  loading = new AbortController();
}

function showWork(text, share) {
  element("work").hidden = false;
  element("stage").textContent = text;
  element("bar").value = share;
}

function showProblem(text) {
  element("work").hidden = true;
  element("problem").hidden = !text;
  element("problem").textContent = text;
}

// --- watching a job --------------------------------------------------------------------------

async function watch(number) {
  watching = number;
  history.replaceState(null, "", `#${number}`); // so that a reload, or a bookmark, comes back here
  let failures = 0;
  while (watching === number) {
    try {
      const response = await fetch(`/scans/${number}`);
      const state = await response.json();
      if (watching !== number) return; // another scan was sent in the meantime
      if (!response.ok) return showProblem(state.error);
      if (state.state === "failed") return showProblem(`The scan was not analysed: ${state.error}.`);
      if (state.state === "done") return show(state);
      showWork(STAGES[state.stage] ?? state.stage, state.share);
      failures = 0;
    } catch {
      if (++failures > 10) return showProblem("The server does not answer any more.");
    }
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

// --- showing what was found ------------------------------------------------------------------

function show(state) {
  job = state;
  showProblem("");
  const { scan, findings, number } = job;
  const width = scan.columns * scan.column_mm;
  const height = scan.rows * scan.row_mm;
  element("picture").style.aspectRatio = `${width} / ${height}`;
  element("marks").setAttribute("viewBox", `0 0 ${width} ${height}`);
  element("slider").max = scan.slices - 1;
  const count = findings.length;
  element("summary").textContent = count === 0 ? "No nodule found" : `${count} finding${count > 1 ? "s" : ""}`;
  element("name").textContent = `${job.name}, ${scan.slices} slices, analysed in ${job.seconds.toFixed(1)} s`;
  element("findings").replaceChildren(...findings.map(row));
  element("warnings").replaceChildren(...job.warnings.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
  element("warnings").hidden = job.warnings.length === 0;
  element("report").href = `/scans/${number}/report.html`;
  element("json").href = `/scans/${number}/findings.json`;
  element("result").hidden = false;
  chosen = -1;
  if (count > 0) choose(0);
  else goTo(Math.floor(scan.slices / 2));
}

function row(finding, index) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const number = document.createElement("b");
  const text = document.createElement("span");
  const small = document.createElement("small");
  button.type = "button";
  number.textContent = index + 1;
  text.textContent = `${finding.diameter_mm.toFixed(1)} mm, probability ${finding.probability.toFixed(3)}`;
  const malignancy = finding.malignancy === null ? "" : `malignancy ${finding.malignancy.toFixed(2)}, `;
  small.textContent = `${malignancy}slice ${Math.round(finding.slice) + 1}, z ${finding.center_xyz[2].toFixed(0)} mm`;
  text.append(small);
  button.append(number, text);
  button.addEventListener("click", () => choose(index));
  item.append(button);
  return item;
}

function choose(index) {
  chosen = index;
  element("findings").querySelectorAll("button").forEach((button, place) => {
    button.setAttribute("aria-current", String(place === index));
  });
  goTo(Math.round(job.findings[index].slice));
}

// --- slices ----------------------------------------------------------------------------------

function urlOf(index) {
  return `/scans/${job.number}/slices/${index}.png?window=${element("window").value}`;
}

// The server lets browsers store nothing, so the pictures near the one that is shown are held here.
function picture(address) {
  const known = pictures.get(address) ?? load(address);
  pictures.delete(address);
  pictures.set(address, known);
  if (pictures.size > 60) {
    const [oldest, url] = pictures.entries().next().value;
    pictures.delete(oldest);
    url.then(URL.revokeObjectURL, () => {});
  }
  return known;
}

async function load(address) {
  const response = await fetch(address, { signal: loading.signal });
  if (!response.ok) throw new Error(response.status);
  return URL.createObjectURL(await response.blob());
}

async function goTo(index) {
  index = Math.max(0, Math.min(index, job.scan.slices - 1));
  const slider = element("slider");
  slider.value = index;
  const { slices, z_first_mm: first, z_step_mm: step } = job.scan;
  element("where").textContent = `${index + 1} of ${slices}, z ${(first + index * step).toFixed(0)} mm`;
  const address = urlOf(index);
  const isStillWanted = () => job !== null && urlOf(Number(slider.value)) === address;
  let url;
  try {
    url = await picture(address);
    const ready = new Image();
    ready.src = url;
    await ready.decode();
  } catch {
    pictures.delete(address); // so that the next try asks the server again
    if (isStillWanted()) showProblem("This slice could not be loaded.");
    return;
  }
  if (!isStillWanted()) return; // the reader is elsewhere by now
  // Picture and marks change together: a mark must never lie on another slice.
  element("slice").src = url;
  element("slice").alt = `Slice ${index + 1} of ${slices}`;
  drawMarks(index);
  for (let away = 1; away <= PREFETCH; away++) {
    for (const other of [index + away, index - away].filter((place) => place >= 0 && place < slices)) {
      const beside = urlOf(other);
      picture(beside).catch(() => pictures.delete(beside));
    }
  }
}

function drawMarks(index) {
  const { scan } = job;
  const pixel_mm = (scan.columns * scan.column_mm) / element("picture").clientWidth;
  const make = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);
  const marks = [];
  job.findings.forEach((finding, place) => {
    const radius = finding.diameter_mm / 2;
    if (Math.abs(finding.slice - index) * scan.slice_mm > Math.max(radius, scan.slice_mm)) return;
    const group = make("g");
    const circle = make("circle");
    const label = make("text");
    const x = (finding.column + 0.5) * scan.column_mm;
    const y = (finding.row + 0.5) * scan.row_mm;
    circle.setAttribute("cx", x);
    circle.setAttribute("cy", y);
    circle.setAttribute("r", radius + 3);
    label.setAttribute("x", x + radius + 4);
    label.setAttribute("y", y - radius - 2);
    label.setAttribute("font-size", 18 * pixel_mm);
    label.textContent = place + 1;
    if (place === chosen) group.setAttribute("class", "chosen");
    group.dataset.finding = place + 1;
    group.append(circle, label);
    marks.push(group);
  });
  element("marks").replaceChildren(...marks);
}

// --- what the reader does ----------------------------------------------------------------------

element("file").addEventListener("change", (event) => {
  if (event.target.files.length) send(event.target.files[0]);
  event.target.value = ""; // the same file may be sent again
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // dropped beside the field, a file would replace the page
    element("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const files = event.dataTransfer.files;
  if (files.length > 1) showProblem("One file at a time, please: pack a scan of several files as .zip.");
  else if (files.length) send(files[0]);
});
addEventListener("resize", () => job && drawMarks(Number(element("slider").value)));
element("slider").addEventListener("input", () => goTo(Number(element("slider").value)));
element("window").addEventListener("change", () => goTo(Number(element("slider").value)));
element("picture").addEventListener("wheel", (event) => {
  event.preventDefault();
  goTo(Number(element("slider").value) + Math.sign(event.deltaY));
}, { passive: false });
element("delete").addEventListener("click", async () => {
  stopLoading(); // no slice is asked for that is being deleted
  const response = await fetch(`/scans/${job.number}`, { method: "DELETE" });
  if (response.ok || response.status === 404) forget();
  else showProblem("The scan could not be deleted; try again.");
});

if (location.hash.length > 1) watch(location.hash.slice(1));
