/**
 * `npx tsx test/bench/warming.bench.ts`: what fetching ahead gains and costs on traces in virtual time, from a seed; and
 * what the estimate's threshold does. No timings: the same numbers on every machine.
 */
import type { WarmingMode, WarmingSettings } from "../../src/coherence/Warming.ts"
import { gainedPerFetch, runTrace, type Trace } from "../coherence/warmingTrace.ts"

const modes: readonly WarmingMode[] = ["never", "likely", "always"]

const traces: ReadonlyArray<readonly [string, Partial<Trace>]> = [
  ["hot and cold keys written", {}],
  ["cold keys written", { hotShare: 0 }],
  ["hot keys written", { hotShare: 1 }],
  ["hot and cold, in bursts of 5", { burst: 5 }],
  ["written as often as read", { writesPerSecond: 1_000 }]
]

const columns = ["trace", "mode", "misses", "of reads", "fetched", "gained", "gained a fetch", "fills a read"]
const rows: string[][] = []

const add = (name: string, mode: WarmingMode, label: string, trace: Partial<Trace>, some: Partial<WarmingSettings>) => {
  const outcome = runTrace(mode, trace, some)
  const { reads, misses, fetched, gained } = outcome
  rows.push([
    name,
    label,
    `${misses}`,
    `${((100 * misses) / reads).toFixed(1)} %`,
    `${fetched}`,
    `${gained}`,
    fetched === 0 ? "-" : gainedPerFetch(outcome).toFixed(2),
    ((misses + fetched) / reads).toFixed(3)
  ])
}

for (const [name, trace] of traces) for (const mode of modes) add(name, mode, mode, trace, {})
for (const chanceMin of [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) {
  add("hot and cold keys written", "likely", `from ${chanceMin}`, {}, { chanceMin })
}
for (const horizonMs of [250, 1_000, 4_000, 16_000]) {
  add("hot and cold keys written", "likely", `${horizonMs} ms`, {}, { horizonMs })
}
for (const bytesPerSecond of [4_096, 16_384, 65_536]) {
  add("hot and cold keys written", "likely", `${bytesPerSecond} B/s`, {}, { bytesPerSecond })
  add("hot and cold keys written", "always", `all, ${bytesPerSecond} B/s`, {}, { bytesPerSecond })
}

const widths = columns.map((column, at) => Math.max(column.length, ...rows.map((row) => (row[at] as string).length)))
for (const row of [columns, ...rows]) {
  process.stdout.write(
    `${row
      .map((cell, at) => cell.padEnd(widths[at] as number))
      .join("  ")
      .trimEnd()}\n`
  )
}
