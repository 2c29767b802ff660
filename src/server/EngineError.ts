/**
 * How the errors of tenants, scripts and triggers are said on the wire: the code that begins a RESP error, and the HTTP
 * status.
 * One table for all of them; what is not in it is a defect.
 */
import type { Tenant } from "../cache/Tenants.ts"
import { toBytes } from "../cache/Values.ts"
import type { Client } from "./Client.ts"
import { RespError } from "./RespError.ts"
import { limitMet, raisedByCommand, respSpelling } from "./TenantLimitWords.ts"

export interface Spelling {
  /** The first word of the RESP error. */
  readonly code: string
  readonly status: number
  /** Its message has words that are for the operator alone, such as a path. */
  readonly isOperators?: true
}

/** By the error's tag. */
export const spellings: Readonly<Record<string, Spelling>> = {
  InvalidTenant: { code: "ERR", status: 400 },
  TenantExists: { code: "ERR", status: 409 },
  PrefixTaken: { code: "ERR", status: 409 },
  TooManyTenants: { code: "ERR", status: 409 },
  TenantNotFound: { code: "NOTENANT", status: 404 },
  TenantsNotSaved: { code: "NOTSAVED", status: 500, isOperators: true },
  InvalidScriptName: { code: "ERR", status: 400 },
  TooManyScripts: { code: "ERR", status: 409 },
  ScriptNotFound: { code: "NOSCRIPT", status: 404 },
  FunctionNotFound: { code: "NOSCRIPT", status: 404 },
  InvalidArgument: { code: "ERR", status: 400 },
  InvalidJson: { code: "ERR", status: 400 },
  ScriptsNotSaved: { code: "NOTSAVED", status: 500, isOperators: true },
  ScriptSyntaxError: { code: "SCRIPTSYNTAX", status: 400 },
  ScriptRuntimeError: { code: "SCRIPTERROR", status: 422 },
  ScriptTimeout: { code: "SCRIPTTIMEOUT", status: 422 },
  ScriptOutOfMemory: { code: "SCRIPTMEMORY", status: 422 },
  ScriptKilled: { code: "SCRIPTKILLED", status: 422 },
  ScriptQuotaExceeded: { code: "SCRIPTQUOTA", status: 429 },
  ScriptInterrupted: { code: "SCRIPTENDED", status: 503 },
  InvalidTrigger: { code: "ERR", status: 400 },
  TriggerSyntaxError: { code: "ERR", status: 400 },
  TriggerNotFound: { code: "ERR", status: 404 },
  TooManyTriggers: { code: "ERR", status: 409 },
  TooMuchSource: { code: "ERR", status: 409 },
  VersionNotFound: { code: "ERR", status: 404 },
  NoShadow: { code: "ERR", status: 409 },
  HistoryOff: { code: "ERR", status: 409 },
  TriggersNotSaved: { code: "NOTSAVED", status: 500, isOperators: true },
  TriggersClosed: { code: "NOTENANT", status: 404 }
}

/** An error with a tag and a message for the client. */
export interface Tagged {
  readonly _tag: string
  readonly message: string
}

export const spellingOf = (error: unknown): Spelling | undefined => {
  const tag = (error as Partial<Tagged> | null)?._tag
  return tag === undefined || !Object.hasOwn(spellings, tag) ? undefined : spellings[tag]
}

/** What an engine refuses is the answer. `tenant` is whom the command is about. */
export const answered = (client: Client, answer: Promise<void>, tenant?: Tenant): Promise<void> =>
  answer.catch((error) => client.fail(refusalOf(client, error, tenant)))

/**
 * The error as a RESP error, of one line; where it is a limit of the tenant that the command is about, with how it is
 * raised. A tenant is not told what is for the operator.
 */
export const refusalOf = (client: Client, error: unknown, tenant?: Tenant): string => {
  const spelling = spellingOf(error)
  if (client.isBound && (spelling === undefined || spelling.isOperators === true)) return RespError.hidden
  const message = error instanceof Error ? error.message : String(error)
  const limit = limitMet(error)
  const spelt = limit === undefined ? message : message.replace(`(${limit})`, `(${respSpelling(limit)})`)
  const hint = limit === undefined || tenant === undefined ? "" : `; ${raisedByCommand(tenant.id, limit)}`
  return toBytes(`${spelling?.code ?? "ERR"} ${spelt}${hint}`)
}
