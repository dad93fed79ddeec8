"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  // ---- Table: sorting, and going to the image of a row.
  const metrics = byId("metrics");
  const sortBy = (column, button) => {
    const head = button.closest("th");
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of metrics.querySelectorAll("thead th")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column];
      if (head.dataset.kind === "text") return cell.textContent;
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null); // missing ones last
      const order = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return descending ? -order : order;
    };
    const body = metrics.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  };
  for (const button of metrics.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sortBy(Number(button.dataset.column), button));
  }

  if (!byId("viewer")) return;

  // ---- State of the viewer.
  const VIEWS = {
    lq: "Input", restored: "Restored", gt: "Original",
    errorLq: "Error of input", errorRestored: "Error of restored", improvement: "Improvement",
  };
  const runs = data.runs.filter((run) => run.images.length);
  const state = { run: 0, image: 0, split: 50, zoom: 1, x: 0, y: 0, ready: 0 };
  const viewer = byId("viewer"), slider = byId("slider");
  const selects = { left: byId("left"), right: byId("right") };
  const canvases = {
    left: byId("layer-left").firstElementChild, right: byId("layer-right").firstElementChild,
  };
  const current = () => runs[state.run].images[state.image];

  // ---- Pictures and error maps.
  const decoded = new Map(); // index of a picture -> promise of ImageData; the latest few only
  const pixelsOf = (index) => {
    if (!decoded.has(index)) {
      decoded.set(index, (async () => {
        const image = new Image();
        image.src = data.pictures[index];
        await image.decode();
        const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        return context.getImageData(0, 0, canvas.width, canvas.height);
      })());
      if (decoded.size > 9) decoded.delete(decoded.keys().next().value);
    }
    return decoded.get(index);
  };
  const luma = (d, i) => 0.299 * d[i] + 0.587 * d[i + 1] + 0.114 * d[i + 2];
  const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
  const heat = (t, out, i) => {
    const position = clamp(t, 0, 1) * (HEAT.length - 1);
    const k = Math.min(Math.floor(position), HEAT.length - 2), f = position - k;
    for (let c = 0; c < 3; c++) out[i + c] = HEAT[k][c] * (1 - f) + HEAT[k + 1][c] * f;
    out[i + 3] = 255;
  };
  const signed = (t, out, i) => { // blue: nearer to the original, orange: farther from it
    const f = Math.min(Math.abs(t), 1), end = t > 0 ? [86, 180, 233] : [230, 120, 0];
    for (let c = 0; c < 3; c++) out[i + c] = 24 * (1 - f) + end[c] * f;
    out[i + 3] = 255;
  };
  const amplification = () => Number(byId("amplify").value);
  const render = async (view, pictures) => {
    if (view in pictures) return pixelsOf(pictures[view]);
    const [gt, lq, restored] = await Promise.all(
      [pictures.gt, pictures.lq, pictures.restored].map(pixelsOf));
    const result = new ImageData(gt.width, gt.height), out = result.data;
    const factor = amplification() / 255;
    for (let i = 0; i < out.length; i += 4) {
      const reference = luma(gt.data, i);
      const before = Math.abs(luma(lq.data, i) - reference);
      const after = Math.abs(luma(restored.data, i) - reference);
      if (view === "errorLq") heat(before * factor, out, i);
      else if (view === "errorRestored") heat(after * factor, out, i);
      else signed((before - after) * factor, out, i);
    }
    return result;
  };
  const draw = async () => {
    const token = ++state.ready, image = current();
    viewer.dataset.ready = "false";
    for (const side of ["left", "right"]) {
      const pixels = await render(selects[side].value, image.pictures);
      if (token !== state.ready) return;
      canvases[side].width = pixels.width;
      canvases[side].height = pixels.height;
      canvases[side].getContext("2d").putImageData(pixels, 0, 0);
      byId(`tag-${side}`).textContent = VIEWS[selects[side].value];
    }
    const maps = Object.values(selects).some((select) => !(select.value in image.pictures));
    byId("amplify-label").classList.toggle("hidden", !maps);
    place();
    viewer.dataset.ready = "true";
  };

  // ---- Geometry: the picture fits the viewer at zoom 1; x and y are the offset in viewer pixels.
  const fitScale = () => viewer.clientWidth / current().width;
  const place = () => {
    const image = current(), scale = fitScale() * state.zoom;
    state.x = clamp(state.x, viewer.clientWidth - image.width * scale, 0);
    state.y = clamp(state.y, viewer.clientHeight - image.height * scale, 0);
    for (const canvas of Object.values(canvases)) {
      canvas.style.transform = `translate(${state.x}px, ${state.y}px) scale(${scale})`;
    }
    byId("layer-right").style.clipPath = `inset(0 0 0 ${state.split}%)`;
    slider.style.left = `${state.split}%`;
    slider.setAttribute("aria-valuenow", Math.round(state.split));
    slider.setAttribute("aria-valuetext", `${Math.round(state.split)} % left`);
    byId("tag-left").classList.toggle("hidden", state.split < 12);
    byId("tag-right").classList.toggle("hidden", state.split > 88);
    viewer.classList.toggle("zoomed", state.zoom > 1);
    viewer.classList.toggle("pixels", scale >= 2);
    byId("zoom-value").textContent = state.zoom === 1 ? "fit" : `${Math.round(scale * 100)} %`;
  };
  const layout = () => {
    const image = current();
    const limit = Math.max(240, window.innerHeight * 0.78);
    const room = viewer.parentElement.clientWidth
      - 2 * parseFloat(getComputedStyle(viewer.parentElement).paddingLeft);
    const width = Math.min(room, (limit * image.width) / image.height);
    viewer.style.width = `${width}px`;
    viewer.style.height = `${(width * image.height) / image.width}px`;
    place();
  };
  const moveSplit = (percent) => { state.split = clamp(percent, 0, 100); place(); };
  const zoomTo = (zoom, clientX, clientY) => {
    const box = viewer.getBoundingClientRect();
    const px = (clientX ?? box.left + box.width / 2) - box.left;
    const py = (clientY ?? box.top + box.height / 2) - box.top;
    zoom = clamp(zoom, 1, Math.max(16, 8 / fitScale()));
    state.x = px - ((px - state.x) * zoom) / state.zoom;
    state.y = py - ((py - state.y) * zoom) / state.zoom;
    state.zoom = zoom;
    place();
  };

  // ---- Pointer: the border, panning, pinching.
  const pointers = new Map();
  let gesture = null;
  const splitAt = (clientX) => {
    const box = viewer.getBoundingClientRect();
    moveSplit(((clientX - box.left) / box.width) * 100);
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };
  viewer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    viewer.setPointerCapture(event.pointerId);
    if (pointers.size === 2) {
      gesture = { kind: "pinch", zoom: state.zoom, start: spread() };
    } else if (pointers.size === 1) {
      const onSlider = slider.contains(event.target);
      gesture = { kind: onSlider || state.zoom === 1 ? "split" : "pan" };
      if (gesture.kind === "split" && !onSlider) splitAt(event.clientX);
    }
    slider.focus({ preventScroll: true });
    event.preventDefault();
  });
  viewer.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last || !gesture) return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (gesture.kind === "split") splitAt(event.clientX);
    else if (gesture.kind === "pan") {
      state.x += event.clientX - last.x;
      state.y += event.clientY - last.y;
      place();
    } else if (pointers.size === 2) {
      const now = spread();
      zoomTo((gesture.zoom * now.distance) / gesture.start.distance, now.x, now.y);
    }
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) gesture = null;
  };
  for (const name of ["pointerup", "pointercancel"]) viewer.addEventListener(name, release);
  viewer.addEventListener("dblclick", (event) => {
    zoomTo(state.zoom > 1 ? 1 : Math.max(2, 2 / fitScale()), event.clientX, event.clientY);
  });
  viewer.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomTo(state.zoom * Math.exp(-event.deltaY / 300), event.clientX, event.clientY);
  }, { passive: false });

  // ---- Keyboard.
  slider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const target = {
      ArrowLeft: state.split - step, ArrowDown: state.split - step,
      ArrowRight: state.split + step, ArrowUp: state.split + step,
      PageDown: state.split - 10, PageUp: state.split + 10, Home: 0, End: 100,
    }[event.key];
    if (target === undefined) return;
    moveSplit(target);
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("select, input")) return;
    const actions = {
      "+": () => zoomTo(state.zoom * 1.5), "=": () => zoomTo(state.zoom * 1.5),
      "-": () => zoomTo(state.zoom / 1.5), "0": () => zoomTo(1),
      "[": () => show(state.run, state.image - 1), "]": () => show(state.run, state.image + 1),
    };
    if (event.key in actions) { actions[event.key](); event.preventDefault(); }
  });

  // ---- Choosing run, image and views.
  const fillViews = (image) => {
    const views = Object.keys(VIEWS).filter((view) => view in image.pictures || "gt" in image.pictures);
    for (const [side, fallback] of [["left", "lq"], ["right", "restored"]]) {
      const select = selects[side], kept = select.value;
      select.replaceChildren(...views.map((view) => new Option(VIEWS[view], view)));
      select.value = views.includes(kept) ? kept : fallback;
    }
  };
  const describe = (run, image) => {
    byId("image-name").textContent = image.name;
    byId("figures").replaceChildren(...image.caption.map(([label, change, gain]) => {
      const group = document.createElement("div");
      const term = document.createElement("dt"), value = document.createElement("dd");
      term.textContent = `${label} `;
      value.textContent = change;
      if (gain) {
        const bold = document.createElement("b");
        bold.textContent = ` ${gain}`;
        bold.className = gain.startsWith("-") ? "bad" : "good";
        value.append(bold);
      }
      group.append(term, value);
      return group;
    }));
    const chosen = image.experts ?? [];
    const counts = (run.experts ?? [])
      .map((name, expert) => [name, chosen.filter((one) => one === expert).length])
      .filter(([, count]) => count > 0);
    byId("experts-label").textContent = chosen.length
      ? `Experts, first layer to last: ${counts.map(([name, count]) => `${name} in ${count}`).join(", ")}`
      : "";
    byId("image-experts").replaceChildren(...chosen.map((expert, layer) => {
      const cell = document.createElement("span");
      cell.style.background = run.colors[expert % run.colors.length];
      cell.title = `layer ${layer}: ${run.experts[expert]}`;
      return cell;
    }));
    byId("omitted").textContent =
      run.omitted ? `${run.omitted} more image(s) of this run have figures below but no picture here.` : "";
  };
  const thumbnails = (run) => {
    byId("thumbnails").replaceChildren(...run.images.map((image, i) => {
      const button = document.createElement("button"), picture = document.createElement("img");
      picture.src = image.thumbnail;
      picture.alt = image.name;
      button.title = image.name;
      button.setAttribute("role", "option");
      button.append(picture);
      button.addEventListener("click", () => show(state.run, i));
      return button;
    }));
  };
  const show = (runIndex, imageIndex) => {
    const changed = runIndex !== state.run || !byId("thumbnails").childElementCount;
    const run = runs[runIndex], count = run.images.length;
    state.run = runIndex;
    state.image = ((imageIndex % count) + count) % count;
    Object.assign(state, { zoom: 1, x: 0, y: 0 });
    if (changed) thumbnails(run);
    byId("run").value = String(runIndex);
    [...byId("thumbnails").children].forEach((button, i) =>
      button.setAttribute("aria-selected", String(i === state.image)));
    fillViews(current());
    describe(run, current());
    layout();
    return draw();
  };
  byId("run").replaceChildren(...runs.map((run, i) => new Option(run.label, String(i))));
  byId("run").parentElement.classList.toggle("hidden", runs.length < 2);
  byId("run").addEventListener("change", (event) => {
    const next = Number(event.target.value), name = current().name;
    show(next, Math.max(0, runs[next].images.findIndex((image) => image.name === name)));
  });
  for (const select of Object.values(selects)) select.addEventListener("change", draw);
  byId("amplify").addEventListener("input", () => {
    byId("amplify-value").textContent = byId("amplify").value;
    draw();
  });
  byId("zoom-in").addEventListener("click", () => zoomTo(state.zoom * 1.5));
  byId("zoom-out").addEventListener("click", () => zoomTo(state.zoom / 1.5));
  byId("zoom-fit").addEventListener("click", () => zoomTo(1));
  metrics.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    const run = runs.findIndex((entry) => entry.label === row.dataset.run);
    const image = run < 0 ? -1 : runs[run].images.findIndex((entry) => entry.name === row.dataset.image);
    if (image < 0) return;
    show(run, image);
    byId("comparison").scrollIntoView({ behavior: "smooth" });
  });
  new ResizeObserver(layout).observe(viewer.parentElement);
  show(0, 0);
})();
