import type { LookupAddress } from "node:dns"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Either } from "effect"
import { request } from "undici"
import * as EgressAgent from "../../src/webhooks/EgressAgent.ts"
import { EgressPolicy } from "../../src/webhooks/EgressPolicy.ts"
import { receiver } from "./Receiver.ts"

/** Requests `url` through an agent alone, without `checkUrl`; the status, or what was refused. */
const through = (url: string, allow: string, ...answers: ReadonlyArray<ReadonlyArray<string>>) =>
  Effect.gen(function* () {
    const asked: Array<string> = []
    const resolve = (hostname: string): Promise<ReadonlyArray<LookupAddress>> => {
      const addresses = answers[Math.min(asked.push(hostname), answers.length) - 1] ?? []
      return Promise.resolve(addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })))
    }
    const policy = Either.getOrThrow(EgressPolicy.parse([allow]))
    const agent = yield* EgressAgent.make({ policy, connectionsPerOrigin: 1, connectTimeoutMs: 5_000, resolve })
    const send = Effect.tryPromise({
      try: async () => {
        const { statusCode, body } = await request(url, { dispatcher: agent, reset: true })
        await body.dump()
        return statusCode
      },
      catch: (error) => error as Error
    })
    return { send, asked }
  })

describe("EgressAgent", () => {
  it.scoped("connects to the address that was checked, whatever the system would resolve", () =>
    Effect.gen(function* () {
      const { port, requests } = yield* receiver()
      const { send, asked } = yield* through(`http://hooks.example:${port}/`, "127.0.0.1", ["127.0.0.1"])
      expect(yield* send).toBe(200)
      expect(asked).toEqual(["hooks.example"])
      expect(requests[0]?.headers.host).toBe(`hooks.example:${port}`)
    })
  )

  it.scoped("asks anew for each connection, so a name that moves to a private address is refused then", () =>
    Effect.gen(function* () {
      const { port, requests } = yield* receiver()
      const answers = [["127.0.0.1"], ["127.0.0.2"]]
      const { send } = yield* through(`http://rebind.example:${port}/`, "127.0.0.1", ...answers)
      expect(yield* send).toBe(200)
      expect(yield* Effect.flip(send)).toMatchObject({
        _tag: "EgressRefused",
        destination: `http://rebind.example:${port}`,
        reason: expect.stringContaining("rebind.example leads to 127.0.0.2")
      })
      expect(requests.length).toBe(1)
    })
  )

  it.scoped("uses of several addresses only those that are allowed", () =>
    Effect.gen(function* () {
      const { port, requests } = yield* receiver()
      const addresses = ["10.255.255.1", "::1", "127.0.0.1"]
      const { send } = yield* through(`http://mixed.example:${port}/`, "127.0.0.1", addresses)
      expect(yield* send).toBe(200)
      expect(requests.length).toBe(1)
    })
  )

  it.scoped("refuses a name without an address", () =>
    Effect.gen(function* () {
      const { send } = yield* through("http://none.example/", "10.0.0.1", [])
      expect(yield* Effect.flip(send)).toMatchObject({ reason: "none.example has no address" })
    })
  )

  for (const host of ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]", "localhost"]) {
    it.scoped(`refuses ${host} by itself, without a lookup of literal addresses`, () =>
      Effect.gen(function* () {
        const { port, requests } = yield* receiver()
        const { send, asked } = yield* through(`http://${host}:${port}/`, "10.0.0.1", ["127.0.0.1"])
        expect(yield* Effect.flip(send)).toMatchObject({ _tag: "EgressRefused" })
        expect(asked).toEqual(host === "localhost" ? ["localhost"] : [])
        expect(requests).toEqual([])
      })
    )
  }

  it.scoped("connects to a literal address on the port that is allowed, and to no other", () =>
    Effect.gen(function* () {
      const [open, closed] = [yield* receiver(), yield* receiver()]
      const allow = `127.0.0.1:${open.port}`
      expect(yield* (yield* through(open.url, allow)).send).toBe(200)
      expect(yield* Effect.flip((yield* through(closed.url, allow)).send)).toMatchObject({ _tag: "EgressRefused" })
    })
  )
})
