/**
 * The metrics of one Mimosa, as Prometheus reads them [1].
 *
 * What counts on the hot path is a plain number in the room that owns it; a metric is a reader of such numbers, called
 * at scrape time. So counting costs one addition, and a registry nobody scrapes costs nothing.
 *
 * [1] Prometheus exposition formats, text format 0.0.4.
 */
import type { Histogram } from "./Histogram.ts"

export interface Metric<Type extends string = "counter" | "gauge" | "histogram"> {
  /** `mimosa_…`, in base units; a counter ends in `_total`. */
  readonly name: string
  readonly help: string
  readonly type: Type
}

export type Labels = Readonly<Record<string, string>>

/** One value, or one for each combination of labels. What it yields must be bounded: each label is a time series. */
export type Reading<A> = A | Iterable<readonly [Labels, A]>

export type MetricReader =
  | (Metric<"counter" | "gauge"> & { readonly read: () => Reading<number> })
  | (Metric<"histogram"> & { readonly read: () => Reading<Histogram> })

/**
 * Collects readers and renders what they read.
 *
 * @example
 * const registry = new MetricRegistry()
 * registry.register({ ...metric.keyspaceHits, read: () => keyspace.stats.hits })
 * registry.render()
 */
export class MetricRegistry {
  /** The `content-type` of what `render` gives. */
  static readonly contentType = "text/plain; version=0.0.4; charset=utf-8"

  private readonly readers = new Map<string, MetricReader>()

  /** Adds readers. A name that is taken or malformed is a defect of the caller, and thrown as such. */
  register(...readers: ReadonlyArray<MetricReader>): void {
    for (const reader of readers) {
      if (!metricName.test(reader.name)) throw new Error(`metric ${reader.name}: not a Prometheus metric name`)
      if (this.readers.has(reader.name)) throw new Error(`metric ${reader.name}: registered twice`)
      this.readers.set(reader.name, reader)
    }
  }

  /** The text format, in the order of registration. */
  render(): string {
    let text = ""
    for (const reader of this.readers.values()) {
      text += `# HELP ${reader.name} ${escapeHelp(reader.help)}\n# TYPE ${reader.name} ${reader.type}\n`
      if (reader.type === "histogram") {
        for (const [labels, histogram] of series(reader.read())) text += histogramLines(reader.name, labels, histogram)
      } else {
        for (const [labels, value] of series(reader.read())) text += sample(reader.name, labels, value)
      }
    }
    return text
  }
}

const series = <A extends number | Histogram>(reading: Reading<A>): Iterable<readonly [Labels, A]> =>
  typeof reading === "object" && Symbol.iterator in reading ? reading : [[noLabels, reading as A]]

const histogramLines = (name: string, labels: Labels, histogram: Histogram): string => {
  let lines = ""
  for (const [bound, count] of histogram.cumulative()) {
    lines += sample(`${name}_bucket`, { ...labels, le: number(bound) }, count)
  }
  return lines + sample(`${name}_sum`, labels, histogram.sum) + sample(`${name}_count`, labels, histogram.count)
}

const sample = (name: string, labels: Labels, value: number): string => {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`)
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${number(value)}\n`
}

const number = (value: number): string =>
  value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)

const escapeHelp = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")
const escapeLabel = (text: string): string => escapeHelp(text).replaceAll('"', '\\"')

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const noLabels: Labels = {}
