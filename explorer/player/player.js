// Plays a journey in the browser: every frame was decoded and sent once, so dragging asks nobody.

const VIEW = { width: 1600, height: 1000 }; // the map's units, as in player.html and __init__.py
const shown = new WeakMap(); // slider -> id of the journey it shows

// Called at every rerun of the page, whether or not there is something new to show.
export default function ({ parentElement, data }) {
  const part = (selector) => parentElement.querySelector(selector);
  const slider = part(".slider");
  const picture = part(".picture");
  const last = data.path.length - 1;
  if (shown.get(slider) === data.id) return;
  if (!shown.has(slider)) {
    slider.max = last;
    slider.value = Math.round(last / 2);
  }
  shown.set(slider, data.id);

  drawMap(part(".points"), part(".legend"), data.groups);
  drawRoute(part, data.path);
  part(".name.a").textContent = `A: ${data.a}`;
  part(".name.b").textContent = `B: ${data.b}`;

  const sheet = new Image();
  sheet.src = data.sheet;
  sheet.decode().then(() => createImageBitmap(sheet)).then((frames) => {
    if (shown.get(slider) !== data.id) return; // a newer journey overtook this one
    const paint = (canvas, position) => paintFrame(canvas, frames, data.size, data.columns, position);
    paint(part(".thumbnail.a"), 0);
    paint(part(".thumbnail.b"), last);

    const show = () => {
      const position = slider.valueAsNumber;
      paint(picture, position);
      place(part(".marker"), between(data.path, position));
      const t = (position / last).toFixed(2);
      const distance = data.distances[Math.round(position)].toFixed(1);
      part(".readout").textContent = `t = ${t} · ${distance} from the nearest training picture`;
      slider.setAttribute("aria-valuetext", `t = ${t}`);
    };
    slider.oninput = show;
    // The pointer glides between frames, where the picture is a blend; on release the slider settles on the
    // nearest frame, a true decode. Keys go from frame to frame.
    slider.onpointerdown = () => { slider.step = "any"; };
    slider.onkeydown = () => { slider.step = 1; };
    slider.onchange = () => {
      slider.value = Math.round(slider.valueAsNumber);
      show();
    };
    show();
  });
}

function paintFrame(canvas, frames, size, columns, position) {
  if (canvas.width !== size) canvas.width = canvas.height = size;
  canvas.classList.toggle("coarse", size < 64);
  const context = canvas.getContext("2d");
  const draw = (frame, alpha) => {
    context.globalAlpha = alpha;
    const x = (frame % columns) * size;
    const y = Math.floor(frame / columns) * size;
    context.drawImage(frames, x, y, size, size, 0, 0, size, size);
  };
  const frame = Math.floor(position);
  draw(frame, 1);
  if (position > frame) draw(frame + 1, position - frame);
}

function between(path, position) {
  const i = Math.min(Math.floor(position), path.length - 2);
  const f = position - i;
  return path[i].map((start, axis) => start * (1 - f) + path[i + 1][axis] * f);
}

function place(element, [x, y]) {
  element.setAttribute("transform", `translate(${x} ${y})`);
}

function drawRoute(part, path) {
  const points = path.map((position) => position.join()).join(" ");
  part(".halo").setAttribute("points", points);
  part(".line").setAttribute("points", points);
  place(part(".end.a"), path[0]);
  place(part(".end.b"), path.at(-1));
}

function drawMap(canvas, legend, groups) {
  Object.assign(canvas, VIEW); // setting the size also clears it
  const context = canvas.getContext("2d");
  const total = groups.reduce((sum, group) => sum + group.count, 0);
  const radius = total > 5000 ? 3 : 5;
  legend.replaceChildren();
  for (const { name, count, colour, points } of groups) {
    const xy = new Uint16Array(Uint8Array.from(atob(points), (c) => c.charCodeAt(0)).buffer);
    context.fillStyle = colour;
    context.globalAlpha = 0.5;
    for (let i = 0; i < xy.length; i += 2) {
      context.beginPath();
      context.arc(xy[i], xy[i + 1], radius, 0, 2 * Math.PI);
      context.fill();
    }
    const entry = document.createElement("span");
    entry.style.setProperty("--colour", colour);
    entry.textContent = `${name} (${count.toLocaleString("en")})`;
    legend.append(entry);
  }
}
