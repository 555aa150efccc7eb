// A call with a channel for each side: who spoke how much, and what happened between them.

import { count, percent, span } from "./text.js";

/** analytics: as `include=analytics` gives them; null hides the table. */
export function showCall(analytics) {
  const part = document.getElementById("call");
  part.hidden = !analytics;
  if (!analytics) return;
  const { channels, overlaps, dead_air: quiet } = analytics;
  part.querySelector("tbody").replaceChildren(...channels.map(rowOf));
  const silence = quiet.count ? `, at most ${span(quiet.longest)} at a time` : "";
  part.querySelector(".hint").textContent =
    `${count(overlaps.count, "time")} both spoke at once, ${span(overlaps.total)} in all. ` +
    `Nobody spoke for ${span(quiet.total)}${silence}.`;
}

function rowOf({ channel, talk, talk_share: share, turns, interruptions, pauses, responses }) {
  const row = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = `Channel ${channel + 1}`;
  const response = responses.median === null ? "–" : span(responses.median);
  const cells = [span(talk), percent(share), turns, interruptions, span(pauses.total), response];
  row.append(head, ...cells.map(cellOf));
  return row;
}

function cellOf(content) {
  const cell = document.createElement("td");
  cell.textContent = String(content);
  return cell;
}
