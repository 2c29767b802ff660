import { describe, expect, it } from "vitest"
import { MemoryOutbox, type MemoryOutboxLimits } from "../../src/webhooks/MemoryOutbox.ts"
import { aWebhook, tenantCalled } from "./AWebhook.ts"

const outboxOf = (limits: Partial<MemoryOutboxLimits> = {}) =>
  new MemoryOutbox({
    maxPending: 100,
    maxPendingPerDestination: 100,
    maxPendingBytes: 1_000_000,
    maxPendingPerTenant: 100,
    maxPendingBytesPerTenant: 1_000_000,
    maxDeadLetters: 10,
    maxDeadLettersPerTenant: 10,
    ...limits
  })
const offer = (outbox: MemoryOutbox, id: string, destination: string) => outbox.offer(aWebhook({ id }), destination)
const take = (outbox: MemoryOutbox, inFlightMax: number, inFlightPerDestinationMax: number) =>
  outbox.takeDue(0, { inFlightMax, inFlightPerDestinationMax }).map(({ delivery }) => delivery.id)

describe("MemoryOutbox", () => {
  it("gives destinations their turn, each in its own order, with none over its limit", () => {
    const outbox = outboxOf()
    for (const id of ["a1", "a2", "a3", "b1", "c1", "c2"]) offer(outbox, id, id.charAt(0))
    expect(take(outbox, 4, 2)).toEqual(["a1", "b1", "c1", "a2"])
    expect(take(outbox, 6, 2)).toEqual(["c2"])
  })

  it("refuses what goes over its limits in all, to one destination, or in bytes, and counts it", () => {
    const outbox = outboxOf({ maxPending: 3, maxPendingPerDestination: 2 })
    expect(["a", "a", "a", "b", "b"].map((destination, n) => offer(outbox, `n${n}`, destination))).toEqual([
      true,
      true,
      false,
      true,
      false
    ])
    expect(outbox.stats).toMatchObject({ offered: 3, overflow: 2, pending: 3 })

    const small = outboxOf({ maxPendingBytes: 1_000 })
    expect(small.offer(aWebhook({ body: "x".repeat(1_000) }), "a")).toBe(false)
    expect(small.offer(aWebhook({ body: "x" }), "a")).toBe(true)
  })

  it("gives a tenant its share and no more, whatever room there is, and each tenant its own turn", () => {
    const outbox = outboxOf({ maxPendingPerTenant: 2 })
    const offerFor = (tenant: string, id: string) => outbox.offer(aWebhook({ id, tenant: tenantCalled(tenant) }), "a")
    expect(["a1", "a2", "a3"].map((id) => offerFor("acme", id))).toEqual([true, true, false])
    expect(offerFor("umbrella", "u1")).toBe(true)
    expect(offer(outbox, "n1", "a")).toBe(true)
    expect(take(outbox, 4, 1)).toEqual(["a1", "u1", "n1"])
    expect(offerFor("acme", "a4")).toBe(false) // one on its way is still one
    expect(outbox.stats).toMatchObject({ offered: 4, overflow: 2 })
  })

  it("has room again when a delivery has ended", () => {
    const outbox = outboxOf({ maxPending: 1 })
    offer(outbox, "n1", "a")
    const [sent] = outbox.takeDue(0, { inFlightMax: 1, inFlightPerDestinationMax: 1 })
    expect(offer(outbox, "n2", "a")).toBe(false)
    outbox.delivered(sent?.ticket as number)
    expect(offer(outbox, "n2", "a")).toBe(true)
  })

  it("keeps deliveries apart that carry the same id", () => {
    const outbox = outboxOf()
    offer(outbox, "same", "a")
    offer(outbox, "same", "b")
    const [first] = outbox.takeDue(0, { inFlightMax: 2, inFlightPerDestinationMax: 1 })
    outbox.delivered(first?.ticket as number)
    expect(outbox.stats).toMatchObject({ pending: 1, inFlight: 1, delivered: 1 })
  })

  it("keeps the last dead letters without what may carry a secret: URLs, bodies and headers", () => {
    const outbox = outboxOf({ maxDeadLetters: 2 })
    for (const id of ["n1", "n2", "n3"]) offer(outbox, id, "a")
    for (const { ticket } of outbox.takeDue(0, { inFlightMax: 9, inFlightPerDestinationMax: 9 })) {
      outbox.dead(ticket, 5, "answer", "status 410")
    }
    const { url: _url, body: _body, headers: _headers, ...rest } = aWebhook({ id: "n3" })
    expect(outbox.deadLetters.map(({ delivery }) => delivery.id)).toEqual(["n2", "n3"])
    expect(outbox.deadLetters[1]).toEqual({
      delivery: { ...rest, attempt: 1 },
      destination: "a",
      diedAtMs: 5,
      cause: "answer",
      detail: "status 410"
    })
    expect(outbox.stats.dead).toEqual({ answer: 3, attempts: 0, egress: 0, invalid: 0 })
  })

  it("keeps of each tenant its share of dead letters, and of one that has more its own last ones", () => {
    const outbox = outboxOf({ maxDeadLetters: 6, maxDeadLettersPerTenant: 2 })
    const bury = (id: string, tenant?: string) =>
      outbox.bury(
        aWebhook({ id, ...(tenant === undefined ? {} : { tenant: tenantCalled(tenant) }) }),
        "a",
        "egress",
        ""
      )
    const ids = () => outbox.deadLetters.map(({ delivery }) => delivery.id)
    bury("n1")
    bury("u1", "umbrella")
    for (let n = 1; n <= 50; n++) bury(`a${n}`, "acme")
    expect(ids()).toEqual(["n1", "u1", "a49", "a50"])
    for (const id of ["n2", "n3", "n4"]) bury(id) // nobody's have all that is left
    expect(ids()).toEqual(["u1", "a49", "a50", "n2", "n3", "n4"])
    bury("a51", "acme") // and a tenant at its share takes nothing from them
    expect(ids()).toEqual(["u1", "a50", "n2", "n3", "n4", "a51"])
    expect(outbox.stats.dead.egress).toBe(56)
  })

  it("answers whether a webhook was given up: not one that is on its way no more", () => {
    const outbox = outboxOf()
    offer(outbox, "n1", "a")
    const [sent] = outbox.takeDue(0, { inFlightMax: 1, inFlightPerDestinationMax: 1 })
    outbox.recover()
    expect(outbox.dead(sent?.ticket as number, 0, "attempts", "")).toBe(false)
    const [again] = outbox.takeDue(0, { inFlightMax: 1, inFlightPerDestinationMax: 1 })
    const answers = [1, 2].map(() => outbox.dead(again?.ticket as number, 0, "attempts", ""))
    expect([answers, outbox.deadLetters.length]).toEqual([[true, false], 1])
  })

  it("lists and counts what was never fit to be taken in", () => {
    const outbox = outboxOf()
    outbox.bury(aWebhook({ createdAtMs: 7 }), "http://10.0.0.1", "egress", "not public")
    expect(outbox.deadLetters).toMatchObject([
      { delivery: { attempt: 0 }, destination: "http://10.0.0.1", diedAtMs: 7, cause: "egress" }
    ])
    expect(outbox.stats).toMatchObject({ offered: 0, pending: 0, dead: { egress: 1 } })
  })
})
