/** The beginning of a text, as a string of its own: a slice would keep all of it alive, were it 32 MiB. */
export const cutText = (text: string, length: number): string =>
  text.length <= length ? text : Buffer.from(text.slice(0, length), "utf16le").toString("utf16le")
