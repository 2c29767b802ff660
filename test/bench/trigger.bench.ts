/**
 * What one inline trigger adds to a set: by what it reads and does, by how many are registered, and beside the same
 * function through wasmoon's public engine.
 */
import { LuaFactory } from "wasmoon"
import { makeEngine } from "./engine.ts"
import { ascending, pair, quantile, type Suite, timeBatches } from "./Figure.ts"

const keyCount = 10_000
const keys = Array.from({ length: keyCount }, (_, i) => `session:${(i * 7919) % keyCount}`)
const values = Array.from({ length: 16 }, (_, i) => `value-${i}`)
const key = (i: number): string => keys[i % keyCount] as string
const value = (i: number): string => values[i & 15] as string

type Engine = ReturnType<typeof makeEngine>

const filled = (): Engine => {
  const engine = makeEngine()
  for (const each of keys) engine.keyspace.set(each, "v")
  return engine
}

const set =
  ({ keyspace }: Engine) =>
  (i: number) =>
    keyspace.set(key(i), value(i))

/** Each compared with the same set on a keyspace without a trigger. */
const sources: ReadonlyArray<readonly [id: string, source: string]> = [
  ["trigger.fields0", "return"],
  ["trigger.fields1", "local changed = event.value == 'value-3'"],
  ["trigger.fields3", "if event.value ~= event.old_value and event.key then return 1 end"],
  ["trigger.get", "local other = cache.get('session:1')"],
  ["trigger.set", "cache.set('other', event.value)"],
  ["trigger.emit", "cache.emit('changed', event.key)"]
]

const threeFields = "if event.value ~= event.old_value and event.key then return 1 end"

export const suite: Suite = {
  name: "trigger",
  async run(report) {
    const bare = filled()
    for (const [id, source] of sources) {
      const engine = filled()
      engine.trigger({ source })
      const { difference, peerValue, samples } = pair(set(engine), set(bare), { batchSize: 100, batches: 3_000 })
      report({ id: `${id}.p50`, value: difference, unit: "ns", peer: "the set alone", peerValue, samples })
      const single = ascending(timeBatches(set(engine), 1, 100_000))
      report({ id: `${id}.p99`, value: quantile(single, 0.99), unit: "ns", samples: single.length })
      if (engine.log.total > 0) throw new Error(`${id} failed: ${engine.log.recent(1)[0]?.message}`)
    }

    for (const count of [1, 1_000, 10_000]) {
      const engine = filled()
      const beganMs = performance.now()
      for (let i = 0; i < count; i++) engine.trigger({ pattern: `tenant:${i}:*`, source: `return ${i}` })
      report({ id: `trigger.register${count}`, value: performance.now() - beganMs, unit: "ms", samples: 1 })
      const { value: ns, peerValue, ratio, samples, spread } = pair(set(engine), set(bare), { batches: 1_500 })
      report({
        id: `trigger.miss${count}`,
        value: ns,
        unit: "ns",
        peer: "no trigger",
        peerValue,
        ratio,
        samples,
        spread
      })
      engine.trigger({ source: threeFields })
      const one = filled()
      one.trigger({ source: threeFields })
      const hit = pair(set(engine), set(one), { batches: 300 })
      report({
        id: `trigger.hit${count}`,
        value: hit.value,
        unit: "ns",
        peer: "that trigger alone",
        peerValue: hit.peerValue,
        ratio: hit.ratio,
        samples: hit.samples,
        spread: hit.spread
      })
    }

    // A trigger that always kills its machine, beside one that works: six kills take it out, and it is probed now and then.
    const hurt = filled()
    const well = filled()
    for (const engine of [hurt, well]) engine.trigger({ source: threeFields })
    hurt.trigger({ name: "killer", source: "xpcall(error, function() while true do end end)" })
    for (let i = 0; i < 10; i++) hurt.keyspace.set(key(i), value(i))
    if (hurt.registry.get("killer")?.quarantine.reason === null) throw new Error("the killer is not quarantined")
    const after = pair(set(hurt), set(well), { batchSize: 100, batches: 1_000 })
    report({
      id: "trigger.quarantined",
      value: after.value,
      unit: "ns",
      peer: "without the killer",
      peerValue: after.peerValue,
      ratio: after.ratio,
      samples: after.samples,
      spread: after.spread
    })

    const lua = await new LuaFactory().createEngine()
    try {
      const react = (await lua.doString(`return function(event) ${threeFields} end`)) as (event: object) => unknown
      const engine = filled()
      engine.trigger({ source: threeFields })
      const through = (i: number): void => {
        react({ key: key(i), value: value(i), old_value: value(i + 1) })
      }
      const beside = pair(set(engine), through, { batchSize: 100, batches: 100 })
      report({
        id: "trigger.wasmoon",
        value: beside.value,
        unit: "ns",
        peer: "wasmoon's engine",
        peerValue: beside.peerValue,
        ratio: beside.ratio,
        samples: beside.samples,
        spread: beside.spread
      })
    } finally {
      lua.global.close()
    }
  }
}
