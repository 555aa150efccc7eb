// From docs/clients.md; run in the repository's root, against `vad serve`.

export async function detect(url, pcm, onEvent) {
  const socket = new WebSocket(url);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`no connection to ${url}`));
  });
  // In a browser, if the service wants a key:
  // socket.send(JSON.stringify({ type: "auth", token: key }));
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  socket.onmessage = ({ data }) => onEvent(JSON.parse(data));
  for (let start = 0; start < pcm.length; start += 3200) {
    socket.send(pcm.subarray(start, start + 3200)); // 100 ms of 16-bit samples at 16 kHz
  }
  socket.send(JSON.stringify({ type: "end" }));
  const { code } = await closed;
  if (code !== 1000) throw new Error(`the stream broke off: ${code}`);
}
