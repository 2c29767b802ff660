/**
 * What a transport counts: plain numbers on its hot path, read as metrics. Reasons are a few fixed words, so that there
 * are a few time series.
 */
import { type MetricReader, metric } from "../../../telemetry/index.ts"

export class TransportCounts {
  framesSent = 0
  bytesSent = 0
  framesReceived = 0
  bytesReceived = 0
  readonly framesLost = new Map<string, number>()
  readonly linksLost = new Map<string, number>()
  readonly refusals = new Map<string, number>()
  readonly metrics: readonly MetricReader[]

  constructor(links: () => number) {
    this.metrics = [
      { ...metric.coherenceLinks, read: links },
      { ...metric.coherenceFrames, read: () => byDirection(this.framesSent, this.framesReceived) },
      { ...metric.coherenceBytes, read: () => byDirection(this.bytesSent, this.bytesReceived) },
      { ...metric.coherenceFramesLost, read: () => byReason(this.framesLost) },
      { ...metric.coherenceLinksLost, read: () => byReason(this.linksLost) },
      { ...metric.coherenceRefused, read: () => byReason(this.refusals) }
    ]
  }

  sent(bytes: number): void {
    this.framesSent++
    this.bytesSent += bytes
  }

  received(bytes: number): void {
    this.framesReceived++
    this.bytesReceived += bytes
  }

  lost(reason: string): void {
    increment(this.framesLost, reason)
  }

  linkLost(reason: string): void {
    increment(this.linksLost, reason)
  }

  refused(reason: string): void {
    increment(this.refusals, reason)
  }
}

const increment = (counts: Map<string, number>, reason: string): void => {
  counts.set(reason, (counts.get(reason) ?? 0) + 1)
}

const byDirection = (out: number, into: number) =>
  [
    [{ direction: "out" }, out],
    [{ direction: "in" }, into]
  ] as const

const byReason = (counts: ReadonlyMap<string, number>) =>
  Array.from(counts, ([reason, count]) => [{ reason }, count] as const)
