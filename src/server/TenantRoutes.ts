/**
 * How an operator reaches the keys of tenants: by their displayed form, `tenant_123:user_count`.
 *
 * A tenant's keys are bare in a keyspace of their own; the displayed form exists here only, on the way in. A command
 * that names keys runs in the keyspace of whoever owns them, and owns all of them: what is one change cannot be one in
 * two keyspaces. Without tenants none of this is asked (`Client.run`).
 */
import type { Tenant } from "../cache/Tenants.ts"
import type { Client } from "./Client.ts"
import type { Command } from "./Command.ts"
import { RespError } from "./RespError.ts"
import { workPerLook } from "./Turns.ts"

/** Runs an operator's command, which names keys, where they live. The reply is what it is for their owner. */
export const runForOwner = (client: Client, command: Command, args: readonly string[]): Promise<void> | void => {
  const { routes } = client.server
  const [first, , step] = command.keys
  const owner = routes.route(args[first] as string)
  const end = command.lastKeyAt(args)
  if (end <= first) return runIn(client, command, args, owner)
  let at = first + step
  let isOfOne = true
  const check = (): boolean => {
    while (at <= end && isOfOne) {
      const portion = Math.min(end + 1, at + workPerLook * step)
      for (; at < portion; at += step) if (routes.route(args[at] as string) !== owner) isOfOne = false
      if (client.server.turns.spend(workPerLook) && at <= end) return false
    }
    return true
  }
  const checked = client.inTurns(check)
  const run = () => {
    if (!isOfOne) client.fail(RespError.keysOfSeveral)
    else if (at > end) return runIn(client, command, args, owner) // else the client is gone, before all were looked at
  }
  return checked === undefined ? run() : checked.then(run)
}

const runIn = (
  client: Client,
  command: Command,
  args: readonly string[],
  owner: Tenant | undefined
): Promise<void> | void => {
  if (owner === undefined) return command.run(client, args)
  const [first, , step] = command.keys
  const bare = args.slice()
  const end = command.lastKeyAt(args)
  for (let at = first; at <= end; at += step) bare[at] = (args[at] as string).slice(owner.prefix.length + 1)
  return client.runIn(owner.keyspace, command, bare)
}

/**
 * Keys that a glob finds, where its literal head names them: the tenant's, and what is left of the glob for bare keys.
 */
export interface Walked {
  readonly tenant: Tenant
  readonly pattern: string
}

/**
 * The tenant among whose keys alone a glob of displayed keys can match; undefined where it is about the operators' own.
 */
export const walkedTenant = (client: Client, pattern: string): Walked | undefined => {
  const { routes } = client.server
  if (routes.size === 0 || client.tenant !== null) return undefined
  const { head, ends } = literalHead(pattern)
  const tenant = routes.route(head)
  if (tenant === undefined) return undefined
  return { tenant, pattern: pattern.slice(ends[tenant.prefix.length] as number) }
}

/** The tenant within whose prefix a glob of displayed keys lies. */
export const tenantOfPattern = (routes: Client["server"]["routes"], pattern: string): Tenant | undefined =>
  routes.size === 0 ? undefined : routes.route(literalHead(pattern).head)

/** The bytes that whatever a glob matches begins with, and where each of them ends in it. */
const literalHead = (pattern: string): { readonly head: string; readonly ends: readonly number[] } => {
  let head = ""
  const ends: number[] = []
  for (let at = 0; at < pattern.length; ) {
    if (/[*?[]/.test(pattern[at] as string)) break
    if (pattern[at] === "\\" && at + 1 < pattern.length) at++
    head += pattern[at++]
    ends.push(at)
  }
  return { head, ends }
}

/** The glob that matches just this text. */
export const escapeGlob = (text: string): string => text.replace(/[*?[\\]/g, "\\$&")
