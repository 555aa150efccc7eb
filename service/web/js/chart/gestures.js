// Hands on the chart: wheel, drag, pinch, click and keys.

const CLICK_PX = 4; // a pointer that moved less was a click
const WHEEL = 0.0016; // of zoom a pixel of the wheel
const ZOOM = 2;
const PAN = 0.2;

/**
 * handlers: view, marks, scaleOf() for the chart's scale (null while there is nothing to act on),
 * seek(seconds), toggle() for playing.
 */
export function attach(plot, handlers) {
  const pointers = new Map();
  let start = null; // where a drag began
  let pinch = null;

  plot.addEventListener("wheel", (event) => wheel(event, handlers), { passive: false });
  plot.addEventListener("dblclick", () => handlers.scaleOf() && handlers.view.fit());
  plot.addEventListener("keydown", (event) => key(event, handlers));

  plot.addEventListener("pointerdown", (event) => {
    if (!handlers.scaleOf() || event.button > 0) return;
    pointers.set(event.pointerId, event.offsetX);
    plot.setPointerCapture(event.pointerId);
    start = pointers.size === 1 ? event.offsetX : null;
    pinch = pointers.size === 2 ? gripOf(pointers, handlers) : null;
    handlers.marks.selection = null;
  });
  plot.addEventListener("pointermove", (event) => {
    if (!handlers.scaleOf()) return;
    handlers.marks.hover = pointers.size ? null : event.offsetX;
    if (!pointers.has(event.pointerId)) return;
    const before = pointers.get(event.pointerId);
    pointers.set(event.pointerId, event.offsetX);
    if (pinch) stretch(pinch, pointers, handlers);
    else if (start === null) return;
    else if (event.pointerType === "touch") {
      handlers.view.pan((before - event.offsetX) / widthOf(handlers));
    } else if (Math.abs(event.offsetX - start) >= CLICK_PX) {
      handlers.marks.selection = [start, event.offsetX];
    }
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId) || pinch) {
      if (!pointers.size) pinch = null;
      return;
    }
    const scale = handlers.scaleOf();
    handlers.marks.selection = null;
    if (!scale || start === null || event.type === "pointercancel") return;
    const moved = Math.abs(event.offsetX - start);
    if (moved < CLICK_PX) handlers.seek(clampTime(scale, event.offsetX));
    else if (event.pointerType !== "touch") {
      const times = [start, event.offsetX].map((x) => clampTime(scale, x));
      handlers.view.look(Math.min(...times), Math.max(...times));
    }
    start = null;
  };
  plot.addEventListener("pointerup", release);
  plot.addEventListener("pointercancel", release);
  plot.addEventListener("pointerleave", () => {
    handlers.marks.hover = null;
  });
}

function wheel(event, { view, scaleOf }) {
  const scale = scaleOf();
  if (!scale) return;
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    view.pan((event.deltaX || event.deltaY) / (scale.right - scale.left));
  } else {
    if (event.deltaY > 0 && view.whole) return; // the page scrolls
    view.zoom(Math.exp(-event.deltaY * WHEEL), clampTime(scale, event.offsetX));
  }
  event.preventDefault();
}

function key(event, { view, scaleOf, toggle, centre }) {
  if (!scaleOf() || event.ctrlKey || event.metaKey || event.altKey) return;
  const actions = {
    "+": () => view.zoom(ZOOM, centre()),
    "=": () => view.zoom(ZOOM, centre()),
    "-": () => view.zoom(1 / ZOOM, centre()),
    0: () => view.fit(),
    ArrowLeft: () => view.pan(-PAN),
    ArrowRight: () => view.pan(PAN),
    " ": toggle,
  };
  if (!(event.key in actions)) return;
  actions[event.key]();
  event.preventDefault();
}

function gripOf(pointers, { scaleOf }) {
  const [a, b] = [...pointers.values()];
  return { apart: Math.max(20, Math.abs(a - b)), time: scaleOf().time((a + b) / 2) };
}

function stretch(pinch, pointers, { view }) {
  if (pointers.size !== 2) return;
  const [a, b] = [...pointers.values()];
  const apart = Math.max(20, Math.abs(a - b));
  view.zoom(apart / pinch.apart, pinch.time);
  pinch.apart = apart;
}

function widthOf({ scaleOf }) {
  const { left, right } = scaleOf();
  return right - left;
}

function clampTime(scale, x) {
  return Math.min(Math.max(scale.time(x), scale.from), scale.to);
}
