/** The engine with all that it stands on, and nothing of what stands above it. */
import { Effect, Layer } from "effect"
import { Bus, CacheClock, Keyspaces, Reactions, TenantStore, Tenants, Wakeups } from "../../src/cache/index.ts"
import { ScriptEngine, type ScriptSettings } from "../../src/scripting/index.ts"

/** Time stands still for the scheduler, and slices end by fuel: what a machine is busy with changes no test's course. */
const still: ScriptSettings = {
  fuelPerSliceMs: 250_000,
  clock: {
    elapsedMs: () => 0,
    defer: (turn) => void setImmediate(turn),
    after: (ms, call) => {
      const timer = setTimeout(call, ms)
      return () => clearTimeout(timer)
    }
  }
}

export const layerEngine = (settings: ScriptSettings = {}) =>
  ScriptEngine.layer({ ...still, ...settings }).pipe(
    Layer.provideMerge(Tenants.layer()),
    Layer.provideMerge(
      Layer.mergeAll(
        Keyspaces.layer().pipe(Layer.provideMerge(Layer.mergeAll(Reactions.layerNone, Wakeups.layer))),
        Bus.layer,
        TenantStore.layerNone
      )
    ),
    Layer.provideMerge(CacheClock.layer)
  )

/** Its services, as long as the scope is open. */
export const engineWith = (settings: ScriptSettings = {}) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(layerEngine(settings))
    const [engine, tenants, bus] = yield* Effect.provide(Effect.all([ScriptEngine, Tenants, Bus]), context)
    return { engine, tenants, bus }
  })
