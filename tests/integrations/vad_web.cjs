// vad-web's own class for silero's model, over a recording: prints `P` and a probability a line.
//
//     NODE_PATH=…/node_modules node vad_web.cjs model.onnx float32-at-16-kHz.raw [floats of state]
//
// With a third argument only so many floats of the state are carried on, as by a client that
// allocates silero's own size.
const fs = require("fs");
const ort = require("onnxruntime-web");
const { Silero } = require("@ricky0123/vad-web/dist/models");

async function main([path, raw, kept]) {
  ort.env.wasm.numThreads = 1;
  const data = fs.readFileSync(path);
  const fetched = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
  const model = await Silero.new(ort, async () => fetched);
  const bytes = fs.readFileSync(raw);
  const audio = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let i = 0; i + 512 <= audio.length; i += 512) {
    const found = await model.process(audio.slice(i, i + 512));
    process.stdout.write(`P ${found.isSpeech}\n`);
    if (kept) {
      const state = model._state.data.slice(0, Number(kept));
      model._state = new ort.Tensor("float32", state, [2, 1, state.length / 2]);
    }
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message ?? error);
  process.exit(1);
});
