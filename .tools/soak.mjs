// npm run soak [-- filter]: the properties and simulations of `npm test` with a hundred times as many schedules.
//
// MIMOSA_SCHEDULES sets the number of random schedules of each, MIMOSA_SEED the first seed (another one each time); a
// failure prints the one that replays it. Tests read MIMOSA_SCHEDULES as their count, and give a number of their own for `npm test`.

import { installAndBuild } from "./build.mjs"
import { root, runNode, say, tools } from "./project.mjs"

const schedules = process.env.MIMOSA_SCHEDULES ?? "100000"
const seed = process.env.MIMOSA_SEED ?? String(Math.floor(Math.random() * 2 ** 31))
const filters = process.argv.length > 2 ? process.argv.slice(2) : ["test/sim/", "test/actor/chaos", ".model.test.ts"]
const testTimeoutMs = 6 * 60 * 60_000 // ends a test that hangs; a night is long enough for the others

await installAndBuild()
say(`${schedules} schedules each (MIMOSA_SCHEDULES) from seed ${seed} (MIMOSA_SEED)`)
const vitest = [
  tools.vitest,
  "run",
  "--root",
  root,
  "--config",
  "test/vitest.config.ts",
  `--testTimeout=${testTimeoutMs}`
]
process.exitCode = await runNode([...vitest, ...filters], { env: { MIMOSA_SCHEDULES: schedules, MIMOSA_SEED: seed } })
