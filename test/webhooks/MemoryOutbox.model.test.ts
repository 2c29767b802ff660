/**
 * The outbox beside a plain list of entries, through random operations; after each both say the same, and nothing is
 * lost: what was offered is pending, delivered or dead.
 */
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { byteSizeOf, type Webhook } from "../../src/webhooks/Delivery.ts"
import { MemoryOutbox } from "../../src/webhooks/MemoryOutbox.ts"
import type { InFlight } from "../../src/webhooks/WebhookOutbox.ts"
import { scheduleCount } from "../support/Random.ts"
import { aWebhook, tenantCalled } from "./AWebhook.ts"

const limits = {
  maxPending: 12,
  maxPendingPerDestination: 6,
  maxPendingBytes: 4_000,
  maxPendingPerTenant: 5,
  maxPendingBytesPerTenant: 2_500,
  maxDeadLetters: 3,
  maxDeadLettersPerTenant: 2
}
const inFlight = { inFlightMax: 4, inFlightPerDestinationMax: 2 }

interface Known {
  readonly delivery: Webhook
  /** Destination and tenant. */
  readonly queue: string
  attempt: number
  state: "due" | "waiting" | "inFlight"
  /** Place in line while due; time while waiting. */
  at: number
}

class Model {
  /** Dead letters by id, with whose they were. */
  dead: Array<readonly [id: string, tenant: string | undefined]> = []
  readonly all = new Map<string, Known>()
  line = 0

  die({ id, tenant }: Webhook): void {
    const own = this.dead.filter(([, whose]) => whose === tenant?.id)
    const [gone] = tenant !== undefined && own.length >= limits.maxDeadLettersPerTenant ? own : []
    this.dead = [...this.dead.filter((letter) => letter !== gone), [id, tenant?.id] as const].slice(
      -limits.maxDeadLetters
    )
  }

  of(state: Known["state"]): Array<Known> {
    return [...this.all.values()].filter((known) => known.state === state)
  }

  hasRoom(delivery: Webhook, queue: string): boolean {
    const known = [...this.all.values()]
    const bytesWith = (others: Array<Known>) =>
      others.reduce((sum, each) => sum + byteSizeOf(each.delivery), byteSizeOf(delivery))
    const there = known.filter((each) => each.queue === queue).length
    const own = known.filter((each) => each.delivery.tenant?.id === delivery.tenant?.id)
    const hasShare = own.length < limits.maxPendingPerTenant && bytesWith(own) <= limits.maxPendingBytesPerTenant
    return (
      known.length < limits.maxPending &&
      there < limits.maxPendingPerDestination &&
      bytesWith(known) <= limits.maxPendingBytes &&
      (delivery.tenant === undefined || hasShare)
    )
  }
}

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("offer" as const),
      to: fc.nat(3),
      whose: fc.constantFrom("a", "b", undefined),
      length: fc.nat(600)
    })
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("take" as const), laterMs: fc.nat(50) }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("end" as const), which: fc.nat(9), how: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("recover" as const) }) }
)

describe("MemoryOutbox", () => {
  it("holds, hands out and lets go as a plain list does, and loses nothing", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: "max" }), (steps) => {
        const outbox = new MemoryOutbox(limits)
        const model = new Model()
        const flying: Array<InFlight> = []
        let nowMs = 0
        let offers = 0
        let taken = 0

        for (const each of steps) {
          if (each.type === "offer") {
            const destination = `https://d${each.to}`
            const tenant = each.whose === undefined ? {} : { tenant: tenantCalled(each.whose) }
            const delivery = aWebhook({ id: `n${++offers}`, body: "x".repeat(each.length), ...tenant })
            const queue = `${destination} ${each.whose}`
            const hasRoom = model.hasRoom(delivery, queue)
            expect(outbox.offer(delivery, destination)).toBe(hasRoom)
            if (hasRoom) model.all.set(delivery.id, { delivery, queue, attempt: 0, state: "due", at: ++model.line })
            if (hasRoom) taken++
          } else if (each.type === "take") {
            nowMs += each.laterMs
            for (const known of model.of("waiting").sort((a, b) => a.at - b.at)) {
              if (known.at <= nowMs) Object.assign(known, { state: "due", at: ++model.line })
            }
            const got = outbox.takeDue(nowMs, inFlight)
            flying.push(...got)
            for (const { delivery, destination } of got) {
              const known = model.all.get(delivery.id) as Known
              expect(known.queue).toBe(`${destination} ${delivery.tenant?.id}`)
              const ahead = model.of("due").filter((other) => other.queue === known.queue && other.at < known.at)
              expect([known.state, ahead.map((other) => other.delivery.id)]).toEqual(["due", []])
              known.state = "inFlight"
              expect(delivery.attempt).toBe(++known.attempt)
            }
            checkThatAllThatMayFlyDoes(model)
          } else if (each.type === "end" && flying.length > 0) {
            const [{ ticket, delivery }] = flying.splice(each.which % flying.length, 1) as [InFlight]
            const known = model.all.get(delivery.id) as Known
            if (each.how < 2) {
              outbox.retryAt(ticket, nowMs + 10 * each.how)
              Object.assign(known, { state: "waiting", at: nowMs + 10 * each.how })
            } else {
              if (each.how === 2) outbox.delivered(ticket)
              else {
                expect(outbox.dead(ticket, nowMs, "answer", "status 400")).toBe(true)
                model.die(delivery)
              }
              model.all.delete(delivery.id)
            }
            outbox.delivered(ticket) // an end that comes a second time changes nothing
            expect(outbox.dead(ticket, nowMs, "answer", "status 400")).toBe(false)
          } else if (each.type === "recover") {
            expect(outbox.recover()).toBe(flying.length)
            for (const { delivery } of flying.splice(0)) {
              const known = model.all.get(delivery.id) as Known
              Object.assign(known, { state: "due", at: ++model.line, attempt: known.attempt - 1 })
            }
          }
          checkThatTheyAgree(outbox, model, { offers, taken })
        }
      }),
      { numRuns: scheduleCount(300) }
    )
  })
})

const checkThatAllThatMayFlyDoes = (model: Model): void => {
  const flying = model.of("inFlight")
  const atLimit = (queue: string) =>
    flying.filter((known) => known.queue === queue).length >= inFlight.inFlightPerDestinationMax
  const held = model.of("due").filter((known) => !atLimit(known.queue))
  expect(flying.length).toBeLessThanOrEqual(inFlight.inFlightMax)
  if (flying.length < inFlight.inFlightMax) expect(held).toEqual([])
}

const checkThatTheyAgree = (outbox: MemoryOutbox, model: Model, counted: { offers: number; taken: number }): void => {
  const { stats } = outbox
  const all = [...model.all.values()]
  expect(stats.pending).toBe(all.length)
  expect(stats.pendingBytes).toBe(all.reduce((sum, known) => sum + byteSizeOf(known.delivery), 0))
  expect(stats.inFlight).toBe(model.of("inFlight").length)
  expect(stats.offered).toBe(counted.taken)
  expect(stats.offered + stats.overflow).toBe(counted.offers)
  expect(stats.offered).toBe(stats.pending + stats.delivered + stats.dead.answer)
  expect(outbox.nextRetryAtMs()).toBe(Math.min(...model.of("waiting").map((known) => known.at)))
  expect(outbox.deadLetters.map(({ delivery }) => [delivery.id, delivery.tenant?.id])).toEqual(model.dead)
}
