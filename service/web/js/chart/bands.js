// Speech as bands behind the other lanes: where many segments share a pixel, as dense as they are.

export function drawBands(pen, box, scale, coverage, colours) {
  pen.fillStyle = colours["speech-band"];
  let start = scale.left;
  let before = null;
  const draw = (until) => {
    if (!before) return;
    pen.globalAlpha = before;
    pen.fillRect(start, box.top, until - start, box.height);
  };
  for (let x = scale.left; x < scale.right; x += 1) {
    const share = Math.round(coverage.share(scale.time(x), scale.time(x + 1)) * 8) / 8;
    if (share === before) continue;
    draw(x);
    start = x;
    before = share;
  }
  draw(scale.right);
  pen.globalAlpha = 1;
}
