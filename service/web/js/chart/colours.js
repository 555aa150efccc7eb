// The style sheet's colours, for canvases.

const NAMES = [
  "text", "muted", "line", "card", "speech", "speech-soft", "speech-band", "wave",
  "wave-soft", "probability", "probability-soft", "threshold", "heat-0", "heat-1", "heat-2", "heat-3", "selection",
];
const found = {};
const listeners = new Set();

function read() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) found[name] = style.getPropertyValue(`--${name}`).trim();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  read();
  listeners.forEach((listener) => listener());
});

export function colours() {
  if (!found.text) read();
  return found;
}

/** listener() when the theme has changed. */
export function onTheme(listener) {
  listeners.add(listener);
}

/** A canvas as large as it is shown, sharp on every screen; its pen, in CSS pixels. */
export function penOf(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return { pen, width, height };
}
