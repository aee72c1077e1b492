"use strict";
// The page of p3ch15.server: send a scan, watch the analysis, look at it in three planes (viewer.js).

const element = (id) => document.getElementById(id);
const STAGES = {
  reading: "reading the scan", segmentation: "looking for suspicious voxels",
  classification: "judging the candidates", report: "writing the report",
};

let job = null; // the state of the scan that is shown, as GET /scans/N answers it
let watching = ""; // the job that is being asked after
let sending = null; // the request that is sending a scan
const viewer = new Viewer(
  Object.fromEntries(Object.keys(PLANES).map((name) => [name, element(name)])), showPlace, showProblem,
);

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
  watching = "";
  job = null;
  viewer.clear();
  for (const name of ["findings", "ticks", "warnings"]) element(name).replaceChildren();
  element("result").hidden = true;
  history.replaceState(null, "", location.pathname);
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
  element("slider").max = scan.slices - 1;
  const count = findings.length;
  element("summary").textContent = count === 0 ? "No nodule found" : `${count} finding${count > 1 ? "s" : ""}`;
  element("name").textContent = `${job.name}, ${scan.slices} slices, analysed in ${job.seconds.toFixed(1)} s`;
  element("findings").replaceChildren(...findings.map(row));
  element("ticks").replaceChildren(...findings.map(tick));
  element("warnings").replaceChildren(...job.warnings.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  }));
  element("warnings").hidden = job.warnings.length === 0;
  element("report").href = `/scans/${number}/report.html`;
  element("json").href = `/scans/${number}/findings.json`;
  element("seg").href = `/scans/${number}/nodules.dcm`;
  element("seg").hidden = !job.has_segmentation;
  element("result").hidden = false;
  viewer.show(job);
  usePreset("lung");
  if (count > 0) choose(0);
  else viewer.moveTo({});
}

function sizeOf(finding) {
  if (finding.axes_mm) return `${finding.axes_mm[0].toFixed(1)} × ${finding.axes_mm[1].toFixed(1)} mm`;
  return finding.diameter_mm === null ? "size unknown" : `${finding.diameter_mm.toFixed(1)} mm`;
}

function row(finding, index) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const number = document.createElement("b");
  const text = document.createElement("span");
  const small = document.createElement("small");
  button.type = "button";
  number.textContent = index + 1;
  text.textContent = `${sizeOf(finding)}, probability ${finding.probability.toFixed(3)}`;
  const malignancy = finding.malignancy === null ? "" : `malignancy ${finding.malignancy.toFixed(2)}, `;
  small.textContent = `${malignancy}slice ${Math.round(finding.slice) + 1}, z ${finding.center_xyz[2].toFixed(0)} mm`;
  text.append(small);
  button.append(number, text);
  button.addEventListener("click", () => choose(index));
  item.append(button);
  return item;
}

// A finding's place on the bar below the axial slices. The list beside it says the same to a keyboard.
function tick(finding, index) {
  const mark = document.createElement("span");
  mark.style.left = `${(100 * finding.slice) / Math.max(job.scan.slices - 1, 1)}%`;
  mark.title = `finding ${index + 1}`;
  mark.addEventListener("click", () => choose(index));
  return mark;
}

function choose(index) {
  viewer.chosen = index;
  element("findings").querySelectorAll("button").forEach((button, place) => {
    button.setAttribute("aria-current", String(place === index));
  });
  const list = element("findings"); // the list may scroll; the page must not jump away from the pictures
  list.scrollTop = list.children[index].offsetTop - list.offsetTop - list.clientHeight / 3;
  const { slice, row, column } = job.findings[index];
  viewer.moveTo({ slice, row, column });
}

// Called as the cursor or the window moves.
function showPlace(cursor) {
  const { slices, z_first_mm: first, z_step_mm: step } = job.scan;
  element("slider").value = cursor.slice;
  element("where").textContent = `${cursor.slice + 1} of ${slices}, z ${(first + cursor.slice * step).toFixed(0)} mm`;
  const [center, width] = viewer.window;
  const preset = Object.keys(PRESETS).find((name) => String(PRESETS[name]) === String([center, width]));
  element("window").value = preset ?? "own";
  element("hu").textContent = `${Math.round(center - width / 2)} to ${Math.round(center + width / 2)} HU`;
}

function usePreset(name) {
  if (!PRESETS[name]) return;
  viewer.setWindow(...PRESETS[name]);
  if (viewer.cursor) showPlace(viewer.cursor);
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
addEventListener("resize", () => viewer.draw());
element("slider").addEventListener("input", () => viewer.moveTo({ slice: Number(element("slider").value) }));
element("window").addEventListener("change", () => usePreset(element("window").value));
element("drags").addEventListener("change", () => { viewer.dragsWindow = element("drags").checked; });
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches?.("input:not([type=range]), select, textarea");
  if (!job || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const count = job.findings.length;
  const steps = { n: 1, p: count - 1 };
  if (event.key in steps && count) choose((Math.max(viewer.chosen, 0) + steps[event.key]) % count);
  if (event.key === "w") {
    const names = Object.keys(PRESETS);
    usePreset(names[(names.indexOf(element("window").value) + 1) % names.length]);
  }
});
element("delete").addEventListener("click", async () => {
  viewer.loading.abort(); // no slice is asked for that is being deleted
  const response = await fetch(`/scans/${job.number}`, { method: "DELETE" });
  if (response.ok || response.status === 404) forget();
  else showProblem("The scan could not be deleted; try again.");
});

if (location.hash.length > 1) watch(location.hash.slice(1));
