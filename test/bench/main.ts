/**
 * `npm run bench [-- filter] [--json] [--check]`: every figure beside its peer, in one run.
 *
 * A filter runs the suites whose name, and shows the figures whose id, begins with it. `--json` prints one line a
 * figure; `--check` compares with the goals and exits with 1 where one is missed.
 */

import { suite as actor } from "./actor.bench.ts"
import { suites as coherence } from "./coherence.bench.ts"
import { suite as expiry } from "./expiry.bench.ts"
import type { Figure, Suite } from "./Figure.ts"
import { goals, judge } from "./goals.ts"
import { suite as hostile } from "./hostile.bench.ts"
import { suite as kernel } from "./kernel.bench.ts"
import { suite as quarantine } from "./quarantine.bench.ts"
import { suite as resp } from "./resp.bench.ts"
import { suite as sandbox } from "./sandbox.bench.ts"
import { suite as scripts } from "./scripts.bench.ts"
import { suite as trigger } from "./trigger.bench.ts"

const suites: readonly Suite[] = [
  kernel,
  sandbox,
  trigger,
  quarantine,
  hostile,
  scripts,
  actor,
  resp,
  expiry,
  ...coherence
]

const flags = process.argv.slice(2)
const [isJson, isCheck] = [flags.includes("--json"), flags.includes("--check")]
const filter = flags.find((flag) => !flag.startsWith("--")) ?? ""

const figures: Figure[] = []
const progress = (text: string) => process.stderr.write(`  … ${text}\n`)
const report = (figure: Figure): void => {
  if (!figure.id.startsWith(filter) && !suites.some(({ name }) => name === filter)) return
  figures.push(figure)
  process.stdout.write(isJson ? `${JSON.stringify(figure)}\n` : `${line(figure)}\n`)
}

const line = ({ id, value, unit, peer, peerValue, ratio, spread }: Figure): string => {
  const number = (n: number) => (n >= 1000 ? Math.round(n).toLocaleString("en") : n.toPrecision(3))
  const beside = peer === undefined ? "" : `  ${peer}: ${number(peerValue as number)}`
  const relation = ratio === undefined ? "" : `  ratio ${ratio.toFixed(2)}`
  const range = spread === undefined ? "" : `  (${number(spread[0])} – ${number(spread[1])})`
  return `${id.padEnd(34)} ${number(value).padStart(10)} ${unit}${range}${beside}${relation}`
}

for (const suite of suites) {
  if (!suite.name.startsWith(filter) && !filter.startsWith(suite.name)) continue
  progress(suite.name)
  await suite.run(report, progress)
}

if (isCheck) {
  let missed = 0
  for (const goal of goals) {
    const figure = figures.find(({ id }) => id === goal.id)
    if (figure === undefined && !goal.id.startsWith(filter)) continue
    const verdict = judge(goal, figure)
    if (!verdict.isMet) missed++
    process.stderr.write(`${verdict.isMet ? "met   " : "MISSED"}  ${goal.id}  ${verdict.text}\n`)
  }
  process.exitCode = missed === 0 ? 0 : 1
}
