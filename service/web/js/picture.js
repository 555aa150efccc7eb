// The chart as a PNG with a title, as it stands on the screen.

import { colours } from "./chart/colours.js";

const MARGIN = 14;
const TITLE = 30;

export function pictureOf(canvas, title) {
  const ratio = canvas.width / canvas.clientWidth;
  const made = document.createElement("canvas");
  made.width = canvas.width + 2 * MARGIN * ratio;
  made.height = canvas.height + (2 * MARGIN + TITLE) * ratio;
  const pen = made.getContext("2d");
  pen.fillStyle = colours().card;
  pen.fillRect(0, 0, made.width, made.height);
  pen.drawImage(canvas, MARGIN * ratio, (MARGIN + TITLE) * ratio);
  pen.scale(ratio, ratio);
  pen.fillStyle = colours().text;
  pen.font = `600 14px ${getComputedStyle(document.body).fontFamily}`;
  pen.textBaseline = "middle";
  pen.fillText(title, MARGIN, MARGIN + TITLE / 2, canvas.clientWidth);
  return new Promise((resolve) => made.toBlob(resolve, "image/png"));
}
