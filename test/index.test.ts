/** What the two doors of the library show: every error that a program can meet is a class that it can import. */
import type { Effect, Layer } from "effect"
import { describe, expect, it } from "vitest"
import { ActorError } from "../src/actor/index.ts"
import * as effects from "../src/index.ts"
import * as promises from "../src/promise.ts"

/** The errors of all effects that a service has or answers. */
type ErrorOf<Service> = { [Name in keyof Service]: FailureOf<Service[Name]> }[keyof Service]

type FailureOf<Member> = Member extends (...args: never[]) => infer Answer ? EffectError<Answer> : EffectError<Member>

type EffectError<A> = A extends Effect.Effect<infer _Value, infer E> ? E : never

type StartErrorOf<L> = L extends Layer.Layer<infer _Services, infer E> ? E : never

type Tag =
  | ErrorOf<effects.CacheService>["_tag"]
  | ErrorOf<effects.TriggersService>["_tag"]
  | StartErrorOf<ReturnType<typeof effects.Mimosa.layer>>["_tag"]

/** Where each is imported from. The compiler refuses this table when one is missing, or is no longer in any type. */
const doorOf: Record<Tag, "." | "./actor"> = {
  InvalidValue: ".",
  InvalidTtl: ".",
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
  StartFailed: "./actor",
  StartIgnored: "./actor",
  StartTimeout: "./actor",
  AlreadyStarted: "./actor"
}

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

  it("shows services, their errors and the channels' bus, and nothing of what they are made of", () => {
    const others = Object.keys(effects).filter((name) => !errorsIn(effects).includes(name))
    expect(others.sort()).toEqual(["Bus", "Cache", "EventBus", "Mimosa", "Triggers"])
  })
})

describe("mimosa-cache/promise", () => {
  it("shows the same errors beside its class", () => {
    expect(Object.keys(promises).sort()).toEqual([...errorsIn(effects), "Mimosa"].sort())
    expect(promises).toMatchObject(Object.fromEntries(Object.entries(effects).filter(([name]) => name in doorOf)))
  })
})
