/**
 * MULTI, EXEC, DISCARD: commands are kept and then run without anything in between. Nothing is rolled back, as in
 * Redis. WATCH is not there yet.
 */
import { ClientMode } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { RespError } from "../RespError.ts"

const multi: Handler = (client) => {
  if ((client.modes & ClientMode.multi) !== 0) return client.fail(RespError.nestedMulti)
  client.beginTransaction()
  client.reply.ok()
}

const exec: Handler = (client) => {
  if ((client.modes & ClientMode.multi) === 0) return client.fail(RespError.execWithoutMulti)
  const queue = client.endTransaction()
  if (queue === undefined) return client.fail(RespError.execAborted)
  return client.runTransaction(queue)
}

const discard: Handler = (client) => {
  if ((client.modes & ClientMode.multi) === 0) return client.fail(RespError.discardWithoutMulti)
  client.endTransaction()
  client.reply.ok()
}

export const transactions: CommandFamily = {
  group: "transactions",
  commands: [
    {
      name: "multi",
      arity: 1,
      flags: ["noscript", "loading", "stale", "fast", "allow_busy"],
      reach: "own",
      summary: "Starts a transaction.",
      since: "1.2.0",
      run: multi
    },
    {
      name: "exec",
      arity: 1,
      flags: ["noscript", "loading", "stale"],
      reach: "own",
      summary: "Runs the commands of a transaction.",
      since: "1.2.0",
      run: exec
    },
    {
      name: "discard",
      arity: 1,
      flags: ["noscript", "loading", "stale", "fast", "allow_busy"],
      reach: "own",
      summary: "Drops a transaction.",
      since: "2.0.0",
      run: discard
    }
  ]
}
