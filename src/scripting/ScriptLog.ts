/**
 * What a tenant's scripts have to say: what they printed, what the cache refused them, and how their runs have
 * failed.
 *
 * Bounded by lines, by bytes and by the length of a line; the oldest make room. What all tenants' logs hold together
 * is bounded too: past that a log loses its own oldest lines, never another's, down to a share that it has in any case,
 * so that who prints much does not silence who prints little. It holds nothing before the first line.
 */

import { shortened } from "../cache/index.ts"
import { LineRing, type LinesAsked } from "./LineRing.ts"

/**
 * `print`: the script's own. `refused`: why a function of the host answered false. `failed`: how a run has ended, and in
 * the lines below it Lua's traceback, where there is one.
 */
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
  private readonly lines = new LineRing<ScriptLine>(bytesOf)

  constructor(private readonly shared: ScriptLogBytes) {}

  /** `linesMax` is asked each time: a tenant's limit may change. */
  append(script: string, kind: ScriptLineKind, text: string, atMs: number, linesMax: number): ScriptLine {
    const { lines, shared } = this
    const line: ScriptLine = { number: lines.last + 1, atMs, script, kind, text: shortened(text, lineLengthMax) }
    shared.held += lines.push(line)
    const most = () => (shared.held > shared.bytesMax ? shareBytes : bytesMax)
    while (lines.size > linesMax || (lines.size > 1 && lines.bytes > most())) shared.held -= lines.drop()
    return line
  }

  /** Lines that made room for newer ones. */
  get dropped(): number {
    return this.lines.dropped
  }

  /** Oldest first: the first `count` behind number `after`, or the last `count` where no number is given. */
  read(query?: ScriptLogQuery): ScriptLine[] {
    return this.lines.read(query)
  }

  /** Gives all of it back: its tenant has gone. */
  close(): void {
    this.shared.held -= this.lines.bytes
    this.lines.clear()
  }
}

export type ScriptLogQuery = LinesAsked

const bytesMax = 256 << 10 // bytes of a tenant's lines: a thousand of some 80 characters

const shareBytes = 8 << 10 // … that it keeps whatever others hold: some thirty of them

const lineLengthMax = 8 << 10 // characters

const bytesOf = ({ script, text }: ScriptLine): number => lineBytes + 2 * text.length + script.length

const lineBytes = 100 // of the record itself and its place
