// The slippy picture on a page: tiles from the page's own data, drawn by Leaflet. Lengths are pixels of level 0, as
// (row, column), which Leaflet calls latitude and longitude; `viewer.py` says what a level is.
"use strict";
(() => {
  const root = document.currentScript.closest(".viewer");
  const part = name => root.querySelector(`[data-part=${name}]`);
  const data = JSON.parse(part("data").textContent), words = part("words").dataset;
  const animate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const TILE = 256;
  let sheet, map, shapes, frames, badges, painted; // of the sheet that is open

  // Tiles -------------------------------------------------------------------------------------------------------------

  const images = new Map(); // from the text of a tile to its decoded picture

  function decoded(kind, text) {
    if (!images.has(text)) {
      const image = new Image();
      image.src = `data:image/${kind};base64,${text}`;
      images.set(text, image.decode().then(() => image));
    }
    return images.get(text);
  }

  const Tiles = L.GridLayer.extend({
    createTile(coords, done) {
      const canvas = document.createElement("canvas");
      painted.set(canvas, coords);
      paint(canvas).then(() => done(null, canvas), done);
      return canvas;
    },
  });

  // A tile of Leaflet shows a square of the screen. The finest tiles of the pyramid that its resolution can show are
  // drawn into it; where one is missing, the part of the nearest coarser one.
  async function paint(canvas) {
    const {x, y, z} = painted.get(canvas), {tiles, top, shape: [height, width], aspect} = sheet;
    const side = 2 * Math.round(TILE / 2 * devicePixelRatio); // even: halves of a tile meet between pixels
    const margin = Math.ceil(side / TILE); // one point beyond the tile: browsers leave seams (Leaflet issue 3575)
    const down = 2 ** z * side / TILE, along = down * aspect; // pixels of the canvas per pixel of level 0
    const level = Math.min(top, Math.max(0, Math.floor(-Math.log2(Math.max(down, along)))));
    const span = TILE * 2 ** level, found = new Map();
    const last = (position, scale, length) => Math.ceil(Math.min(((position + 1) * side + margin) / scale, length) / span);
    for (let row = Math.max(0, Math.floor(y * side / down / span)); row < last(y, down, height); row++)
      for (let col = Math.max(0, Math.floor(x * side / along / span)); col < last(x, along, width); col++)
        for (let up = 0; level + up <= top; up++) {
          const key = [level + up, row >> up, col >> up].join("/");
          if (!tiles[key]) continue;
          found.set(key, [...(found.get(key) ?? []), [row, col]]);
          break;
        }
    const drawn = await Promise.all([...found].map(async ([key, cells]) => {
      const [imagery, verdict] = tiles[key];
      return {key, cells, imagery: imagery && await decoded("jpeg", imagery), verdict: verdict && await decoded("png", verdict)};
    }));
    const coarsest = tiles[[top, 0, 0].join("/")]?.[0], ground = coarsest && await decoded("jpeg", coarsest);
    if (!painted.has(canvas)) return;
    canvas.width = canvas.height = side + margin;
    canvas.style.width = canvas.style.height = `${(side + margin) * TILE / side}px`;
    const context = canvas.getContext("2d");
    const within = rectangles => {
      context.beginPath();
      for (const [row, col, size] of rectangles)
        context.rect(col * along - x * side, row * down - y * side, size * along, size * down);
      context.clip();
    };
    context.beginPath();
    context.rect(-x * side, -y * side, width * along, height * down);
    context.clip();
    context.fillStyle = data.blank;
    context.fillRect(0, 0, canvas.width, canvas.height);
    // Where two pictures meet within a point of the screen, each covers a part of it, and this shows through.
    if (ground) context.drawImage(ground, -x * side, -y * side, ground.naturalWidth * 2 ** top * along, ground.naturalHeight * 2 ** top * down);
    for (const {key, cells, imagery, verdict} of drawn) {
      const [its, row, col] = key.split("/").map(Number), step = 2 ** its;
      const place = image => [image, col * TILE * step * along - x * side, row * TILE * step * down - y * side,
        image.naturalWidth * step * along, image.naturalHeight * step * down];
      context.save();
      within(cells.map(([r, c]) => [r * span, c * span, span]));
      context.imageSmoothingEnabled = its > 0 || down < 3; // from there on a pixel is a square to be seen
      context.imageSmoothingQuality = "high";
      if (imagery) context.drawImage(...place(imagery));
      context.imageSmoothingEnabled = step * down < 1;
      context.globalAlpha = part("verdict").checked ? part("opacity").value / 100 : 0;
      if (verdict) context.drawImage(...place(verdict));
      context.restore();
    }
  }

  // A sheet ------------------------------------------------------------------------------------------------------------

  const bounds = (row, col, height, width) => L.latLngBounds([row, col], [row + height, col + width]);

  function open(number, window) {
    map?.remove();
    painted = new Map();
    sheet = data.sheets[number];
    const [high, wide] = sheet.pixel, all = bounds(0, 0, ...sheet.shape);
    sheet.aspect = wide / high;
    map = L.map(part("map"), {
      attributionControl: false, zoomControl: false, preferCanvas: true, zoomSnap: 0.25, scrollWheelZoom: isFull(),
      minZoom: -sheet.top - 3, maxZoom: 4, maxBounds: all.pad(0.5),
      zoomAnimation: animate, fadeAnimation: animate, inertia: animate,
      crs: L.extend({}, L.CRS.Simple, {
        transformation: L.transformation(sheet.aspect, 0, 1, 0), // rows go down, and a metre is as long across
        distance: (a, b) => Math.hypot((a.lat - b.lat) * high, (a.lng - b.lng) * wide),
      }),
    });
    // The wheel scrolls the page until the picture is asked for.
    map.on("focus", () => map.scrollWheelZoom.enable());
    map.on("blur", () => isFull() || map.scrollWheelZoom.disable());
    L.control.zoom({zoomInTitle: words.in, zoomOutTitle: words.out}).addTo(map);
    buttons().addTo(map);
    L.control.scale({imperial: false, maxWidth: 140}).addTo(map);
    map.fitBounds(bounds(...window), {animate: false});
    new Tiles({bounds: all, noWrap: true, minZoom: -sheet.top - 3, maxZoom: 4, keepBuffer: 3})
      .on("tileunload", ({tile}) => painted.delete(tile)).addTo(map);
    shapes = Object.fromEntries([["predicted", "#ffd400"], ["reference", "#fff"]].map(([name, colour]) => [name, lines(sheet[name], colour)]));
    frame(number);
    outline();
    part("note").textContent = sheet.note;
    if (part("sheet")) part("sheet").value = number;
  }

  function lines(rings, colour) {
    const points = rings.map(ring => {
      const line = [];
      for (let at = 0, col = 0, row = 0; at < ring.length; at += 2)
        line.push([(row += ring[at + 1]) / 4, (col += ring[at]) / 4]);
      return line;
    });
    const style = {interactive: false, fill: false};
    return L.layerGroup([
      L.polyline(points, {...style, color: "#000", weight: 3, opacity: 0.45}),
      L.polyline(points, {...style, color: colour, weight: 1.5, opacity: 1}),
    ]);
  }

  function outline() {
    for (const [name, layer] of Object.entries(shapes))
      part(name)?.checked ? layer.addTo(map) : layer.remove();
  }

  function buttons() {
    const bar = L.control({position: "topleft"});
    bar.onAdd = () => {
      const box = L.DomUtil.create("div", "leaflet-bar");
      const add = (title, path, act) => {
        const button = L.DomUtil.create("a", "", box);
        Object.assign(button, {href: "#", title, innerHTML: `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${path}"/></svg>`});
        button.setAttribute("role", "button");
        button.setAttribute("aria-label", title);
        L.DomEvent.on(button, "click", event => { L.DomEvent.stop(event); act(); });
      };
      add(words.whole, "M2 7l6-5 6 5M4 6v8h8V6", () => map.flyToBounds(bounds(...sheet.home), {animate, duration: 0.6}));
      add(words.full, "M6 2H2v4M10 2h4v4M6 14H2v-4M10 14h4v-4", () => fill(!isFull()));
      L.DomEvent.disableClickPropagation(box);
      return box;
    };
    return bar;
  }

  // Places -------------------------------------------------------------------------------------------------------------

  const places = [...root.querySelectorAll("[data-place]")];
  const at = button => data.places[button.dataset.place];

  function frame(number) {
    frames = new Map();
    for (const [index, button] of places.entries()) {
      if (at(button).sheet !== number) continue;
      const box = bounds(...at(button).window);
      L.rectangle(box, {interactive: false, fill: false, color: "#000", weight: 3.5, opacity: 0.6}).addTo(map);
      L.rectangle(box, {interactive: false, fill: false, color: "#fff", weight: 1.5, dashArray: "5 4"}).addTo(map);
      const icon = L.divIcon({className: "viewer-badge", html: String(index + 1), iconSize: [22, 22]});
      const badge = L.marker([box.getSouth(), box.getWest()], {icon, keyboard: false}).addTo(map);
      badge.on("click", () => visit(button));
      frames.set(button, badge);
    }
  }

  function visit(button) {
    const {sheet: number, window} = at(button), there = bounds(...window).pad(0.1);
    if (data.sheets[number] !== sheet) open(number, window);
    else map.flyToBounds(there, {animate, duration: 0.8, maxZoom: 2});
    for (const each of places) each.setAttribute("aria-current", each === button);
    for (const [each, badge] of frames) badge.getElement().dataset.current = each === button;
    root.scrollIntoView({block: "nearest"});
  }

  // What a person does -------------------------------------------------------------------------------------------------

  const isFull = () => root.classList.contains("full");

  function fill(full) {
    root.classList.toggle("full", full);
    map.invalidateSize({animate: false});
    full ? map.scrollWheelZoom.enable() : map.scrollWheelZoom.disable();
    part("map").focus({preventScroll: true});
  }

  const repaint = () => [...painted.keys()].forEach(paint);
  part("verdict").addEventListener("change", repaint);
  part("opacity").addEventListener("input", repaint);
  for (const name of ["predicted", "reference"]) part(name)?.addEventListener("change", outline);
  part("sheet")?.addEventListener("change", event => open(+event.target.value, data.sheets[+event.target.value].home));
  for (const button of places) button.addEventListener("click", () => visit(button));
  document.addEventListener("keydown", event => event.key === "Escape" && isFull() && fill(false));
  new ResizeObserver(() => map.invalidateSize({animate: false})).observe(part("map"));
  open(0, data.sheets[0].home);
})();
