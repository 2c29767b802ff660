// npm run soak [-- filter]: the properties and simulations of `npm test` with a hundred times as many schedules.
//
// MIMOSA_SCHEDULES sets the number of random schedules of each, MIMOSA_SEED the first seed; a failure prints the seed that
// replays it. Tests read MIMOSA_SCHEDULES as their count, and give a number of their own for `npm test`.

import { installAndBuild } from "./build.mjs"
import { root, runNode, say, tools } from "./project.mjs"

const schedules = process.env.MIMOSA_SCHEDULES ?? "100000"
const filters = process.argv.length > 2 ? process.argv.slice(2) : ["test/sim/", ".model.test.ts"]
const testTimeoutMs = 6 * 60 * 60_000 // ends a test that hangs; a night is long enough for the others

await installAndBuild()
say(`${schedules} schedules each (MIMOSA_SCHEDULES)`)
const vitest = [
  tools.vitest,
  "run",
  "--root",
  root,
  "--config",
  "test/vitest.config.ts",
  `--testTimeout=${testTimeoutMs}`
]
process.exitCode = await runNode([...vitest, ...filters], { env: { MIMOSA_SCHEDULES: schedules } })
