/** A whole Mimosa out of the built package, with its parts at hand. */
import { Context, Effect, ManagedRuntime } from "effect"
import { Cache, Keyspaces, type MainCacheService } from "../../dist/cache/index.js"
import { Coherence } from "../../dist/coherence/index.js"
import { Mimosa } from "../../dist/index.js"
import type { Keyspace } from "../../dist/kernel/index.js"

export interface Program {
  readonly cache: MainCacheService
  readonly keyspace: Keyspace
  readonly coherence: Coherence.CoherenceService | null
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Promise<A>
  readonly close: () => Promise<void>
}

export const openProgram = async (settings: Mimosa.Settings): Promise<Program> => {
  const runtime = ManagedRuntime.make(Mimosa.layer(settings))
  const services = await runtime.runPromise(Effect.context<Mimosa.Services>())
  return {
    cache: Context.get(services, Cache),
    keyspace: Context.get(services, Keyspaces).main,
    coherence: Context.get(services, Coherence.Coherence),
    run: (effect) => runtime.runPromise(effect),
    close: () => runtime.dispose()
  }
}
