/** What the two doors of the library show: every error that a program can meet is a class that it can import. */
import type { Effect, Layer } from "effect"
import { describe, expect, it } from "vitest"
import { ActorError } from "../src/actor/index.ts"
import * as effects from "../src/index.ts"
import * as promises from "../src/promise.ts"

/** The errors of all effects that a service has or answers. */
type ErrorOf<Service> = { [Name in keyof Service]: FailureOf<Service[Name]> }[keyof Service]

type FailureOf<Member> = Member extends (...args: never[]) => infer Answer ? EffectError<Answer> : EffectError<Member>

type EffectError<A> = A extends Effect.Effect<infer _Value, infer E, infer _Needs> ? E : never

type StartErrorOf<L> = L extends Layer.Layer<infer _Services, infer E> ? E : never

/** The errors that a function returns in the place of what was asked for, without an effect. */
type RefusalOf<Answer> = Extract<Answer, { readonly _tag: string }>

type Tag =
  | ErrorOf<effects.CacheService>["_tag"]
  | ErrorOf<effects.CoherenceService>["_tag"]
  | ErrorOf<effects.TriggersService>["_tag"]
  | ErrorOf<effects.TenantsService>["_tag"]
  | ErrorOf<effects.ScriptEngineService>["_tag"]
  | ErrorOf<effects.Script>["_tag"]
  | ErrorOf<effects.ScriptState>["_tag"]
  | ErrorOf<effects.ScriptsService>["_tag"]
  | RefusalOf<ReturnType<typeof effects.fromJson>>["_tag"]
  | RefusalOf<ReturnType<typeof effects.decodeValue>>["_tag"]
  | RefusalOf<ReturnType<typeof effects.toValue>>["_tag"]
  | StartErrorOf<ReturnType<typeof effects.Mimosa.layer>>["_tag"]

/** Where each is imported from. The compiler refuses this table when one is missing, or is no longer in any type. */
const doorOf: Record<Tag, "." | "./actor"> = {
  InvalidValue: ".",
  InvalidTtl: ".",
  InvalidExpiryOwner: ".",
  InvalidLoader: ".",
  InvalidPrefix: ".",
  InvalidAckMode: ".",
  NotAcknowledged: ".",
  NotEnoughMembers: ".",
  TransportError: ".",
  LoadFailed: ".",
  LoadTimedOut: ".",
  TooManyLoads: ".",
  EntryTooLarge: ".",
  Rejected: ".",
  InvalidTrigger: ".",
  TriggerSyntaxError: ".",
  TooManyTriggers: ".",
  TooMuchSource: ".",
  TriggersClosed: ".",
  TriggerNotFound: ".",
  VersionNotFound: ".",
  NoShadow: ".",
  HistoryOff: ".",
  TriggersNotSaved: ".",
  DataDirectoryLocked: ".",
  FileCorrupt: ".",
  FileVersionUnknown: ".",
  StorageIo: ".",
  EgressAllowInvalid: ".",
  HttpAllowInvalid: ".",
  InvalidJson: ".",
  InvalidBytes: ".",
  InvalidTenant: ".",
  TenantExists: ".",
  TenantNotFound: ".",
  PrefixTaken: ".",
  TooManyTenants: ".",
  TenantsNotSaved: ".",
  ScriptSyntaxError: ".",
  ScriptRuntimeError: ".",
  ScriptTimeout: ".",
  ScriptOutOfMemory: ".",
  ScriptKilled: ".",
  ScriptQuotaExceeded: ".",
  ScriptInterrupted: ".",
  FunctionNotFound: ".",
  InvalidArgument: ".",
  ScriptNotFound: ".",
  InvalidScriptName: ".",
  TooManyScripts: ".",
  ScriptsNotSaved: ".",
  StartFailed: "./actor",
  StartIgnored: "./actor",
  StartTimeout: "./actor",
  AlreadyStarted: "./actor"
}

/** What stands for values, by name, in both. */
const values: readonly string[] = [
  "decodeValue",
  "encodeValue",
  "fromJson",
  "fromValue",
  "tenantLimitsDefault",
  "toExactJson",
  "toFloat",
  "toValue"
]

const errorsIn = (door: object): string[] =>
  Object.entries(door)
    .filter(([, shown]) => (shown as { prototype?: unknown } | undefined)?.prototype instanceof Error)
    .map(([name]) => name)
    .sort()

describe("mimosa-cache", () => {
  it("shows the class of every error in the types of its services, and of no other", () => {
    const tags = Object.entries(doorOf)
    expect(errorsIn(effects)).toEqual(tags.flatMap(([tag, door]) => (door === "." ? tag : [])).sort())
    expect(errorsIn(ActorError)).toEqual(
      expect.arrayContaining(tags.flatMap(([tag, door]) => (door === "./actor" ? tag : [])))
    )
  })

  it("shows services, their errors, the channels' bus and what values are, and nothing of what they are made of", () => {
    const others = Object.keys(effects).filter((name) => !errorsIn(effects).includes(name))
    const services = ["Bus", "Cache", "EventBus", "Mimosa", "ScriptEngine", "Scripts", "Tenants", "Triggers"]
    const ofCoherence = ["Coherence", "CoherenceTransport"]
    expect(others.sort()).toEqual([...services, ...ofCoherence, ...values].sort())
  })
})

describe("mimosa-cache/promise", () => {
  it("shows the same errors and values beside its class", () => {
    expect(Object.keys(promises).sort()).toEqual([...errorsIn(effects), ...values, "Mimosa"].sort())
    const same = Object.entries(effects).filter(([name]) => name in doorOf || values.includes(name))
    expect(promises).toMatchObject(Object.fromEntries(same))
  })
})
