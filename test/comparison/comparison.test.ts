/** What the scripts beside this file show, as assertions: where others go wrong, and that we do not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { describeWithRedis } from "../servers/describeWith.ts"
import { type RedisServer, startRedis } from "../servers/Redis.ts"
import * as concurrentWrites from "./concurrentWrites.ts"
import * as lostTail from "./lostTail.ts"
import { ours } from "./ours.ts"
import { Database, isFresh } from "./Story.ts"
import * as staleSetRace from "./staleSetRace.ts"

describe("an invalidation during a load", () => {
  it("is overwritten by the load in effect/Cache", async () => {
    expect(await staleSetRace.effectCache()).toMatchObject({ truth: ["2"], read: { it: "1" } })
  })

  it("is overwritten by the load in cacheable", async () => {
    expect(await staleSetRace.cacheable()).toMatchObject({ truth: ["2"], read: { it: "1" } })
  })
})

describeWithRedis("beside other libraries over a real Redis", () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  it("an invalidation during a load is overwritten by the load in BentoCache, for both instances", async () => {
    expect(await staleSetRace.bentoCache(redis.port)).toMatchObject({ truth: ["2"], read: { a: "1", b: "1" } })
  })

  it("an invalidation that is lost while the receiver is disconnected stays lost in BentoCache", async () => {
    const { read, truth } = await lostTail.bentoCache(redis.port)
    expect(read.a).toBe(truth[0])
    expect(read.b).toBe(String(Number(truth[0]) - 1))
  })

  it("two writes at the same time remove each other in BentoCache", async () => {
    expect((await concurrentWrites.bentoCache(redis.port)).read).toEqual({ a: undefined, b: undefined })
  })

  it("two writes at the same time are swapped in cacheable", async () => {
    expect((await concurrentWrites.cacheable()).read).toEqual({ a: "blue", b: "red" })
  })

  it("an invalidation during a load wins in Mimosa", async () => {
    expect(await ours.staleSetRace(redis.port, new Database())).toSatisfy(isFresh)
  })

  it("an invalidation that is lost while the receiver is disconnected is found by Mimosa", async () => {
    expect(await ours.lostTail(redis.port)).toSatisfy(isFresh)
  })

  it("of two writes at the same time exactly one is left in Mimosa, the same for both", async () => {
    expect(await ours.concurrentWrites(redis.port)).toSatisfy(isFresh)
  })
})
