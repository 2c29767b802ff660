/**
 * Where log records become lines: on stderr, so that stdout holds what a command answers and nothing else.
 */
import { Cause, HashMap, type Layer, List, Logger } from "effect"

/** `json` for machines, one record a line; `pretty` for a person at a terminal. */
export type LogFormat = "json" | "pretty"

/**
 * A record as one flat JSON object: `{"ts":"…","level":"INFO","msg":"…", …annotations}`, with `error` where something
 * failed. An annotation that is called like one of these four gets a `_` behind its name.
 */
export const jsonLine = ({
  annotations,
  cause,
  date,
  logLevel,
  message,
  spans
}: Logger.Logger.Options<unknown>): string => {
  const record: Record<string, unknown> = {
    ts: date.toISOString(),
    level: logLevel.label,
    msg: [message].flat().map(textOf).join(" ")
  }
  if (!Cause.isEmpty(cause)) record.error = Cause.pretty(cause, { renderErrorCause: true })
  for (const [name, value] of HashMap.toEntries(annotations)) record[reserved.has(name) ? `${name}_` : name] = value
  const nowMs = date.getTime()
  for (const { label, startTime } of List.toArray(spans)) record[`${label}_ms`] ??= nowMs - startTime
  return textOf(record)
}

const reserved = new Set(["ts", "level", "msg", "error"])

/** Text as it is, anything else as JSON; what JSON cannot tell is told in words. */
const textOf = (value: unknown): string => {
  if (typeof value === "string") return value
  const above: unknown[] = []
  const tellable = function (this: unknown, _key: string, value: unknown): unknown {
    if (typeof value === "bigint") return String(value)
    if (value instanceof Error) return String(value)
    if (typeof value !== "object" || value === null) return value
    while (above.length > 0 && above.at(-1) !== this) above.pop()
    if (above.includes(value)) return "[itself]"
    above.push(value)
    return value
  }
  return JSON.stringify(value, tellable) ?? String(value)
}

const jsonLogger = Logger.make<unknown, void>((record) => void process.stderr.write(`${jsonLine(record)}\n`))

/**
 * Holds records back until `release`: while a server starts, one line says what keeps it from starting, and the crash
 * reports of the processes around it would only bury that. The first `heldMax` are kept.
 */
export class HeldLog {
  private held: Array<Logger.Logger.Options<unknown>> | null = []
  private readonly inner: Logger.Logger<unknown, void>

  constructor(format: LogFormat) {
    this.inner = format === "json" ? jsonLogger : Logger.prettyLogger({ stderr: true })
  }

  get layer(): Layer.Layer<never> {
    return Logger.replace(
      Logger.defaultLogger,
      Logger.make((record) => {
        if (this.held === null) this.inner.log(record)
        else if (this.held.length < heldMax) this.held.push(record)
      })
    )
  }

  /** Writes what was held back, and from now on everything at once. */
  release(): void {
    for (const record of this.held ?? []) this.inner.log(record)
    this.held = null
  }
}

const heldMax = 1_000 // records; a start has a few, unless a saved trigger logs a lot
