// A failure in words that can be shown as they are.

export class Problem extends Error {
  constructor(message, { status = 0 } = {}) {
    super(message);
    this.name = "Problem";
    this.status = status;
  }
}

/** An answer's problem+json in words; a proxy's own error page has none, only its status. */
export function sentence({ title, detail }, status) {
  if (!title) return `The server answered with status ${status} and no reason.`;
  const text = detail && detail !== title ? `${title}: ${detail}` : title;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
