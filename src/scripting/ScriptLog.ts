/**
 * What a tenant's scripts have to say: what they printed, what the cache refused them, and how their runs have
 * failed.
 *
 * Lines are numbered from 1 without a gap, so that a reader who asks for what comes `after` the last number it saw
 * misses nothing unnoticed: where the first line it gets has a higher number than the next, the lines between were
 * dropped.
 *
 * Bounded by lines, by bytes and by the length of a line; the oldest make room. What all tenants' logs hold together
 * is bounded too: past that a log loses its own oldest lines, never another's. It holds nothing before the first
 * line.
 */

/** `print`: the script's own. `refused`: why a function of the host answered false. `failed`: how a run has ended. */
export type ScriptLineKind = "print" | "refused" | "failed"

export interface ScriptLine {
  /** Counts the tenant's lines from 1. */
  readonly number: number
  readonly atMs: number
  readonly script: string
  readonly kind: ScriptLineKind
  readonly text: string
}

/** What the logs of all tenants hold together. */
export class ScriptLogBytes {
  held = 0

  /** Default 64 MiB. */
  constructor(readonly bytesMax = 64 << 20) {}
}

export class ScriptLog {
  /** Lines that made room for newer ones. */
  dropped = 0
  /** The number of the newest line. */
  last = 0
  private readonly ring: Array<ScriptLine | undefined> = []
  private lines = 0
  private bytes = 0

  constructor(private readonly shared: ScriptLogBytes) {}

  /** `linesMax` is asked each time: a tenant's limit may change. */
  append(script: string, kind: ScriptLineKind, text: string, atMs: number, linesMax: number): ScriptLine {
    const line: ScriptLine = { number: this.last + 1, atMs, script, kind, text: cut(text) }
    this.last++
    this.ring.push(line)
    this.lines++
    this.hold(bytesOf(line))
    while (
      this.lines > 1 &&
      (this.lines > linesMax || this.bytes > bytesMax || this.shared.held > this.shared.bytesMax)
    ) {
      this.dropOldest()
    }
    return line
  }

  /** Gives all of it back: its tenant has gone. */
  close(): void {
    this.hold(-this.bytes)
    this.ring.length = 0
    this.lines = 0
  }

  /** Oldest first: the first `count` behind number `after`, or the last `count` where no number is given. */
  read({ after, count = linesReadDefault }: ScriptLogQuery = {}): ScriptLine[] {
    const oldest = this.last - this.lines + 1
    const first = Math.max(after === undefined ? this.last - count + 1 : after + 1, oldest)
    const at = this.ring.length - this.lines + (first - oldest)
    return this.ring.slice(at, Math.max(at, at + count)) as ScriptLine[]
  }

  private hold(bytes: number): void {
    this.bytes += bytes
    this.shared.held += bytes
  }

  private dropOldest(): void {
    const at = this.ring.length - this.lines
    this.hold(-bytesOf(this.ring[at] as ScriptLine))
    this.ring[at] = undefined
    this.lines--
    this.dropped++
    // The places in front are given back when they are as many as the lines: each line is moved once on average.
    if (this.ring.length > 2 * this.lines + 16) this.ring.splice(0, this.ring.length - this.lines)
  }
}

export interface ScriptLogQuery {
  readonly after?: number
  /** Default 100. */
  readonly count?: number
}

const linesReadDefault = 100

const bytesMax = 256 << 10 // bytes of a tenant's lines: a thousand of some 80 characters

const lineLengthMax = 8 << 10 // characters

const bytesOf = ({ script, text }: ScriptLine): number => lineBytes + 2 * text.length + script.length

const lineBytes = 100 // of the record itself and its place

/** The beginning of a text as a string of its own, which keeps nothing alive of a longer one. */
const cut = (text: string): string =>
  text.length <= lineLengthMax
    ? text
    : `${Buffer.from(text.slice(0, lineLengthMax), "utf16le").toString("utf16le")}… (${text.length} characters)`
