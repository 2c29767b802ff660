// npm start [-- flags]: from a fresh clone to a serving process. Installs and builds what is missing, then becomes
// `mimosa serve`, in this very process: signals reach the server itself, and its exit code is ours.

import { pathToFileURL } from "node:url"
import { installAndBuild } from "./build.mjs"
import { inRoot } from "./project.mjs"

await installAndBuild()
const command = inRoot("dist", "cli", "main.js")
process.argv.splice(1, 1, command, "serve")
await import(pathToFileURL(command).href)
