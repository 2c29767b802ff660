import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { EgressPolicy } from "../../src/webhooks/EgressPolicy.ts"
import { MemoryOutbox } from "../../src/webhooks/MemoryOutbox.ts"
import { type GivenUp, WebhookPort } from "../../src/webhooks/WebhookPort.ts"
import { aWebhook } from "./AWebhook.ts"
import { until } from "./Receiver.ts"

const make = (maxPending = 10) => {
  const limits = {
    maxPending,
    maxPendingPerDestination: 10,
    maxPendingBytes: 100_000,
    maxPendingPerTenant: 10,
    maxPendingBytesPerTenant: 100_000,
    maxDeadLetters: 10,
    maxDeadLettersPerTenant: 10
  }
  const outbox = new MemoryOutbox(limits)
  return { outbox, port: new WebhookPort(outbox, EgressPolicy.publicOnly) }
}

describe("WebhookPort", () => {
  it.effect(
    "wakes the dispatcher once for all offers of a turn, and not before that turn and its microtasks are over",
    () =>
      Effect.gen(function* () {
        const { outbox, port } = make()
        let wakes = 0
        port.attach(() => wakes++)
        const offers = [port.offer(aWebhook()), port.offer(aWebhook()), port.offer(aWebhook())]
        expect([offers, wakes, outbox.stats.pending]).toEqual([[true, true, true], 0, 3])
        yield* Effect.promise(() => Promise.resolve())
        expect(wakes).toBe(0)
        yield* until(() => wakes > 0)
        expect(wakes).toBe(1)
        port.offer(aWebhook())
        yield* until(() => wakes > 1)
      })
  )

  it.effect("keeps what is offered while there is no dispatcher, and wakes only the one that is there now", () =>
    Effect.gen(function* () {
      const { outbox, port } = make()
      const woken: Array<string> = []
      const detachFirst = port.attach(() => woken.push("first"))
      const detachSecond = port.attach(() => woken.push("second"))
      detachFirst()
      port.offer(aWebhook())
      yield* until(() => woken.length > 0)
      detachSecond()
      expect(port.offer(aWebhook())).toBe(true)
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      expect([woken, outbox.stats.pending]).toEqual([["second"], 2])
    })
  )

  it("tells all who listen of what is given up, until they have enough", () => {
    const { port } = make()
    const heard: Array<string> = []
    const listener = (name: string) => ({ onGivenUp: ({ reason }: GivenUp) => heard.push(`${name} ${reason}`) })
    const stops = [port.listen(listener("a")), port.listen(listener("b"))]
    const webhook = { delivery: { ...aWebhook(), attempt: 1 }, destination: "https://hooks.example" }
    port.giveUp({ ...webhook, reason: "once" })
    stops[0]?.()
    port.giveUp({ ...webhook, reason: "again" })
    expect(heard).toEqual(["a once", "b once", "b again"])
  })

  it("answers false and counts when the outbox is full", () => {
    const { outbox, port } = make(1)
    expect([port.offer(aWebhook()), port.offer(aWebhook())]).toEqual([true, false])
    expect(outbox.stats).toMatchObject({ pending: 1, overflow: 1 })
  })

  it.each([
    [{ url: "http://10.0.0.1/?a" }, "egress", "http://10.0.0.1", "request to http://10.0.0.1 refused"],
    [{ url: "nonsense" }, "egress", "an unreadable URL", "not an absolute URL"],
    [{ headers: { host: "evil" } }, "invalid", "https://hooks.example", "the header host is not for webhooks to set"],
    [{ id: "a\r\nb" }, "invalid", "https://hooks.example", "the id must be"]
  ] as const)("answers false and lists why when it can never be sent: %j", (change, cause, destination, detail) => {
    const { outbox, port } = make()
    const heard: Array<unknown> = []
    port.listen({ onGivenUp: (webhook) => heard.push(webhook) })
    expect(port.offer(aWebhook(change))).toBe(false)
    expect(outbox.deadLetters).toMatchObject([{ cause, destination, detail: expect.stringContaining(detail) }])
    expect(heard).toEqual([]) // whoever offered it has the answer
    expect(outbox.stats).toMatchObject({ pending: 0, overflow: 0, dead: { [cause]: 1 } })
  })
})
