/** Text that somebody else wrote, for a terminal: control characters, which could move the cursor or hide text, are spelt out. */
export const visible = (text: string): string =>
  text.replace(control, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`)

const control = /[^\P{Cc}\t]/gu
