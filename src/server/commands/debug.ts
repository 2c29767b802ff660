/** DEBUG: for those who try what a Mimosa survives. It has to be enabled when the server starts. */
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import type { CrashRefusal } from "../DebugPort.ts"
import { RespError } from "../RespError.ts"

/** DEBUG CRASH <process>: a name with spaces needs no quotes. */
const crash: Handler = (client, args) => {
  const { debug } = client.server
  if (debug === undefined) return client.fail(RespError.debugDisabled)
  const target = args.slice(2).join(" ")
  const refusal = debug.crash(target, nameOf(client))
  if (refusal !== undefined) return client.fail(wordsFor(target, refusal))
  client.reply.ok()
}

const nameOf = ({ id, name }: Client): string => (name === "" ? `client ${id}` : `client ${id} (${name})`)

const wordsFor = (target: string, refusal: CrashRefusal): string => {
  switch (refusal.why) {
    case "unknown":
      return RespError.noSuchProcess(target)
    case "ambiguous":
      return RespError.ambiguousProcess(target, refusal.paths.slice(0, pathsMax).join(", "))
    case "root":
      return RespError.rootProcess(target)
    case "down":
      return RespError.processDown(target)
  }
}

const pathsMax = 8 // of those that a name could mean; an error is one line

export const debug: CommandFamily = {
  group: "server",
  commands: [
    {
      name: "debug",
      arity: -2,
      flags: ["admin", "noscript", "loading", "stale"],
      summary: "A container for debugging commands.",
      since: "1.0.0",
      subcommands: [
        {
          name: "crash",
          arity: -3,
          flags: ["admin", "noscript", "loading", "stale"],
          reach: "operator",
          syntax: "<name | path | pid>",
          summary: "Crashes a process of the supervision tree, as mimosa top names it.",
          since: "mimosa",
          run: crash
        }
      ]
    }
  ]
}
