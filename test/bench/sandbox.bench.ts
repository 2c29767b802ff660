/** What one event costs a Lua machine, beside the same function through wasmoon's public engine. */
import { fileURLToPath } from "node:url"
import { LuaFactory } from "wasmoon"
import { defaultRunLimits, LuaVm } from "../../dist/sandbox/index.js"
import { ascending, pair, quantile, type Suite, timeBatches } from "./Figure.ts"

const keys = Array.from({ length: 1024 }, (_, i) => `session:${i}`)
const values = Array.from({ length: 1024 }, (_, i) => `value-${(i * 7919) % 1024}`)
const key = (i: number): string => keys[i & 1023] as string
const value = (i: number): string => values[i & 1023] as string
const store = new Map(keys.map((name, i) => [name, value(i)]))

const [keySlot, valueSlot, oldSlot] = [0, 1, 2]

const sources = {
  empty: "",
  field1: "local value = event.value",
  fields3: "if event.value ~= event.old_value and event.key then return 1 end",
  host: "cache.nothing()",
  get: "local other = cache.get(event.key)",
  set: 'cache.set("other:1", event.value)'
}

const makeVm = (): LuaVm =>
  new LuaVm({
    fields: ["key", "value", "old_value"],
    hostTables: {
      cache: {
        get(call) {
          const found = store.get(call.string(1) ?? "")
          if (found === undefined) call.returnNil()
          else call.returnString(found)
        },
        set(call) {
          store.set(call.string(1) ?? "", call.string(2) ?? "")
          call.returnBoolean(true)
        },
        nothing() {}
      }
    }
  })

const define = (vm: LuaVm, source: string): number => {
  const definition = vm.define("bench", source)
  if (!definition.ok) throw new Error(definition.error.message)
  return definition.program
}

export const suite: Suite = {
  name: "sandbox",
  async run(report, say) {
    const vm = makeVm()
    const { frame } = vm
    const run = (program: number) => vm.run(program, defaultRunLimits)
    const programs = {
      empty: define(vm, sources.empty),
      field1: define(vm, sources.field1),
      fields3: define(vm, sources.fields3),
      host: define(vm, sources.host),
      get: define(vm, sources.get),
      set: define(vm, sources.set)
    }
    const ours: Readonly<Record<keyof typeof sources, (i: number) => void>> = {
      empty: () => run(programs.empty),
      field1(i) {
        frame.reset()
        frame.string(valueSlot, value(i))
        run(programs.field1)
      },
      fields3(i) {
        frame.reset()
        frame.string(keySlot, key(i))
        frame.string(valueSlot, value(i))
        frame.string(oldSlot, value(i + 1))
        run(programs.fields3)
      },
      host: () => run(programs.host),
      get(i) {
        frame.reset()
        frame.string(keySlot, key(i))
        run(programs.get)
      },
      set(i) {
        frame.reset()
        frame.string(valueSlot, value(i))
        run(programs.set)
      }
    }

    say("wasmoon's public engine")
    const engine = await new LuaFactory().createEngine()
    engine.global.set("cache", {
      get: (name: string) => store.get(name),
      set: (name: string, text: string) => void store.set(name, text),
      nothing() {}
    })
    const engineFunction = async (source: string): Promise<(event: object) => unknown> =>
      await engine.doString(`return function(event) ${source} end`)
    const theirs: Readonly<Record<keyof typeof sources, (i: number) => void>> = {
      empty: await eventCall(engineFunction(sources.empty), () => ({})),
      field1: await eventCall(engineFunction(sources.field1), (i) => ({ value: value(i) })),
      fields3: await eventCall(engineFunction(sources.fields3), (i) => ({
        key: key(i),
        value: value(i),
        old_value: value(i + 1)
      })),
      host: await eventCall(engineFunction(sources.host), () => ({})),
      get: await eventCall(engineFunction(sources.get), (i) => ({ key: key(i) })),
      set: await eventCall(engineFunction(sources.set), (i) => ({ value: value(i) }))
    }
    for (const name of Object.keys(sources) as ReadonlyArray<keyof typeof sources>) {
      say(name)
      const own = ascending(timeBatches(ours[name], 1_000, 300))
      const { value, peerValue, ratio, samples } = pair(ours[name], theirs[name], { batchSize: 100, batches: 60 })
      void value // of short batches, between which the other engine has had the caches
      report({
        id: `sandbox.${name}`,
        value: quantile(own, 0.5),
        unit: "ns",
        peer: "wasmoon",
        peerValue,
        ratio,
        samples: own.length + samples,
        spread: [quantile(own, 0.1), quantile(own, 0.9)]
      })
    }
    engine.global.close()

    say("isolated runs, rewinds, a first run, and a machine from nothing")
    const isolated = { ...defaultRunLimits, isIsolated: true }
    const keeping = define(vm, "kept = event.value")
    const nanoseconds = (id: string, operation: (i: number) => void) => {
      const samples = ascending(timeBatches(operation, 100, 100))
      const spread = [quantile(samples, 0.1), quantile(samples, 0.9)] as const
      report({ id, value: quantile(samples, 0.5), unit: "ns", samples: samples.length, spread })
    }
    nanoseconds("sandbox.isolated", (i) => {
      frame.reset()
      frame.string(valueSlot, value(i))
      vm.run(programs.field1, isolated)
    })
    nanoseconds("sandbox.isolated.global", (i) => {
      frame.reset()
      frame.string(valueSlot, value(i))
      vm.run(keeping, isolated)
    })
    nanoseconds("sandbox.rewind", () => vm.rewind())
    nanoseconds("sandbox.first", () => {
      const program = define(vm, sources.fields3)
      run(program)
      vm.remove(program)
    })
    const made = ascending(timeBatches(() => void makeVm(), 5, 20))
    report({
      id: "sandbox.make",
      value: quantile(made, 0.5) / 1e6,
      unit: "ms",
      samples: made.length,
      spread: [quantile(made, 0.1) / 1e6, quantile(made, 0.9) / 1e6]
    })
  }
}

const eventCall = async (
  pending: Promise<(event: object) => unknown>,
  event: (i: number) => object
): Promise<(i: number) => void> => {
  const call = await pending
  return (i) => void call(event(i))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await suite.run(
    ({ id, value, unit, peerValue, ratio }) => {
      const peer = peerValue === undefined ? "" : `wasmoon ${Math.round(peerValue)}  ratio ${ratio?.toFixed(4)}`
      console.log(id.padEnd(20), value.toFixed(unit === "ms" ? 2 : 0).padStart(7), unit, peer)
    },
    () => {}
  )
}
