// Starts the interactive documentation.

const answer = await fetch("openapi.json");
const spec = await answer.json();
// Without it, what is tried out would miss the prefix of a proxy that strips it.
spec.servers ??= [{ url: new URL(".", document.baseURI).href.replace(/\/$/, "") }];

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

globalThis.SwaggerUIBundle({
  spec,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // it would ask a server elsewhere
});
