/**
 * What triggers have logged, to be read again: streams of numbered lines, for LOGS and `mimosa logs`.
 *
 * `cache.log("orders", {…})` goes to the stream "orders", `print` and `cache.log("text")` to "default". Each stream
 * numbers its lines (scripting/LineRing.ts).
 *
 * Everything is bounded (law 15): lines and bytes a stream, bytes a line, and streams. The oldest lines of a stream
 * make room for new ones. When there are as many streams as there may be, the one that has been silent longest is given
 * up if that is at least `idleMsMin`; else lines for new streams go to "default", which says where they wanted to go. A
 * name made from keys can therefore not push out the streams that are in use.
 */

import { cutText, shortened } from "../cache/index.ts"
import { LineRing, type LinesAsked } from "../scripting/LineRing.ts"
import type { TriggerLine } from "./Effects.ts"
import type { TriggerEventName } from "./Trigger.ts"

export interface LogLine {
  /** Counts the stream's lines from 1. */
  readonly number: number
  readonly atMs: number
  /** The stream that the trigger named; another than where the line is when there was no room for one more. */
  readonly stream: string
  readonly message: string | null
  /** A JSON object; null where a message was logged, or the fields were too long. */
  readonly fields: string | null
  readonly trigger: string
  readonly event: TriggerEventName
  readonly key: string
  readonly cascade: string | null
}

export interface LogStreamInfo {
  readonly stream: string
  /** Lines that are kept. */
  readonly lines: number
  readonly bytes: number
  /** The numbers of the oldest and newest line that is kept. */
  readonly first: number
  readonly last: number
  /** Lines that had to make room for newer ones. */
  readonly dropped: number
  readonly lastAtMs: number
}

export interface LogStreamLimits {
  readonly streamsMax: number
  /** Lines and bytes a stream. */
  readonly linesMax: number
  readonly bytesMax: number
  /** Bytes of one line's message or fields; what is longer is cut, and says so. */
  readonly lineBytesMax: number
  /** How long a stream has to be silent before a new one may take its place. */
  readonly idleMsMin: number
}

export const logStreamLimitsDefault: LogStreamLimits = {
  streamsMax: 64,
  linesMax: 1_000,
  bytesMax: 1024 * 1024, // with streamsMax 64 MiB, when every stream is full of long lines
  lineBytesMax: 16 * 1024,
  idleMsMin: 60 * 60 * 1000
}

/** What a tenant's streams hold: 1 MiB at most. */
export const logStreamLimitsOfTenant: Partial<LogStreamLimits> = {
  streamsMax: 16,
  linesMax: 500,
  bytesMax: 64 * 1024,
  lineBytesMax: 4 * 1024
}

/** May count for several, as those of all tenants. */
export class LogCounters {
  lines = 0
  /** Lines that made room for newer ones of their stream. */
  linesDropped = 0
  /** Lines that were cut to `lineBytesMax`. */
  linesCut = 0
  /** Lines that went to "default" because there was no room for their stream. */
  linesRedirected = 0
  /** Streams that were given up for others, with all their lines. */
  streamsDropped = 0
}

/** Where lines go that name no stream, or one that there is no room for. */
export const streamDefault = "default"

export class LogStreams {
  /** In the order of their last line, the longest silent first. */
  private readonly streams = new Map<string, LogStream>()
  private readonly limits: LogStreamLimits

  constructor(
    limits: Partial<LogStreamLimits> = {},
    readonly counters = new LogCounters()
  ) {
    this.limits = { ...logStreamLimitsDefault, ...limits }
  }

  /** Takes a line and answers its number. */
  append(line: TriggerLine): number {
    const wanted = line.stream === null ? streamDefault : cutText(line.stream, streamNameMax)
    const name = this.settle(wanted, line.atMs)
    const stream = this.streams.get(name) ?? new LogStream(this.limits)
    this.streams.delete(name) // and behind the others again: the Map's order is that of the last lines
    this.streams.set(name, stream)
    const text = line.fields === null ? (line.message ?? "") : JSON.stringify(line.fields)
    const isCut = text.length * bytesPerCharacter > this.limits.lineBytesMax
    const { atMs, trigger, event, cascade = null } = line
    const number = stream.nextNumber
    this.counters.lines++
    if (isCut) this.counters.linesCut++
    this.counters.linesDropped += stream.append({
      number,
      atMs,
      stream: wanted,
      // Fields become a message then: half an object is no JSON.
      message: isCut ? shortened(text, this.lineLengthMax) : line.fields === null ? text : null,
      fields: isCut || line.fields === null ? null : text,
      trigger,
      event,
      key: cutText(line.key, keyLengthMax),
      cascade
    })
    return number
  }

  /**
   * Lines of a stream, oldest first: the first `count` behind number `after`, or the last `count` where no number is
   * given. None for a stream that does not exist.
   */
  read(name: string, asked: LinesAsked = {}): LogLine[] {
    return this.streams.get(name)?.read(asked) ?? []
  }

  /** All streams by name. */
  list(): LogStreamInfo[] {
    return Array.from(this.streams, ([name, stream]) => stream.info(name)).sort((a, b) =>
      a.stream < b.stream ? -1 : 1
    )
  }

  /** The stream that a line goes to. One place is left for "default". */
  private settle(wanted: string, nowMs: number): string {
    if (wanted === streamDefault || this.streams.has(wanted)) return wanted
    const others = this.streams.size - (this.streams.has(streamDefault) ? 1 : 0)
    if (others < this.limits.streamsMax - 1) return wanted
    const silent = this.longestSilent()
    if (silent !== undefined && nowMs - silent.lastAtMs >= this.limits.idleMsMin) {
      this.streams.delete(silent.name)
      this.counters.streamsDropped++
      return wanted
    }
    this.counters.linesRedirected++
    return streamDefault
  }

  private longestSilent(): { readonly name: string; readonly lastAtMs: number } | undefined {
    for (const [name, { lastAtMs }] of this.streams) if (name !== streamDefault) return { name, lastAtMs }
    return undefined
  }

  private get lineLengthMax(): number {
    return Math.floor(this.limits.lineBytesMax / bytesPerCharacter)
  }
}

/** The lines of one stream. */
class LogStream {
  lastAtMs = 0
  private readonly kept = new LineRing<LogLine>(bytesOf)

  constructor(private readonly limits: LogStreamLimits) {}

  get nextNumber(): number {
    return this.kept.last + 1
  }

  /** Answers how many lines made room for it. */
  append(line: LogLine): number {
    const { kept } = this
    const { linesMax, bytesMax } = this.limits
    const droppedBefore = kept.dropped
    kept.push(line)
    while (kept.size > 1 && (kept.size > linesMax || kept.bytes > bytesMax)) kept.drop()
    this.lastAtMs = line.atMs
    return kept.dropped - droppedBefore
  }

  read(asked: LinesAsked): LogLine[] {
    return this.kept.read(asked)
  }

  info(stream: string): LogStreamInfo {
    const { size: lines, bytes, first, last, dropped } = this.kept
    return { stream, lines, bytes, first, last, dropped, lastAtMs: this.lastAtMs }
  }
}

const bytesOf = ({ stream, message, fields, trigger, key }: LogLine): number =>
  lineBytes + stream.length + (message ?? fields ?? "").length * bytesPerCharacter + trigger.length + key.length

const lineBytes = 150 // bytes of the record itself, its number and its place
const bytesPerCharacter = 2 // bytes; what V8 takes for text beyond Latin-1
const streamNameMax = 128 // characters of a stream's name
const keyLengthMax = 256 // characters of a key that a line keeps
