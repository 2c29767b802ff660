// npm run example -- 01: runs examples/01-*.ts against the built package, as a user of it would. Without a number it lists them.

import { readdirSync } from "node:fs"
import { installAndBuild } from "./build.mjs"
import { inRoot, runNode, say } from "./project.mjs"

const [wanted, ...args] = process.argv.slice(2)
const examples = readdirSync(inRoot("examples")).filter((name) => /^\d+-.*\.ts$/.test(name))
const example = examples.find((name) => wanted !== undefined && name.startsWith(wanted))

if (example === undefined) {
  if (wanted !== undefined) say(`no example begins with "${wanted}"; there are:`)
  for (const name of examples) console.log(name.replace(/\.ts$/, ""))
  process.exitCode = wanted === undefined ? 0 : 1
} else {
  await installAndBuild()
  process.exitCode = await runNode(["--import", "tsx", inRoot("examples", example), ...args])
}
