/**
 * What is different between two texts, line by line, as people read it: `- was`, `+ is`, with a few lines around.
 *
 * The common beginning and end are taken off first; between them, the longest common subsequence of lines [1]. That
 * costs O(lines of one × lines of the other), so beyond `cellsMax` the middle is shown as replaced whole.
 *
 * [1] Hunt and McIlroy, An Algorithm for Differential File Comparison, 1976.
 */

/** `-` for a line that goes, `+` for one that comes, a blank for one that stays, `@` for lines that are left out. */
export type DiffLine = readonly [sign: "-" | "+" | " " | "@", text: string]

/** The lines in order; empty where the texts are the same. */
export const lineDiff = (before: string, after: string): readonly DiffLine[] => {
  if (before === after) return []
  const [old, now] = [before.split("\n"), after.split("\n")]
  let begin = 0
  while (begin < old.length && begin < now.length && old[begin] === now[begin]) begin++
  let end = 0
  while (end < old.length - begin && end < now.length - begin && old.at(-1 - end) === now.at(-1 - end)) end++
  const unchanged = (lines: readonly string[]) => lines.map((text): DiffLine => [" ", text])
  return withContext([
    ...unchanged(now.slice(0, begin)),
    ...between(old.slice(begin, old.length - end), now.slice(begin, now.length - end)),
    ...unchanged(now.slice(now.length - end))
  ])
}

const between = (old: readonly string[], now: readonly string[]): DiffLine[] => {
  const width = now.length + 1
  if ((old.length + 1) * width > cellsMax) {
    return [...old.map((text): DiffLine => ["-", text]), ...now.map((text): DiffLine => ["+", text])]
  }
  // common[i * width + j]: lines that old from i on and now from j on have in common.
  const common = new Uint16Array((old.length + 1) * width)
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      const at = i * width + j
      common[at] =
        old[i] === now[j]
          ? (common[at + width + 1] as number) + 1
          : Math.max(common[at + width] as number, common[at + 1] as number)
    }
  }
  const lines: DiffLine[] = []
  let [i, j] = [0, 0]
  while (i < old.length || j < now.length) {
    const at = i * width + j
    if (i < old.length && j < now.length && old[i] === now[j]) {
      lines.push([" ", old[i] as string])
      i++
      j++
    } else if (j === now.length || (i < old.length && (common[at + width] as number) >= (common[at + 1] as number))) {
      lines.push(["-", old[i++] as string])
    } else lines.push(["+", now[j++] as string])
  }
  return lines
}

/** Leaves out what is far from any change. */
const withContext = (lines: readonly DiffLine[]): DiffLine[] => {
  const isShown = new Uint8Array(lines.length)
  for (const [at, [sign]] of lines.entries()) {
    if (sign !== " ") isShown.fill(1, Math.max(0, at - contextLines), at + contextLines + 1)
  }
  const shown: DiffLine[] = []
  let skipped = 0
  for (const [at, line] of lines.entries()) {
    if (isShown[at] === 0) {
      skipped++
      continue
    }
    if (skipped > 0) shown.push(["@", `${skipped} ${skipped === 1 ? "line" : "lines"} as before`])
    skipped = 0
    shown.push(line)
  }
  return shown
}

const contextLines = 2 // lines around a change; enough to find the place in a short script
const cellsMax = 4_000_000 // cells of two bytes; 2,000 lines against 2,000
