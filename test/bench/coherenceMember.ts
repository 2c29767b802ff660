/**
 * One process of a fleet (coherenceFleet.ts): holds copies of keys, writes them at a pace, and notes when what others
 * have written has taken its copies away. As an instance of Mimosa, or as what programs do without one: they publish the
 * key over Redis or NATS, and whoever hears of it deletes it from a Map.
 *
 * Times are nanoseconds of the machine's monotonic clock, which is one for all processes.
 */
import { Option } from "effect"
import type { Input, SetOptions } from "../../dist/cache/index.js"
import { EntrySource, type Keyspace, noMeta } from "../../dist/kernel/index.js"
import type { Answer, Figures, MeshPlace, Question } from "./coherenceFleet.ts"
import { openProgram, type Program } from "./coherenceProgram.ts"

/** Where the copies are, and how others are told. */
interface Holder {
  hold(index: number): void
  write(index: number): void
}

const keyOf = (index: number): string => `key:${index}`
const indexOf = (key: string): number => Number(key.slice(4))
const nowNs = (): number => Number(process.hrtime.bigint())

let sent = new Float64Array(0)
let arrived = new Float64Array(0)
let arrivals = 0
let holder: Holder | null = null
let program: Program | null = null

/** A copy has gone because somebody else wrote its key. */
const note = (index: number): void => {
  arrived[index] = nowNs()
  arrivals++
}

const openMimosa = async (namespace: string, place: MeshPlace): Promise<Holder> => {
  const { region = "default", ...mesh } = place
  program = await openProgram({ namespace, maxEntries: 200_000, coherence: { region, mesh } })
  const { keyspace, cache } = program
  noteRemovals(keyspace)
  return {
    hold: (index) => {
      keyspace.fill(keyspace.lease(keyOf(index)), index, 0, noMeta, EntrySource.loaded)
    },
    write: (index) => void cache.unsafeSet(keyOf(index), index)
  }
}

/** Notes what goes because of a peer, as soon as it is gone. */
const noteRemovals = (keyspace: Keyspace): void => {
  const remove = keyspace.delete
  keyspace.delete = (key, cause, hasPassed) => {
    const wasThere = remove.call(keyspace, key, cause, hasPassed)
    if (wasThere && keyspace.origin?.peer !== undefined) note(indexOf(key))
    return wasThere
  }
}

const openRedis = async (port: number): Promise<Holder> => {
  const { createClient } = await import("@redis/client")
  const socket = { host: "127.0.0.1", port }
  const [publisher, subscriber] = [createClient({ socket }), createClient({ socket })]
  for (const client of [publisher, subscriber]) client.on("error", () => {}) // of the connection that ends with the server
  await Promise.all([publisher.connect(), subscriber.connect()])
  const copies = new Map<string, number>()
  await subscriber.subscribe(channel, (key) => {
    if (copies.delete(key)) note(indexOf(key))
  })
  return {
    hold: (index) => void copies.set(keyOf(index), index),
    write: (index) => void publisher.publish(channel, keyOf(index))
  }
}

const openNats = async (port: number): Promise<Holder> => {
  const { connect } = await import("@nats-io/transport-node")
  const connection = await connect({ servers: `127.0.0.1:${port}` })
  const copies = new Map<string, number>()
  connection.subscribe(channel, {
    callback: (_, message) => {
      const key = message.string()
      if (copies.delete(key)) note(indexOf(key))
    }
  })
  await connection.flush()
  return {
    hold: (index) => void copies.set(keyOf(index), index),
    write: (index) => connection.publish(channel, keyOf(index))
  }
}

const channel = "invalidated"

/** Calls `work` with 0 to `count` - 1 at so many a second: what is due, once a millisecond. */
const paced = (count: number, rate: number, work: (n: number) => void): Promise<void> =>
  new Promise((resolve) => {
    const beganMs = performance.now()
    let done = 0
    const step = (): void => {
      const due = Math.min(count, Math.floor(((performance.now() - beganMs) * rate) / 1_000) + 1)
      while (done < due) work(done++)
      if (done < count) setTimeout(step, 1)
      else resolve()
    }
    step()
  })

const figures = (): Figures => {
  const { user, system } = process.cpuUsage()
  const counts: Record<string, number> = {}
  if (program !== null) {
    for (const metric of program.coherence?.metrics ?? []) {
      const reading = metric.read()
      if (typeof reading === "number") counts[metric.name] = reading
      else if (Array.isArray(reading)) {
        for (const [labels, value] of reading) counts[[metric.name, ...Object.values(labels)].join(" ")] = value
      }
    }
  }
  return { cpuUs: user + system, arrivals, counts }
}

/** Milliseconds of each of `count` calls, one after the other. */
const timed = async (count: number, work: (n: number) => Promise<unknown>): Promise<number[]> => {
  const times: number[] = []
  for (let n = 0; n < count; n++) {
    const beganMs = performance.now()
    await work(n)
    times.push(performance.now() - beganMs)
  }
  return times
}

const programOf = (): Program => {
  if (program === null) throw new Error("it holds its copies in a Map")
  return program
}

const untilMembers = async (count: number): Promise<void> => {
  const { coherence, run } = programOf()
  if (coherence !== null) await run(coherence.untilMembers(count))
}

const set = (key: string, value: Input, options: SetOptions = {}): Promise<void> =>
  programOf().run(programOf().cache.set(key, value, options))

const holderOf = (): Holder => {
  if (holder === null) throw new Error("open comes first")
  return holder
}

const answer = async (question: Question): Promise<unknown> => {
  switch (question.what) {
    case "mimosa":
      holder = await openMimosa(question.namespace, question.place)
      return
    case "redis":
      holder = await openRedis(question.port)
      return
    case "nats":
      holder = await openNats(question.port)
      return
    case "members":
      return untilMembers(question.count)
    case "hold": {
      sent = new Float64Array(question.count)
      arrived = new Float64Array(question.count)
      arrivals = 0
      for (let index = 0; index < question.count; index++) {
        if (index % question.writers !== question.self) holderOf().hold(index)
      }
      return
    }
    case "write": {
      const { from, count, rate, writers, self } = question
      return paced(count, rate, (n) => {
        const index = from + n * writers + self
        sent[index] = nowNs()
        holderOf().write(index)
      })
    }
    case "times":
      return { sent, arrived }
    case "figures":
      return figures()
    case "setLive":
      return timed(question.count, (n) => set(`live:${n}`, n, { ackMode: "live" }))
    case "set":
      return timed(question.count, (n) => set(`plain:${n}`, n))
    case "put":
      for (let n = 0; n < question.count; n++) await set(`${question.name}:${n}`, "x".repeat(question.bytes))
      return
    case "get":
      return timed(question.count, async (n) => {
        const found = await programOf().run(programOf().cache.get(`${question.name}:${n}`))
        if (Option.isNone(found)) throw new Error(`${question.name}:${n} is lost`)
      })
    case "end":
      await program?.close()
      process.disconnect()
  }
}

process.on("message", ({ id, question }: { readonly id: number; readonly question: Question }) => {
  answer(question).then(
    (value) => process.connected && process.send?.({ id, value } satisfies Answer),
    (error: Error) => process.send?.({ id, error: error.stack ?? error.message } satisfies Answer)
  )
})
process.on("disconnect", () => process.exit(0))
