/** Sizes as people write them: `64mb`. Loads nothing, for the command line reads them before anything else is there. */

/**
 * Bytes, as Redis' configuration counts them: `64mb` (1024 * 1024 each), `64m` (1000 * 1000 each), and the same for k and g;
 * a number alone is bytes. NaN for what is none. Source: Redis, util.c, memtoull.
 */
export const bytesOf = (text: string): number => {
  const [, digits, unit = ""] = /^(\d+)([a-z]*)$/.exec(text.toLowerCase()) ?? []
  return Number(digits) * (units.get(unit) ?? Number.NaN)
}

/** The shortest exact way to say it. */
export const sizeOf = (bytes: number): string => {
  for (const unit of ["gb", "mb", "kb"]) {
    const size = bytes / (units.get(unit) as number)
    if (Number.isInteger(size)) return `${size}${unit}`
  }
  return String(bytes)
}

const units: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["b", 1],
  ["k", 1_000],
  ["kb", 1_024],
  ["m", 1_000 ** 2],
  ["mb", 1_024 ** 2],
  ["g", 1_000 ** 3],
  ["gb", 1_024 ** 3]
])
