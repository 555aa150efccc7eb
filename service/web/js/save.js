// Hands a file to the browser to be saved.

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // Not at once: the browser begins to read after this.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
