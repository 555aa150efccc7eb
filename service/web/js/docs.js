// Starts the interactive documentation.

const answer = await fetch("openapi.json");
const spec = await answer.json();
// Without it, what is tried out would miss the prefix of a proxy that strips it.
spec.servers ??= [{ url: new URL(".", document.baseURI).href.replace(/\/$/, "") }];

globalThis.SwaggerUIBundle({
  spec,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null, // it would ask a server elsewhere
});
