// Draws the charts of a page with Plotly, which is unpacked first, and marks one trial or run wherever it is.
"use strict";
(async () => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = []; // {plot, figure}: of each chart
  let pinned = null, marked = null, waiting = false; // marked: what is pinned, or under the pointer
  const clear = "rgba(0,0,0,0)";

  async function unpack() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  // A copy of a figure with the colours that the page has now.
  function coloured(value) {
    if (typeof value === "string") return value.replace(/var\((--[\w-]+)\)/g, (_, name) => style(name));
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each)]));
    return value;
  }

  function template() {
    const ink = style("--ink"), axis = { gridcolor: style("--grid"), zeroline: false, automargin: true,
      linecolor: style("--grid"), showline: true, title: { standoff: 8 }, exponentformat: "none", separatethousands: true };
    return { layout: {
      font: { family: "system-ui, sans-serif", size: 13, color: ink },
      paper_bgcolor: clear, plot_bgcolor: clear, colorway: [0, 1, 2, 3, 4, 5].map((k) => style(`--c${k}`)),
      margin: { l: 10, r: 10, t: 10, b: 10 }, hovermode: "closest", xaxis: axis, yaxis: axis,
      hoverlabel: { bgcolor: style("--ground"), bordercolor: style("--grid"), font: { color: ink }, align: "left" },
      modebar: { bgcolor: style("--ground"), color: style("--ink"), activecolor: style("--c0") },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
      coloraxis: { colorbar: { thickness: 12, outlinewidth: 0 } },
    } };
  }

  // The points of each key, by pair of axes: [{axes: "x y", lines: true, points: Map(key -> [[x, y], ...])}].
  function pointsOf(figure) {
    const pairs = new Map();
    for (const { type, customdata, meta, mode, x, y, xaxis, yaxis } of figure.data) {
      if (!customdata || type === "parcoords" || meta === "hover") continue;
      const axes = (xaxis || "x") + (yaxis || "y");
      if (!pairs.has(axes)) pairs.set(axes, { axes, points: new Map() });
      const pair = pairs.get(axes);
      pair.lines ||= (mode || "").includes("lines");
      const add = (key, ...point) => {
        if (!pair.points.has(String(key))) pair.points.set(String(key), []);
        if (!point.includes(null)) pair.points.get(String(key)).push(point);
      };
      if (type === "heatmap") customdata.forEach((row, r) => row.forEach((key, c) => add(key, x[c], y[r])));
      else customdata.forEach((key, k) => add(key, x[k], y[k]));
    }
    return [...pairs.values()];
  }

  // What is marked is drawn by hand above the chart: Plotly would compute all of it anew, seconds of a thousand trials.
  function overlay({ plot, figure, pairs }) {
    if (!plot._fullLayout) return; // not drawn yet
    plot.querySelector(".overlay")?.remove();
    if (marked === null) return;
    const svg = element("svg", { class: "overlay" }), origin = plot.getBoundingClientRect();
    const line = (points) => element("polyline", { points: points.map((p) => p.map((v) => v.toFixed(1)).join()).join(" ") });
    for (const { axes, lines, points } of pairs) {
      const { xaxis, yaxis } = plot._fullLayout._plots[axes];
      const part = element("svg", { x: xaxis._offset, y: yaxis._offset, width: xaxis._length, height: yaxis._length });
      const places = (points.get(marked) || []).map(([x, y]) => [xaxis.d2p(x), yaxis.d2p(y)]);
      if (lines) part.append(line(places));
      else part.setAttribute("overflow", "visible");
      for (const [cx, cy] of places) part.append(element("circle", { cx, cy, r: lines ? 4 : 6 }));
      svg.append(part);
    }
    if (figure.data[0].type === "parcoords") {
      const k = figure.data[0].customdata.map(String).indexOf(marked), places = [];
      for (const axis of plot.querySelectorAll(".y-axis")) {
        const name = axis.querySelector(".axis-title").textContent, box = axis.querySelector(".domain").getBoundingClientRect();
        const { values, range } = figure.data[0].dimensions.find(({ label }) => label === name);
        const part = (values[k] - range[0]) / (range[1] - range[0]);
        places.push([(box.left + box.right) / 2 - origin.left, box.bottom - part * box.height - origin.top]);
      }
      if (k >= 0) svg.append(line(places.sort((a, b) => a[0] - b[0])));
    }
    plot.append(svg);
  }

  function element(name, attributes) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  const layoutOf = (figure) => ({ height: 420, ...coloured(figure.layout), template: template(), autosize: true });
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    showSendToCloud: false, plotlyServerURL: "" }; // else a button would upload a chart

  async function draw(chart) {
    const figure = JSON.parse(chart.querySelector("script").textContent);
    const entry = { plot: document.createElement("div"), figure, pairs: pointsOf(figure) };
    entry.plot.className = "plot";
    entry.plot.setAttribute("role", "img"); // as its still has it
    entry.plot.setAttribute("aria-label", chart.dataset.title);
    chart.querySelector(".still").before(entry.plot);
    drawn.push(entry);
    await Plotly.newPlot(entry.plot, coloured(figure.data), layoutOf(figure), config);
    entry.plot.classList.add("drawn"); // which hides the still, but on paper
    entry.plot.on("plotly_afterplot", () => overlay(entry)); // zoomed or resized
    if (figure.data[0].type === "parcoords") entry.plot.on("plotly_restyle", () => brush(entry));
    entry.plot.on("plotly_hover", (event) => mark(keyOf(entry, event), false));
    entry.plot.on("plotly_unhover", () => mark(pinned, false));
    entry.plot.on("plotly_click", (event) => pin(keyOf(entry, event)));
    const isZoomed = (name) => {
      const wanted = (figure.layout[name] || {}).range, { range, autorange } = entry.plot.layout[name] || {};
      return wanted ? (range || wanted).some((end, k) => end !== wanted[k]) : autorange === false;
    };
    entry.plot.on("plotly_relayout", () => entry.plot.classList.toggle("zoomed", ["xaxis", "yaxis"].some(isZoomed)));
    overlay(entry);
  }

  // What lies within the parts that were chosen of the axes of parallel coordinates; the rest of the tables is dimmed.
  function brush({ plot, figure }) {
    const chosen = plot.data[0].dimensions.filter(({ constraintrange }) => constraintrange && constraintrange.length);
    const inside = ({ constraintrange: chosen, values }, k) =>
      (Array.isArray(chosen[0]) ? chosen : [chosen]).some(([low, high]) => low <= values[k] && values[k] <= high);
    const keys = figure.data[0].customdata.filter((_, k) => chosen.every((dimension) => inside(dimension, k))).map(String);
    for (const row of document.querySelectorAll("[data-key]"))
      row.classList.toggle("outside", chosen.length > 0 && !keys.includes(row.dataset.key));
  }

  function keyOf(entry, event) {
    const key = event.points ? event.points[0].customdata : entry.figure.data[0].customdata[event.curveNumber]; // parallel coordinates
    return key === null || key === undefined ? null : String(key);
  }

  function pin(key) {
    pinned = key === pinned ? null : key;
    history.replaceState(null, "", pinned === null ? location.pathname + location.search : `#key=${encodeURIComponent(pinned)}`);
    marked = pinned;
    showSoon(); // also where the pointer had marked it: the bar gets its button
  }

  function mark(key) {
    if (key === marked) return;
    marked = key;
    showSoon();
  }

  function showSoon() {
    if (!waiting) requestAnimationFrame(show);
    waiting = true;
  }

  function show() {
    waiting = false;
    let words = "";
    for (const row of document.querySelectorAll("[data-key]")) {
      const is = marked !== null && row.dataset.key === marked;
      row.classList.toggle("marked", is);
      if (is && row.title) words = row.title;
    }
    const line = document.getElementById("marked");
    line.hidden = marked === null || !words;
    line.textContent = words;
    if (pinned !== null) {
      const button = document.createElement("button");
      button.textContent = "release";
      button.addEventListener("click", () => pin(pinned));
      line.append(" ", button);
    }
    // Nothing that can be chosen or focused lies behind the bar for good.
    document.body.style.paddingBottom = document.documentElement.style.scrollPaddingBottom = line.hidden ? "" : `${line.offsetHeight}px`;
    drawn.forEach(overlay);
  }

  function tables() {
    const keyed = (event) => event.target.closest && event.target.closest("[data-key]");
    for (const name of ["mouseover", "focusin"])
      document.addEventListener(name, (event) => { if (keyed(event)) mark(keyed(event).dataset.key); });
    for (const name of ["mouseout", "focusout"])
      document.addEventListener(name, (event) => { if (keyed(event)) mark(pinned); });
    document.addEventListener("click", (event) => {
      if (keyed(event) && !event.target.closest("a, button, input")) pin(keyed(event).dataset.key);
    });
    for (const each of document.querySelectorAll("[data-key]")) each.tabIndex = 0;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && pinned !== null) pin(pinned);
      if ((event.key === "Enter" || event.key === " ") && event.target.matches("[data-key]")) {
        event.preventDefault(); // the page would scroll
        pin(event.target.dataset.key);
      }
    });
    const match = location.hash.match(/^#key=(.+)$/);
    if (match) pin(decodeURIComponent(match[1]));
  }

  await unpack();
  // Each when it comes near: a search of all settings has dozens, and while it runs the page reloads itself.
  const near = new IntersectionObserver((entries) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) document.dispatchEvent(new Event("drawn")); // nothing to wait for
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        near.unobserve(target);
        draw(target).then(() => document.dispatchEvent(new Event("drawn")));
      }
  }, { rootMargin: "600px" });
  for (const chart of document.querySelectorAll(".chart")) near.observe(chart);
  tables();
  dark.addEventListener("change", async () => {
    for (const entry of drawn) {
      await Plotly.react(entry.plot, coloured(entry.figure.data), layoutOf(entry.figure), config);
      if (entry.figure.data[0].type === "parcoords") brush(entry); // the choice is gone
    }
  });
})();
