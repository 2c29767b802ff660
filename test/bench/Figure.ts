/**
 * What a benchmark says: one figure, beside its peer in the same run, so that a slow machine slows both.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

export interface Figure {
  /** Dotted path, as `kernel.set` or `resp.set.p16`; goals refer to it. */
  readonly id: string
  readonly value: number
  readonly unit: "ns" | "us" | "ms" | "ops/s" | "bytes"
  readonly peer?: string
  readonly peerValue?: number
  /** value / peerValue, taken pair by pair where the two were interleaved. */
  readonly ratio?: number
  /** How many measurements the value is the median of. */
  readonly samples: number
  /** 10th and 90th percentile of the measurements behind `value`. */
  readonly spread?: readonly [number, number]
}

/** A named set of benchmarks. It reports figures as they come, so that long work shows progress. */
export interface Suite {
  readonly name: string
  readonly run: (report: (figure: Figure) => void, say: (progress: string) => void) => Promise<void> | void
}

export const quantile = (sorted: ArrayLike<number>, q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] as number

export const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b)

/** Nanoseconds an operation, over `batches` batches of `batchSize` calls after as many to warm up. */
export const timeBatches = (operation: (i: number) => void, batchSize: number, batches: number): number[] => {
  const samples: number[] = []
  let i = 0
  for (let batch = 0; batch < batches * 2; batch++) {
    const began = process.hrtime.bigint()
    for (let n = 0; n < batchSize; n++) operation(i++)
    const ns = Number(process.hrtime.bigint() - began) / batchSize
    if (batch >= batches) samples.push(ns)
  }
  return samples
}

export interface Paired {
  readonly samples: number
  readonly value: number
  readonly peerValue: number
  readonly ratio: number
  /** Median of value − peerValue, pair by pair. */
  readonly difference: number
  readonly spread: readonly [number, number]
}

type Operation = (i: number) => void

/** What a block took, and its peer's beside it: nanoseconds an operation. */
export type BlockTimes = readonly [value: number, peerValue: number]

/**
 * Two operations in turn, batch by batch, so that both see the same machine. Which of them goes first changes each time:
 * the second finds the keys of the batch in the processor's caches.
 */
export const pair = (operation: Operation, peer: Operation, { batchSize = 1_000, batches = 300 } = {}): Paired =>
  medians(pairs(operation, peer, { batchSize, batches }))

export const pairs = (
  operation: Operation,
  peer: Operation,
  { batchSize, batches }: { readonly batchSize: number; readonly batches: number }
): BlockTimes[] => {
  timeBatches(operation, batchSize, batches >> 1)
  timeBatches(peer, batchSize, batches >> 1)
  return Array.from({ length: batches }, (_, batch) => {
    const from = batch * batchSize
    if (batch % 2 === 0) return [timeOnce(operation, batchSize, from), timeOnce(peer, batchSize, from)]
    const peerValue = timeOnce(peer, batchSize, from)
    return [timeOnce(operation, batchSize, from), peerValue]
  })
}

export const medians = (all: readonly BlockTimes[]): Paired => {
  const sorted = ascending(all.map(([value]) => value))
  const median = (of: (value: number, peerValue: number) => number) =>
    quantile(ascending(all.map(([value, peerValue]) => of(value, peerValue))), 0.5)
  return {
    samples: all.length,
    value: quantile(sorted, 0.5),
    peerValue: median((_, peerValue) => peerValue),
    ratio: median((value, peerValue) => value / peerValue),
    difference: median((value, peerValue) => value - peerValue),
    spread: [quantile(sorted, 0.1), quantile(sorted, 0.9)]
  }
}

/** The figure of a pair: what it took, beside what its peer took. */
export const beside = (
  id: string,
  peer: string,
  { value, peerValue, ratio, samples, spread }: Paired,
  unit: Figure["unit"] = "ns"
): Figure => ({ id, value, unit, peer, peerValue, ratio, samples, spread })

/** Nanoseconds of each of `count` operations, ascending, the clock's own time (some 50 ns) among them. */
export const timeSingles = (operation: Operation, count: number, from: number): Float64Array => {
  const times = new Float64Array(count)
  for (let n = 0; n < count; n++) {
    const beganMs = performance.now()
    operation(from + n)
    times[n] = (performance.now() - beganMs) * 1e6
  }
  return times.sort()
}

/** Bytes that are in use after a collection; with what the collector does not see but what JavaScript holds. */
export const heapBytes = (): number => {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

export const collect = (): void => {
  for (let i = 0; i < 4; i++) collectOnce()
}

setFlagsFromString("--expose-gc")
const collectOnce = runInNewContext("gc") as () => void

const timeOnce = (operation: Operation, batchSize: number, from: number): number => {
  const began = process.hrtime.bigint()
  for (let n = 0; n < batchSize; n++) operation(from + n)
  return Number(process.hrtime.bigint() - began) / batchSize
}
