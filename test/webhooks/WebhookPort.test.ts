import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { EgressPolicy } from "../../src/webhooks/EgressPolicy.ts"
import { MemoryOutbox } from "../../src/webhooks/MemoryOutbox.ts"
import { WebhookPort } from "../../src/webhooks/WebhookPort.ts"
import { aWebhook } from "./AWebhook.ts"
import { until } from "./Receiver.ts"

const make = (maxPending = 10) => {
  const limits = {
    maxPending,
    maxPendingPerDestination: 10,
    maxPendingBytes: 100_000,
    maxPendingPerTenant: 10,
    maxPendingBytesPerTenant: 100_000,
    maxDeadLetters: 10
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

  it("answers false and counts when the outbox is full", () => {
    const { outbox, port } = make(1)
    expect([port.offer(aWebhook()), port.offer(aWebhook())]).toEqual([true, false])
    expect(outbox.stats).toMatchObject({ pending: 1, overflow: 1 })
  })

  it.each([
    [{ url: "http://169.254.169.254/" }, "egress", "request to http://169.254.169.254 refused"],
    [{ url: "nonsense" }, "egress", "not an absolute URL"],
    [{ headers: { host: "evil" } }, "invalid", "the header host is not for webhooks to set"],
    [{ id: "a\r\nb" }, "invalid", "the id must be"]
  ] as const)("answers false and lists why when it can never be sent: %j", (change, cause, detail) => {
    const { outbox, port } = make()
    expect(port.offer(aWebhook(change))).toBe(false)
    expect(outbox.deadLetters).toMatchObject([{ cause, detail: expect.stringContaining(detail) }])
    expect(outbox.stats).toMatchObject({ pending: 0, overflow: 0, dead: { [cause]: 1 } })
  })
})
