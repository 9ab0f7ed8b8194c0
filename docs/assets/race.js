// The race of the optimizers. Paths and heights come from generated/race-data.js; nothing is computed or fetched here.
// Without this script the page shows the picture that stands in #race-track.
(() => {
  "use strict";
  const data = window.minimaRace;
  const track = document.getElementById("race-track");
  if (!data || !track) return;

  const [WIDE, TALL] = data.size;
  const CHART = { tall: 170, left: 44, right: 16, bottom: 22, top: 10 }; // in pixels; it is as wide as the page allows
  const SECONDS = 12; // of a whole run
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const rate = (index) => String(data.rates[index]);

  // Markers fill a square of -1 to 1, so that colour is not all that tells runners apart.
  const SHAPES = {
    circle: "M-.8 0a.8 .8 0 1 0 1.6 0a.8 .8 0 1 0-1.6 0z",
    ring: "M-.9 0a.9 .9 0 1 0 1.8 0a.9 .9 0 1 0-1.8 0zM-.45 0a.45 .45 0 1 1 .9 0a.45 .45 0 1 1-.9 0z",
    square: "M-.75-.75h1.5v1.5h-1.5z",
    triangle: "M0-.95L.95.75H-.95z",
    down: "M0 .95L.95-.75H-.95z",
    diamond: "M0-1L.8 0L0 1L-.8 0z",
    plus: "M-.3-.9h.6v.6h.6v.6h-.6v.6h-.6v-.6h-.6v-.6h.6z",
    cross: "M-.85-.4L-.4-.85L0-.45L.4-.85L.85-.4L.45 0L.85 .4L.4 .85L0 .45L-.4 .85L-.85 .4L-.45 0z",
    star: "M0-1L.27-.37L.95-.31L.43 .14L.59 .81L0 .45L-.59 .81L-.43 .14L-.95-.31L-.27-.37z",
    left: "M-.95 0L.75-.95V.95z",
    right: "M.95 0L-.75-.95V.95z",
    hexagon: "M-.95 0L-.48-.83H.48L.95 0L.48 .83H-.48z",
  };

  // What is shown: a landscape, a step (a fraction of one too, while it plays), and the chosen runners with their rates.
  const state = { place: "", t: data.steps, playing: false, chosen: [], rates: [] };

  // Reading the data ---------------------------------------------------------------------------------------------------

  const VALUES = Object.fromEntries([...data.digits].map((digit, value) => [digit, value]));

  function decode(text) {
    const numbers = new Float64Array(text.length / 2);
    for (let i = 0; i < numbers.length; i++) {
      const level = 64 * VALUES[text[2 * i]] + VALUES[text[2 * i + 1]];
      numbers[i] = level > data.top ? NaN : level / data.top;
    }
    return numbers;
  }

  const runs = new Map();

  /** The path of a runner with its rate: x and y in the units of the map, and the power of ten of its height. */
  function run(index) {
    const key = `${state.place} ${index} ${state.rates[index]}`;
    if (!runs.has(key)) {
      const { points, heights } = data.landscapes[state.place];
      const flat = decode(points[index][state.rates[index]]);
      const place = (fraction) => fraction * (1 + 2 * data.margin) - data.margin;
      const [low, high] = data.decades;
      runs.set(key, {
        x: Float64Array.from({ length: data.steps + 1 }, (_, k) => place(flat[2 * k]) * WIDE),
        y: Float64Array.from({ length: data.steps + 1 }, (_, k) => (1 - place(flat[2 * k + 1])) * TALL),
        power: decode(heights[index][state.rates[index]]).map((fraction) => low + fraction * (high - low)),
      });
    }
    return runs.get(key);
  }

  /** The points of a list up to the time that is shown; the last lies between two steps. It ends where a run is lost. */
  function until(x, y) {
    const whole = Math.floor(state.t), part = state.t - whole, points = [];
    for (let k = 0; k <= whole && !Number.isNaN(x[k] + y[k]); k++) points.push([x[k], y[k]]);
    if (part && points.length > whole && !Number.isNaN(x[whole + 1] + y[whole + 1])) {
      points.push([x[whole] + part * (x[whole + 1] - x[whole]), y[whole] + part * (y[whole + 1] - y[whole])]);
    }
    return points;
  }

  // Drawing ------------------------------------------------------------------------------------------------------------

  /** Lines, the first at the bottom. Where others lie on one of them it is broader, so that all of them stay in sight. */
  function ribbons(lines, wide, tall, unit) {
    const cell = 4 * unit, taken = new Map(), drawn = [];
    for (const { index, points } of [...lines].reverse()) {
      const pieces = new Map(), own = [];
      for (let k = 1; k < points.length; k++) {
        const [[x0, y0], [x1, y1]] = [points[k - 1], points[k]];
        const samples = Math.min(200, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / cell) + 1);
        let above = 0;
        for (let i = 0; i < samples; i++) {
          const x = x0 + ((i + 0.5) / samples) * (x1 - x0), y = y0 + ((i + 0.5) / samples) * (y1 - y0);
          if (x < 0 || y < 0 || x > wide || y > tall) continue;
          const key = Math.floor(x / cell) * 65536 + Math.floor(y / cell);
          above += taken.get(key) || 0;
          own.push(key);
        }
        const depth = Math.min(4, Math.round(above / samples));
        pieces.set(depth, `${pieces.get(depth) || ""}M${at(x0, y0)}L${at(x1, y1)}`);
      }
      for (const key of new Set(own)) taken.set(key, (taken.get(key) || 0) + 1);
      drawn.unshift([...pieces].map(([depth, d]) => path(d, index, 2.2 + 3 * depth)).join(""));
    }
    return drawn.join("");
  }

  const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  const path = (d, index, width) =>
    `<path class="race-line" data-runner="${index}" d="${d}" stroke="${data.runners[index].color}" stroke-width="${width}"/>`;

  function marker(index, x, y, size, name) {
    const { color, marker: shape } = data.runners[index];
    return (
      `<path class="${name}" data-runner="${index}" fill="${color}" fill-rule="evenodd" d="${SHAPES[shape]}"` +
      ` transform="translate(${at(x, y)}) scale(${size.toFixed(2)})"/>`
    );
  }

  /** Markers along a line, each runner's at steps of its own, and a large one at its end. */
  function markers(lines, wide, tall, unit) {
    const small = [], heads = [];
    lines.forEach(({ index, points }, order) => {
      for (let k = 4 + ((3 * order) % 16); k < points.length - 1; k += 16) {
        const [x, y] = points[k];
        if (x >= 0 && y >= 0 && x <= wide && y <= tall) small.push(marker(index, x, y, 4.5 * unit, "race-mark"));
      }
      const [x, y] = points[points.length - 1], edge = 9 * unit;
      const inside = (value, end) => Math.min(Math.max(value, edge), end - edge);
      const met = lines.slice(order + 1).filter(({ points: other }) => {
        const [u, v] = other[other.length - 1];
        return Math.hypot(x - u, y - v) < 4 * unit;
      }).length; // those that will lie on this one
      heads.push(marker(index, inside(x, wide), inside(y, tall), (8 + 4 * Math.min(met, 3)) * unit, "race-head"));
    });
    return small.join("") + heads.join("");
  }

  function draw() {
    const shown = state.chosen.map((index) => ({ index, ...run(index) }));
    const lines = shown.map(({ index, x, y }) => ({ index, points: until(x, y) }));
    const unit = WIDE / (map.clientWidth || WIDE); // of the map, in one pixel of the screen
    part("paths").innerHTML = ribbons(lines, WIDE, TALL, unit) + markers(lines, WIDE, TALL, unit);
    chartOf(shown);

    const step = Math.floor(state.t);
    scrub.value = step;
    scrub.setAttribute("aria-valuetext", `step ${step} of ${data.steps}`);
    part("step").textContent = `step ${step} of ${data.steps}`;
    for (const { index, x, power } of shown) {
      part(`height-${index}`).textContent = Number.isNaN(x[step] + power[step]) ? "diverged" : height(power[step]);
    }
  }

  function chartOf(shown) {
    const wide = chart.clientWidth || 700;
    chart.setAttribute("viewBox", `0 0 ${wide} ${CHART.tall}`);
    const [low, high] = scale(shown);
    const across = (k) => CHART.left + (k / data.steps) * (wide - CHART.left - CHART.right);
    const up = (power) => CHART.top + ((high - power) / (high - low)) * (CHART.tall - CHART.bottom - CHART.top);
    const steps = Float64Array.from({ length: data.steps + 1 }, (_, k) => across(k));
    const curves = shown.map(({ index, power }) => ({
      index,
      points: until(steps, power.map((it) => up(Math.min(Math.max(it, low), high)))),
    }));
    part("axes").innerHTML = axes(low, high, across, up);
    part("curves").innerHTML = ribbons(curves, wide, CHART.tall, 1) + markers(curves, wide, CHART.tall, 1);
  }

  /** The powers of ten that the chart shows: those of the chosen runs, as far as they are of interest. */
  function scale(shown) {
    const all = shown.flatMap(({ power }) => [...power]).filter((it) => !Number.isNaN(it));
    const low = Math.floor(Math.max(-8, Math.min(0, ...all))), high = Math.ceil(Math.min(4, Math.max(1, ...all)));
    return [low, high];
  }

  function axes(low, high, across, up) {
    const pieces = [];
    for (let power = low; power <= high; power += Math.ceil((high - low) / 5)) {
      pieces.push(`<path d="M${at(across(0), up(power))}H${across(data.steps).toFixed(1)}"/>`);
      const text = power >= -2 && power <= 2 ? String(10 ** power) : `1e${power}`;
      pieces.push(`<text x="${CHART.left - 8}" y="${up(power) + 4}" text-anchor="end">${text}</text>`);
    }
    for (let k = 0; k <= data.steps; k += data.steps / 4) {
      pieces.push(`<text x="${across(k)}" y="${CHART.tall - 5}" text-anchor="middle">${k}</text>`);
    }
    return pieces.join("");
  }

  function height(power) {
    if (power <= data.decades[0]) return `below 1e${data.decades[0]}`;
    if (power >= data.decades[1]) return `above 1e${data.decades[1]}`;
    return Number((10 ** power).toPrecision(2)).toString();
  }

  // The parts of the page ----------------------------------------------------------------------------------------------

  const keys = Object.keys(data.landscapes);
  track.innerHTML = `
    <fieldset class="race-places"><legend>Landscape</legend>${keys
      .map((key) => `<label><input type="radio" name="race-place" value="${key}"> ${data.landscapes[key].title}</label>`)
      .join("")}</fieldset>
    <svg class="race-map" viewBox="0 0 ${WIDE} ${TALL}" role="img" tabindex="0" aria-describedby="race-said">
      <g data-part="bands"></g><g data-part="minima"></g><g data-part="paths"></g></svg>
    <div class="race-time">
      <button type="button" class="race-play" data-part="play">Play</button>
      <input type="range" data-part="scrub" min="0" max="${data.steps}" step="1" aria-label="Step">
      <span class="race-told" data-part="step"></span>
    </div>
    <p class="race-said" id="race-said" data-part="said" role="status"></p>
    <p class="race-title">Height above the lowest point, after each step</p>
    <svg class="race-chart" height="${CHART.tall}" role="img"
      aria-label="Height of each chosen optimizer, after each step; the list below has the numbers">
      <g data-part="axes" class="race-axes"></g><g data-part="curves"></g></svg>
    <fieldset class="race-runners"><legend>Optimizers and their learning rates</legend>
      <div class="race-all"><label for="race-all">All learning rates</label>
        <input type="range" id="race-all" data-part="all" min="0" max="${data.rates.length - 1}" step="1">
        <span class="race-told" data-part="all-rate"></span>
        <button type="button" data-part="best">Best of each</button></div>
      ${data.runners
        .map(
          ({ title, page }, index) => `<div class="race-runner">
        <label><input type="checkbox" value="${index}"><svg viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true">${marker(
          index, 0, 0, 1, "race-mark")}</svg> ${title}</label>
        <a href="${page}" aria-label="The page of ${title}">page</a>
        <input type="range" data-part="rate-${index}" min="0" max="${data.rates.length - 1}" step="1"
          aria-label="Learning rate of ${title}">
        <span class="race-told" data-part="lr-${index}"></span><span class="race-told race-height" data-part="height-${index}"></span></div>`,
        )
        .join("")}</fieldset>`;

  const part = (name) => track.querySelector(`[data-part="${name}"]`);
  const map = track.querySelector(".race-map"), chart = track.querySelector(".race-chart");
  const [scrub, play, all] = ["scrub", "play", "all"].map(part);

  /** Brings controls and pictures to the state; `said` is told to screen readers too. */
  function show(said = "") {
    for (const [index, { title }] of data.runners.entries()) {
      const chosen = state.chosen.includes(index), slider = part(`rate-${index}`);
      const row = slider.parentElement;
      row.classList.toggle("race-chosen", chosen);
      row.querySelector("[type=checkbox]").checked = chosen;
      slider.value = state.rates[index];
      slider.setAttribute("aria-valuetext", rate(state.rates[index]));
      part(`lr-${index}`).textContent = `lr ${rate(state.rates[index])}`;
      if (!chosen) part(`height-${index}`).textContent = "";
    }
    const common = new Set(state.chosen.map((index) => state.rates[index]));
    part("all-rate").textContent = common.size === 1 ? `lr ${rate([...common][0])}` : "several";
    all.setAttribute("aria-valuetext", part("all-rate").textContent);
    if (common.size === 1) all.value = [...common][0];
    play.textContent = state.playing ? "Pause" : "Play";
    draw();
    if (said) part("said").textContent = said;
  }

  /** Where the runners stand, lowest first, in words. */
  function standing() {
    const step = Math.floor(state.t);
    const order = state.chosen.map((index) => ({ title: data.runners[index].title, power: run(index).power[step] }));
    order.sort((a, b) => (Number.isNaN(a.power) ? 99 : a.power) - (Number.isNaN(b.power) ? 99 : b.power));
    const told = order.map(({ title, power }) => `${title} ${Number.isNaN(power) ? "diverged" : `at ${height(power)}`}`);
    return told.length ? `Step ${step}, lowest first: ${told.join("; ")}.` : "No optimizer is chosen.";
  }

  function visit(key) {
    const { title, bands, minima, lesson, best } = data.landscapes[key];
    state.place = key;
    state.rates = best.map((index, runner) => lesson[runner] ?? index);
    state.chosen = Object.keys(lesson).map(Number);
    part("bands").innerHTML = bands.map((d) => `<path fill-rule="evenodd" d="${d}"/>`).join("");
    const star = ([x, y]) => `<path transform="translate(${x} ${y}) scale(26)" d="${SHAPES.star}"/>`;
    part("minima").innerHTML = minima.map(star).join("");
    map.setAttribute("aria-label", `${title}: a map with the paths of the chosen optimizers; a star marks each minimum`);
    track.querySelector(`[value="${key}"]`).checked = true;
  }

  // Time ---------------------------------------------------------------------------------------------------------------

  let before = 0, played = 0; // milliseconds: the last frame, and how long the run has been shown

  function tick(now) {
    if (!state.playing) return;
    played += Math.min(Math.max(now - before, 0), 100); // a frame's time may lie before the click that asked for it
    before = now;
    const t = Math.min((played / 1000 / SECONDS) * data.steps, data.steps);
    state.t = still.matches ? Math.floor(t) : t; // whole steps where motion is unwelcome
    if (t >= data.steps) return stop();
    draw();
    requestAnimationFrame(tick);
  }

  function start() {
    if (state.t >= data.steps) state.t = 0;
    state.playing = true;
    played = (state.t / data.steps) * SECONDS * 1000;
    before = performance.now();
    show();
    requestAnimationFrame(tick);
  }

  function stop() {
    state.playing = false;
    show(standing());
  }

  const toggle = () => (state.playing ? stop() : start());

  function go(step) {
    state.playing = false;
    state.t = Math.min(Math.max(step, 0), data.steps);
    show(standing());
  }

  // What people do -----------------------------------------------------------------------------------------------------

  play.addEventListener("click", toggle);
  map.addEventListener("click", toggle);
  scrub.addEventListener("input", () => go(Number(scrub.value)));
  track.addEventListener("change", ({ target }) => {
    if (target.type === "radio") {
      visit(target.value);
      state.t = 0;
      if (still.matches) go(data.steps);
      else start();
    } else if (target.type === "checkbox") {
      const index = Number(target.value);
      state.chosen = target.checked ? [...state.chosen, index] : state.chosen.filter((it) => it !== index);
      show(standing());
    }
  });
  track.addEventListener("input", ({ target }) => {
    const index = /^rate-(\d+)$/.exec(target.dataset.part || "");
    if (index) {
      state.rates[index[1]] = Number(target.value);
      if (!state.chosen.includes(Number(index[1]))) state.chosen.push(Number(index[1]));
    } else if (target === all) state.rates.fill(Number(all.value));
    else return;
    show(standing());
  });
  part("best").addEventListener("click", () => {
    state.rates = [...data.landscapes[state.place].best];
    show(standing());
  });
  track.addEventListener("keydown", (event) => {
    const kind = event.target.type || "";
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !["button", "checkbox", "radio"].includes(kind)) toggle();
    else if (event.target === map && event.key === "ArrowRight") go(Math.floor(state.t) + 1);
    else if (event.target === map && event.key === "ArrowLeft") go(Math.ceil(state.t) - 1);
    else if (event.target === map && event.key === "Home") go(0);
    else if (event.target === map && event.key === "End") go(data.steps);
    else return;
    event.preventDefault();
  });
  for (const link of document.querySelectorAll("a.race-run")) {
    const key = link.hash.slice("#race-".length);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      visit(key);
      go(0);
      track.scrollIntoView({ behavior: still.matches ? "auto" : "smooth" });
      map.focus({ preventScroll: true });
      if (!still.matches) start();
    });
  }
  new ResizeObserver(() => state.playing || draw()).observe(map);

  visit(keys[0]);
  show(standing());
  if (!still.matches) start();
})();
