// One current frame for the video, the 3-D view and the charts.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const charts = [], last = data.names.length - 1;
  let view = null, video = null, still = null;

  const player = {
    index: 0,
    names: data.names,
    say(text) { byId("spoken").textContent = text; },
    go(index) { pause(); seek(index); },
  };

  function mark(index) {
    player.index = Math.max(0, Math.min(last, index));
    byId("frame").value = player.index;
    byId("now").textContent = `${data.seconds[player.index].toFixed(2)} s · frame ${data.names[player.index]}`;
    byId("frame").setAttribute("aria-valuetext", byId("now").textContent);
    for (const chart of charts) chart.markFrame();
    if (view) view.goto(player.index);
    if (still) showStill();
  }

  function seek(index) {
    mark(index);
    if (video) video.currentTime = (player.index + 0.5) / data.videoFps;
  }

  // Without a video, the nearest of the kept pictures stands in.
  function showStill() {
    const distance = (i) => Math.abs(data.keyFrames[i] - player.index);
    const best = data.keyFrames.reduce((found, _, i) => (distance(i) < distance(found) ? i : found), 0);
    const picture = byId("strip").querySelectorAll("img")[best];
    if (picture) [still.src, still.alt] = [picture.src, picture.alt];
  }

  function useStill() {
    video = null;
    still = document.createElement("img");
    byId("screen").replaceChildren(still);
    showStill();
  }

  let timer = 0, startedAt = 0, startedFrom = 0;
  const playing = () => timer !== 0;

  function play() {
    if (player.index >= last) seek(0);
    [startedAt, startedFrom] = [performance.now(), player.index];
    if (video) video.play().catch(() => pause());
    byId("play").textContent = "❚❚";
    byId("play").setAttribute("aria-label", "Pause");
    timer = requestAnimationFrame(tick);
  }

  function pause() {
    cancelAnimationFrame(timer);
    timer = 0;
    if (video) video.pause();
    byId("play").textContent = "▶";
    byId("play").setAttribute("aria-label", "Play");
  }

  function tick() {
    const passed = video ? video.currentTime * data.videoFps : startedFrom + (performance.now() - startedAt) / 1000 * data.videoFps;
    const index = Math.min(Math.floor(passed + 1e-3), last);
    if (index !== player.index) mark(index);
    if (index >= last || (video && video.ended)) return pause();
    timer = requestAnimationFrame(tick);
  }

  function makeVideo() {
    const base64 = byId("video-data").textContent.trim();
    if (!base64) return useStill();
    const made = document.createElement("video");
    Object.assign(made, { muted: true, playsInline: true, preload: "auto" });
    made.setAttribute("aria-label", "The recording with the poses drawn on it");
    made.addEventListener("error", useStill, { once: true });
    made.addEventListener("loadedmetadata", () => { video = made; seek(player.index); }, { once: true });
    made.addEventListener("click", () => (playing() ? pause() : play()));
    made.src = URL.createObjectURL(new Blob([bytesOf(base64)], { type: "video/mp4" }));
    byId("screen").replaceChildren(made);
  }

  function makeView() {
    const host = byId("space"), canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "3-D view of the object, the points of the first frame and the path. Arrow keys turn it, plus and minus zoom, 0 resets.");
    host.append(canvas);
    try {
      view = new View3D(canvas, data.view);
    } catch (error) {
      const text = document.createElement("p");
      text.textContent = `The 3-D view needs WebGL, which this browser does not offer (${error.message}).`;
      host.replaceChildren(text);
      byId("space-tools").remove();
      return;
    }
    makeViewTools();
  }

  function makeViewTools() {
    const tools = byId("space-tools"), choice = document.createElement("span");
    choice.className = "choice";
    const buttons = ["camera", "object"].map((what) => {
      const made = button(`${what === "camera" ? "Camera" : "Object"} moves`, () => {
        view.move(what);
        buttons.forEach((each, i) => each.setAttribute("aria-pressed", String(["camera", "object"][i] === what)));
      });
      made.setAttribute("aria-pressed", String(view.moving === what));
      return made;
    });
    choice.append(...buttons);
    const switches = Object.keys(view.show).map((part) => {
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", checked: true });
      box.addEventListener("change", () => { view.show[part] = box.checked; view.redraw(); });
      label.append(box, part[0].toUpperCase() + part.slice(1));
      return label;
    });
    const through = button("Camera view", () => { view.through = true; view.redraw(); });
    tools.append(choice, ...switches, through, button("Reset", () => view.reset()));
  }

  function button(text, action) {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: text });
    made.addEventListener("click", action);
    return made;
  }

  function makeCharts() {
    const axis = new TimeAxis(data.seconds);
    for (const host of document.querySelectorAll(".charts")) {
      for (const spec of data.charts.filter((each) => each.group === host.dataset.group)) charts.push(new Chart(host, spec, axis, player));
    }
    for (const tools of document.querySelectorAll("[data-tools]")) {
      const now = () => data.seconds[player.index], named = (text, label, action) => {
        const made = button(text, action);
        made.setAttribute("aria-label", label);
        return made;
      };
      const all = named("All", "Show the whole time", () => axis.all());
      axis.listeners.push(() => { all.disabled = !axis.zoomed; });
      all.disabled = true;
      tools.append(
        named("−", "Zoom out", () => axis.zoom(1 / 0.6, now())), named("+", "Zoom in", () => axis.zoom(0.6, now())), all,
        button("Save as CSV", saveTable),
      );
    }
  }

  function saveTable() {
    const columns = data.charts.flatMap((chart) => chart.series.map((s) => [`${chart.title}, ${s.name} (${chart.unit})`, s.values]));
    const lines = [["frame", "seconds", ...columns.map(([name]) => `"${name}"`)].join(",")];
    data.names.forEach((name, i) => lines.push([name, data.seconds[i], ...columns.map(([, values]) => values[i] ?? "")].join(",")));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "poses.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  byId("frame").max = last;
  byId("frame").addEventListener("input", (event) => player.go(Number(event.target.value)));
  byId("play").addEventListener("click", () => (playing() ? pause() : play()));
  byId("strip").querySelectorAll("button").forEach((each, i) => each.addEventListener("click", () => player.go(data.keyFrames[i])));
  makeCharts();
  makeView();
  makeVideo();
  mark(0);
})();
