// Numbers as the server packs them into JSON: base64 of little-endian values.

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes.buffer;
}

export function floats(text) {
  return new Float32Array(bytesOf(text));
}

export function shorts(text) {
  return new Int16Array(bytesOf(text));
}
