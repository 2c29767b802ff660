// npm run bench [-- filter] [--json] [--check]: builds, fetches the servers to compare with, and runs test/bench/main.ts.

import { installAndBuild } from "./build.mjs"
import { inRoot, runNode } from "./project.mjs"
import { fetchServers } from "./servers.mjs"

await installAndBuild()
await fetchServers()
// --expose-gc: a figure is taken after a collection, so that it does not pay for the garbage of the one before.
const args = ["--expose-gc", "--import", "tsx", inRoot("test/bench/main.ts"), ...process.argv.slice(2)]
process.exitCode = await runNode(args)
