/** What scripts call, in a machine by itself: a real keyspace, and a run of nobody's engine whose log is a list. */
import { Keyspace, type KeyspaceOptions } from "../../src/kernel/index.ts"
import { LuaVm, RunStatus } from "../../src/sandbox/index.ts"
import { makeCacheModule } from "../../src/scripting/cacheModule.ts"
import { makeJsonModule } from "../../src/scripting/jsonModule.ts"
import type { Current, RunningScript } from "../../src/scripting/ScriptRun.ts"

export interface Modules {
  readonly clock: { ms: number }
  readonly keyspace: Keyspace
  /** What functions have refused, in order. */
  readonly refusals: string[]
  readonly current: Current
  readonly vm: LuaVm
  /** What the source returns, as plain data; throws what it raises, with its line. */
  readonly run: (source: string, limits?: { readonly fuelMax?: number }) => unknown
  readonly fuel: () => number
}

export const makeModules = (options: Partial<KeyspaceOptions> = {}): Modules => {
  const clock = { ms: 1_000_000 }
  const keyspace = makeKeyspace(clock, options)
  const refusals: string[] = []
  const current = { run: running(keyspace, clock, refusals) }
  const vm = new LuaVm({
    fields: [],
    hostTables: { cache: makeCacheModule(current), json: makeJsonModule() },
    clock: { epochMs: () => clock.ms, elapsedMs: () => 0 },
    bytesMax: 10 << 20
  })
  const run = (source: string, limits: { readonly fuelMax?: number } = {}): unknown => {
    const definition = vm.define("test", Buffer.from(source).toString("latin1"))
    if (!definition.ok) throw new Error(`${definition.error.line}: ${definition.error.message}`)
    const status = vm.evaluate(definition.program, {
      timeoutMicros: 1000,
      bytesMax: 9 << 20,
      fuelMax: limits.fuelMax ?? 1_000_000_000
    })
    const result = vm.lastResult
    vm.remove(definition.program)
    if (status !== RunStatus.ok) throw new Error(`${vm.lastError.line}: ${vm.lastError.message}`)
    return result
  }
  return { clock, keyspace, refusals, current, vm, run, fuel: () => vm.lastFuel }
}

export const makeKeyspace = (clock: { readonly ms: number }, options: Partial<KeyspaceOptions> = {}): Keyspace =>
  new Keyspace({
    maxEntries: 50_000,
    maxBytes: 64 << 20,
    clock: { nowMs: () => clock.ms },
    sink: { onEvent: () => {}, onSettled: () => {} },
    wake: () => {},
    ...options
  })

export const running = (
  keyspace: Keyspace | null,
  clock: { readonly ms: number },
  refusals: string[]
): RunningScript => ({
  name: "test",
  tenant: null,
  keyspace,
  nowMs: () => clock.ms,
  waitMs: 1_000,
  waitLeftMs: () => 1_000,
  refuse: (reason) => void refusals.push(reason),
  print: () => {},
  wait: () => {
    throw new Error("nothing here waits")
  }
})
