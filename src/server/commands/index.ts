/** All commands, by family. */
import type { CommandFamily } from "../Command.ts"
import { coherence } from "./coherence.ts"
import { connection } from "./connection.ts"
import { debug } from "./debug.ts"
import { keyCommands } from "./keys.ts"
import { logs } from "./logs.ts"
import { pubsub } from "./pubsub.ts"
import { scripts } from "./script.ts"
import { server } from "./server.ts"
import { strings } from "./strings.ts"
import { tenants } from "./tenant.ts"
import { transactions } from "./transactions.ts"
import { triggers } from "./trigger.ts"

export const families: readonly CommandFamily[] = [
  connection,
  strings,
  keyCommands,
  pubsub,
  transactions,
  server,
  debug,
  triggers,
  logs,
  tenants,
  scripts,
  coherence
]
