/**
 * Numbered lines of a log, of which the newest are kept.
 *
 * Numbers count from 1 without a gap, so that a reader who asks for what comes `after` the last number it saw misses
 * nothing unnoticed: where the first line it gets has a higher number than the next, the lines between were dropped.
 *
 * How many are kept, and how many bytes of them, is for its owner to say, who drops the oldest: these limits may
 * change. It holds nothing before the first line. Cost: O(1) for each line, moved once on average.
 */
export class LineRing<Line> {
  /** The number of the newest line; 0 before the first. */
  last = 0
  /** Lines that are kept, and their bytes. */
  size = 0
  bytes = 0
  /** Lines that made room for newer ones. */
  dropped = 0
  private readonly lines: Array<Line | undefined> = []

  constructor(private readonly bytesOf: (line: Line) => number) {}

  /** The number of the oldest line that is kept. */
  get first(): number {
    return this.last - this.size + 1
  }

  /** Takes the line that is numbered `last + 1`. Answers its bytes. */
  push(line: Line): number {
    const bytes = this.bytesOf(line)
    this.lines.push(line)
    this.last++
    this.size++
    this.bytes += bytes
    return bytes
  }

  /** Drops the oldest of those that are there. Answers its bytes. */
  drop(): number {
    const { lines } = this
    const at = lines.length - this.size
    const bytes = this.bytesOf(lines[at] as Line)
    lines[at] = undefined
    this.size--
    this.bytes -= bytes
    this.dropped++
    // The places in front are given back when they are as many as the lines.
    if (lines.length > 2 * this.size + 16) lines.splice(0, lines.length - this.size)
    return bytes
  }

  /** Oldest first: the first `count` behind number `after`, or the last `count` where no number is given. */
  read({ after, count = linesReadDefault }: LinesAsked = {}): Line[] {
    const { first, last, lines, size } = this
    const from = Math.max(after === undefined ? last - count + 1 : after + 1, first)
    const at = lines.length - size + (from - first)
    return lines.slice(at, Math.max(at, at + count)) as Line[]
  }

  /** Forgets all lines, and goes on counting. */
  clear(): void {
    this.lines.length = 0
    this.size = 0
    this.bytes = 0
  }
}

/** Which lines are asked for. */
export interface LinesAsked {
  readonly after?: number
  /** Default: `linesReadDefault`. */
  readonly count?: number
}

/** How many lines are read when nobody says how many. */
export const linesReadDefault = 100
