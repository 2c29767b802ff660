/**
 * What a benchmark says: one figure, beside its peer in the same run, so that a slow machine slows both.
 */
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

export const quantile = (sorted: readonly number[], q: number): number =>
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

/** Two operations in turn, batch by batch, so that both see the same machine. */
export const pair = (
  operation: (i: number) => void,
  peer: (i: number) => void,
  { batchSize = 1_000, batches = 300 } = {}
): Paired => {
  timeBatches(operation, batchSize, batches >> 1)
  timeBatches(peer, batchSize, batches >> 1)
  const [values, peers, ratios, differences]: [number[], number[], number[], number[]] = [[], [], [], []]
  for (let batch = 0; batch < batches; batch++) {
    const value = timeOnce(operation, batchSize, batch * batchSize)
    const peerValue = timeOnce(peer, batchSize, batch * batchSize)
    values.push(value)
    peers.push(peerValue)
    ratios.push(value / peerValue)
    differences.push(value - peerValue)
  }
  const sorted = ascending(values)
  return {
    samples: batches,
    value: quantile(sorted, 0.5),
    peerValue: quantile(ascending(peers), 0.5),
    ratio: quantile(ascending(ratios), 0.5),
    difference: quantile(ascending(differences), 0.5),
    spread: [quantile(sorted, 0.1), quantile(sorted, 0.9)]
  }
}

const timeOnce = (operation: (i: number) => void, batchSize: number, from: number): number => {
  const began = process.hrtime.bigint()
  for (let n = 0; n < batchSize; n++) operation(from + n)
  return Number(process.hrtime.bigint() - began) / batchSize
}
