/**
 * SCRIPT.…: the Lua programs of tenants. Mimosa's own.
 *
 * Arguments and results are JSON text in the exact form (cache/Json.ts), so that every value comes back as it went.
 * What a script fails with is one line; the traceback stands in SCRIPT.LOG. A run ends when its client goes.
 */
import { InvalidJson } from "../../cache/CacheError.ts"
import type { Tenant } from "../../cache/Tenants.ts"
import { fromJson, toBytes, toExactJson, toText } from "../../cache/Values.ts"
import type { Value } from "../../kernel/index.ts"
import type { ScriptInfo } from "../../scripting/index.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { answered, refusalOf } from "../EngineError.ts"
import { type Fields, writeFields } from "../Fields.ts"
import { RespError, textHint } from "../RespError.ts"
import { workPerLook } from "../Turns.ts"
import { linesAskedFor } from "./logs.ts"
import { isRunning, type Running, type RunOutcome, type ScriptPort } from "./ScriptPort.ts"
import { tenantNamed } from "./tenant.ts"

/** SCRIPT.SET tenant name source */
const setScript: Handler = (client, args) => {
  const asked = subject(client, args)
  if (asked === undefined) return
  return answered(
    client,
    asked.scripts.set(asked.tenant.id, args[2] as string, args[3] as string).then(() => client.reply.ok()),
    asked.tenant
  )
}

/** SCRIPT.RUN tenant name function [json …]: the result as JSON. */
const runScript: Handler = (client, args) =>
  run(client, args, ({ scripts, tenant }, values) =>
    scripts.run(tenant.id, args[2] as string, args[3] as string, values)
  )

/** SCRIPT.EVAL tenant source function [json …]: the result as JSON, of a script that is not kept. */
const evaluate: Handler = (client, args) =>
  run(client, args, ({ scripts, tenant }, values) =>
    scripts.evaluate(tenant.id, args[2] as string, args[3] as string, values)
  )

const run = (
  client: Client,
  args: readonly string[],
  start: (asked: Subject, values: readonly Value[]) => RunOutcome | Running
): Promise<void> | void => {
  const asked = subject(client, args)
  if (asked === undefined) return
  const values: Value[] = []
  for (let at = firstJson; at < args.length; at++) {
    const text = toText(args[at] as string)
    const value = text === undefined ? undefined : fromJson(text)
    const number = at - firstJson + 1
    if (value === undefined) return client.fail(RespError.notText(`argument ${number}`))
    if (value instanceof InvalidJson)
      return client.fail(RespError.notJson(`argument ${number}`, value.message, textHint(text as string)))
    values.push(value)
  }
  const begun = start(asked, values)
  if (!isRunning(begun)) return answerRun(client, asked, begun)
  return client.untilGone(begun).then((outcome) => answerRun(client, asked, outcome))
}

const answerRun = (client: Client, { tenant }: Subject, { value, error }: RunOutcome): void => {
  if (value === undefined) client.fail(refusalOf(client, error, tenant))
  else client.reply.bulk(toBytes(toExactJson(value)))
}

const firstJson = 4

/** SCRIPT.DEL tenant name: 1 when it was there, else 0. */
const removeScript: Handler = (client, args) => {
  const asked = subject(client, args)
  if (asked === undefined) return
  return answered(
    client,
    asked.scripts.remove(asked.tenant.id, args[2] as string).then((wasThere) => client.reply.integer(wasThere ? 1 : 0))
  )
}

/** SCRIPT.LIST tenant: one array of fields and values each. */
const listScripts: Handler = (client, args) => {
  const asked = subject(client, args)
  if (asked === undefined) return
  const infos = asked.scripts.list(asked.tenant.id)
  client.reply.array(infos.length)
  for (const info of infos) writeFields(client.reply, shown(info))
}

const scriptInfo: Handler = (client, args) => {
  const info = infoOf(client, args)
  if (info !== undefined) writeFields(client.reply, shown(info))
}

/** SCRIPT.GET tenant name: its source. */
const getScript: Handler = (client, args) => {
  const info = infoOf(client, args)
  if (info !== undefined) client.reply.bulk(info.source)
}

const infoOf = (client: Client, args: readonly string[]) => {
  const asked = subject(client, args)
  if (asked === undefined) return undefined
  const info = asked.scripts.info(asked.tenant.id, args[2] as string)
  if (info === undefined) client.fail(RespError.noScript(args[2] as string))
  return info
}

const shown = ({ name, version, updatedAtMs, bytes, functions, error }: ScriptInfo): Fields => ({
  name,
  version,
  updated_at_ms: updatedAtMs,
  bytes,
  functions,
  error: error === null ? null : toBytes(error)
})

/** SCRIPT.LOG tenant [AFTER number] [COUNT count]: what its scripts have printed and failed with, oldest first. */
const scriptLog: Handler = (client, args) => {
  const asked = subject(client, args)
  if (asked === undefined) return
  const which = linesAskedFor(client, args)
  if (which === undefined) return
  const lines = asked.scripts.log(asked.tenant.id, which)
  client.reply.array(lines.length)
  for (const { number, atMs, script, kind, text } of lines) {
    writeFields(client.reply, { number, at_ms: atMs, script, kind, text: toBytes(text) })
  }
}

interface Subject {
  readonly scripts: ScriptPort
  readonly tenant: Tenant
}

/** The engine and the tenant that a command names first; answers an error where there is none. */
const subject = (client: Client, args: readonly string[]): Subject | undefined => {
  const { scripts, turns } = client.server
  turns.count(workPerLook)
  const tenant = tenantNamed(client, args[1] as string)
  if (tenant === undefined) return undefined
  if (scripts !== undefined) return { scripts, tenant }
  client.fail(RespError.noScripts)
  return undefined
}

export const scripts: CommandFamily = {
  group: "script",
  commands: [
    {
      name: "script.set",
      arity: 4,
      flags: ["write", "no_multi"],
      reach: "own",
      syntax: "tenant name source",
      summary: "Compiles and keeps a script of a tenant, in the place of the one of that name.",
      since: "mimosa",
      run: setScript
    },
    {
      name: "script.run",
      arity: -4,
      flags: ["write", "no_multi"],
      reach: "own",
      syntax: "tenant name function [json ...]",
      summary: "Runs a function of a script and returns its result as JSON.",
      since: "mimosa",
      run: runScript
    },
    {
      name: "script.eval",
      arity: -4,
      flags: ["write", "no_multi"],
      reach: "own",
      syntax: "tenant source function [json ...]",
      summary: "Runs a function of a source that is not kept, and returns its result as JSON.",
      since: "mimosa",
      run: evaluate
    },
    {
      name: "script.list",
      arity: 2,
      flags: ["readonly"],
      reach: "own",
      syntax: "tenant",
      summary: "Returns the scripts of a tenant, one array of fields and values each.",
      since: "mimosa",
      run: listScripts
    },
    {
      name: "script.info",
      arity: 3,
      flags: ["readonly"],
      reach: "own",
      syntax: "tenant name",
      summary: "Returns version, size and functions of a script.",
      since: "mimosa",
      run: scriptInfo
    },
    {
      name: "script.get",
      arity: 3,
      flags: ["readonly"],
      reach: "own",
      syntax: "tenant name",
      summary: "Returns the source of a script.",
      since: "mimosa",
      run: getScript
    },
    {
      name: "script.del",
      arity: 3,
      flags: ["write", "no_multi"],
      reach: "own",
      syntax: "tenant name",
      summary: "Removes a script; returns 1 when it was there.",
      since: "mimosa",
      run: removeScript
    },
    {
      name: "script.log",
      arity: -2,
      flags: ["readonly"],
      reach: "own",
      syntax: "tenant [AFTER number] [COUNT count]",
      summary: "Returns what the scripts of a tenant have printed and failed with, oldest first.",
      since: "mimosa",
      run: scriptLog
    }
  ]
}
