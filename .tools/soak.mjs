// npm run soak [-- filter]: every random test of `npm test` with a hundred times as many schedules, for a night.
//
// A random test is one that asks for its number of schedules (test/support/Random.ts); a filter takes those whose path
// contains it. Each file runs in portions of about a minute, each with seeds of its own, so that there is progress to see,
// memory starts anew, and the process that reports is never left alone for long. MIMOSA_SCHEDULES sets the number of
// schedules of all, MIMOSA_SEED the first seed (another one each time). A file that fails has printed what repeats it, and
// is left; the others go on.

import { readdirSync, readFileSync } from "node:fs"
import { join, sep } from "node:path"
import { installAndBuild } from "./build.mjs"
import { inRoot, root, runNode, say, tools } from "./project.mjs"
import { fetchServers } from "./servers.mjs"

const schedulesDefault = 100_000
const schedulesOf = {
  "test/e2e/coherenceChaos.test.ts": 200, // of some 30 s each
  "test/sim/coherence/coherence.sim.test.ts": 1_000_000,
  "test/coherence/protocol/Frame.fuzz.model.test.ts": 1_000_000,
  "test/triggers/Triggers.model.test.ts": 1_000_000,
  "test/sandbox/hostile.model.test.ts": 1_000_000
}

const portionMs = 45_000 // how long one should take: vitest gives up on a process that is silent for a minute
const hangMs = 600_000 // ends a test that hangs
const portionFirst = 200 // schedules, to learn how long they take; of few and long ones a hundredth
const portionMax = 20_000 // schedules; a chaos world is a test each hundred, and vitest keeps them all

const askForSchedules = /\b(forAllSeeds|scheduleCount|MIMOSA_SCHEDULES)\b/

const suites = (filters) => {
  const files = readdirSync(inRoot("test"), { recursive: true })
    .map((file) => join("test", String(file)).split(sep).join("/"))
    .filter((file) => file.endsWith(".test.ts") && askForSchedules.test(readFileSync(inRoot(file), "utf8")))
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .sort()
  return files.map((file) => [file, wanted ?? schedulesOf[file] ?? schedulesDefault])
}

const wholeNumber = (name) => {
  const text = process.env[name]
  if (text === undefined) return undefined
  if (/^[1-9]\d*$/.test(text)) return Number(text)
  say(`${name} is '${text}'; use a whole number from 1`)
  process.exit(1)
}

const wanted = wholeNumber("MIMOSA_SCHEDULES")
const firstSeed = wholeNumber("MIMOSA_SEED") ?? 1 + Math.floor(Math.random() * 2 ** 31)

/** All schedules of one file; whether they all held. */
const soak = async (file, schedules) => {
  let [done, portion] = [0, Math.min(Math.ceil(schedules / 100), portionFirst)]
  const beganMs = performance.now()
  while (done < schedules) {
    const portionBeganMs = performance.now()
    const env = { MIMOSA_SCHEDULES: String(portion), MIMOSA_SEED: String(firstSeed + done) }
    const args = [tools.vitest, "run", file, "--root", root, "--config", "test/vitest.config.ts"]
    const flags = ["--reporter=dot", "--silent=passed-only", `--testTimeout=${hangMs}`]
    const code = await runNode([...args, ...flags], { env, stdout: "stderr" })
    if (code !== 0) {
      say(`${file} FAILED in the ${portion} schedules from MIMOSA_SEED=${firstSeed + done}`)
      return false
    }
    done += portion
    const minutes = ((performance.now() - beganMs) / 60_000).toFixed(1)
    say(`${file}: ${done} of ${schedules} schedules from MIMOSA_SEED=${firstSeed} hold (${minutes} min)`)
    const faster = portionMs / (performance.now() - portionBeganMs)
    portion = Math.min(schedules - done, portionMax, Math.max(1, Math.floor(portion * Math.min(10, faster))))
  }
  return true
}

const chosen = suites(process.argv.slice(2))
if (chosen.length === 0) {
  say(`no random test has '${process.argv.slice(2).join("' or '")}' in its path`)
  process.exit(1)
}
await installAndBuild()
await fetchServers(chosen.map(([file]) => file))
say(`${chosen.length} files from seed ${firstSeed} (MIMOSA_SEED)`)
const failed = []
for (const [file, schedules] of chosen) if (!(await soak(file, schedules))) failed.push(file)
say(failed.length === 0 ? "everything held" : `these did not hold: ${failed.join(", ")}`)
process.exitCode = failed.length === 0 ? 0 : 1
