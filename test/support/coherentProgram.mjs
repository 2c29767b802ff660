/**
 * A plain program that shares its keys with others of its namespace, and does what the test says over Node's own channel
 * between parent and child. Its settings come as JSON; `names` stand in for a name server, since a function cannot come so.
 *
 * Run by CoherentProgram.ts, with the built package: what people get.
 */
import { Mimosa } from "mimosa-cache/promise"

const { names, ...settings } = JSON.parse(process.argv[2])
if (names !== undefined) settings.coherence.mesh.resolve = async (name) => names[name] ?? []

const cache = new Mimosa(settings)

const answers = {
  set: ({ key, value, options }) => cache.set(key, value, options),
  get: ({ key }) => cache.get(key),
  peek: ({ key }) => cache.peek(key)?.value,
  del: ({ key, options }) => cache.del(key, options),
  invalidateTags: ({ tags, options }) => cache.invalidateTags(tags, options),
  untilMembers: ({ count }) => cache.coherence.untilMembers(count),
  acknowledged: ({ mode }) => cache.coherence.acknowledged(mode),
  status: () => cache.coherence.status(),
  /** Sets many without waiting for anybody but itself. */
  setAll: async ({ entries }) => {
    for (const [key, value] of entries) await cache.set(key, value)
  },
  /** Reads many; how many of the values, and of how many characters together, were not here before. */
  getAll: async ({ keys }) => {
    const read = { values: {}, fetched: 0, fetchedLength: 0 }
    for (const key of keys) {
      const isHere = cache.peek(key) !== undefined
      const value = await cache.get(key)
      read.values[key] = value
      if (isHere || value === undefined) continue
      read.fetched++
      read.fetchedLength += value.length
    }
    return read
  }
}

process.on("message", async ({ id, what, ...rest }) => {
  try {
    process.send({ id, value: await answers[what](rest) })
  } catch (error) {
    process.send({ id, error: error._tag ?? String(error) })
  }
})
process.once("disconnect", () => process.exit()) // the test is over, whatever way it took out
process.once("SIGTERM", async () => {
  await cache.close()
  process.exit(0)
})

try {
  await cache.ready
  process.send({ ready: true })
} catch (error) {
  process.send({ ready: false, error: error.message })
  process.exit(1)
}
