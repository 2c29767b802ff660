// npm test [-- paths or vitest flags]: everything that must hold, and as the very last line alone `N passed, N failed`.
//
// Without a path the type check and the linter count as one test each. With one, only the servers that its tests need are
// fetched. What could not even run counts as failed: a build
// that breaks, a test file that does not load, a server that may not be left out, a vitest that ends badly for no test.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { build } from "./build.mjs"
import { install } from "./install.mjs"
import { inRoot, root, runNode, say, tools } from "./project.mjs"
import { fetchServers } from "./servers.mjs"

const flags = process.argv.slice(2)
const paths = flags.filter((flag, at) => !flag.startsWith("-") && flags[at - 1] !== "-t") // what -t takes is a name
const isWhole = paths.length === 0
let passed = 0
let failed = 0

const main = async () => {
  await install()
  if (!(await build())) failed++
  failed += await fetchServers(paths)
  if (isWhole) {
    await step("type check", [tools.tsc, "--noEmit", "-p", "tsconfig.json"])
    await step("lint", [tools.biome, "check", "."])
  }
  await runVitest()
  const summary = `${passed} passed, ${failed} failed`
  // npm adds lines of its own after ours when we fail; .ci/run repeats this one from a file.
  if (process.env.MIMOSA_TEST_SUMMARY) writeFileSync(process.env.MIMOSA_TEST_SUMMARY, `${summary}\n`)
  console.log(summary)
  process.exitCode = failed === 0 ? 0 : 1
}

const step = async (name, args) => {
  const code = await runNode(args)
  code === 0 ? passed++ : failed++
  say(`${name}: ${code === 0 ? "passed" : "FAILED"}`)
}

const runVitest = async () => {
  const report = inRoot(".cache", `test-${process.pid}.json`)
  mkdirSync(inRoot(".cache"), { recursive: true })
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`]
  const code = await runNode([
    tools.vitest,
    "run",
    "--root",
    root,
    "--config",
    "test/vitest.config.ts",
    ...reporters,
    ...flags
  ])
  const counts = readCounts(report)
  rmSync(report, { force: true })
  passed += counts.passed
  failed += counts.failed
  if (code !== 0 && counts.failed === 0) {
    failed++
    say(`vitest ended with code ${code} although no test failed; what it said stands above`)
  }
}

const readCounts = (path) => {
  try {
    const report = JSON.parse(readFileSync(path, "utf8"))
    const unloaded = report.testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0)
    return { passed: report.numPassedTests, failed: report.numFailedTests + unloaded.length }
  } catch {
    return { passed: 0, failed: 0 } // vitest wrote no report, and its exit code tells
  }
}

await main()
