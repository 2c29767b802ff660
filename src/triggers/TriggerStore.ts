/**
 * Where the registered triggers outlive the process: one document, replaced as a whole, until the durable log comes.
 */
import { Context, Effect, Layer } from "effect"
import type { TriggerDefinition } from "./Trigger.ts"
import type { TriggersNotSaved } from "./TriggerError.ts"

export interface TriggerStoreService {
  /** The triggers that were saved last; none on a first start. */
  readonly load: Effect.Effect<readonly TriggerDefinition[], TriggersNotSaved>
  /** Returns when these, or later ones, would survive a crash of the machine. */
  readonly save: (definitions: () => readonly TriggerDefinition[]) => Effect.Effect<void, TriggersNotSaved>
}

export class TriggerStore extends Context.Tag("mimosa-cache/triggers/TriggerStore")<
  TriggerStore,
  TriggerStoreService
>() {
  /** Keeps nothing: a library that registers its triggers in code. */
  static readonly layerNone: Layer.Layer<TriggerStore> = Layer.succeed(TriggerStore, {
    load: Effect.succeed([]),
    save: () => Effect.void
  })
}
