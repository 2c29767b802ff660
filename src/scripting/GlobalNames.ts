/**
 * The names under which scripts may be given values: by a program (`env`, `functions` of a run) and by an operator (a
 * tenant's environment). What scripts have from elsewhere keeps its meaning: nobody's `cache` is a text. A tenant's environment may
 * have such names from elsewhere; they are ignored (Account, ScriptEngine).
 */
import { Effect } from "effect"
import { InvalidTenant, isEnvName, type TenantsService } from "../cache/index.ts"
import type { Value } from "../kernel/index.ts"

/** Why nothing can be given to scripts by this name, to be said behind it; undefined where it can. */
export const refusedGlobalName = (name: string): string | undefined => {
  if (!isEnvName(name)) return "is no name: up to 64 letters, digits or '_', no digit first"
  return takenNames.has(name) ? "cannot be named so: scripts have something of that name already" : undefined
}

/** `tenants.setEnv` for who may name it: fails as `InvalidTenant` where scripts have something of that name already. */
export const setEnv = (
  tenants: Pick<TenantsService, "setEnv">,
  id: string,
  name: string,
  value: Value | undefined
): ReturnType<TenantsService["setEnv"]> => {
  // What was given such a name before can be taken away.
  const reason = value === undefined ? undefined : refusedGlobalName(name)
  return reason === undefined
    ? tenants.setEnv(id, name, value)
    : Effect.fail(new InvalidTenant({ field: "env", value: name, reason }))
}

const takenNames = new Set(
  (
    "and break do else elseif end false for function goto if in local nil not or repeat return then true until while " +
    "assert collectgarbage error getmetatable ipairs load next pairs pcall print rawequal rawget rawlen rawset " +
    "select setmetatable tonumber tostring type warn xpcall _G _ENV _VERSION " +
    "coroutine math os string table utf8 cache json http"
  ).split(" ")
)
