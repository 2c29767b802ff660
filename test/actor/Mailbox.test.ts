/** The bound and its three rules: by themselves, as a random model, and felt by those who send. */
import { Effect, Fiber } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { GenServer, Mailbox, Process } from "../../src/actor/index.ts"
import * as Envelope from "../../src/actor/internal/envelope.ts"
import { behaviour, failure, Pop, Size, Stack, settle, Work } from "./support.ts"

const letter = (payload: unknown, isSignal = false) => new Envelope.Letter(Envelope.info, payload, isSignal)
const taken = (mailbox: Mailbox.Mailbox<Envelope.Letter>) => {
  const payloads: Array<unknown> = []
  for (let item = mailbox.take(); item !== null; item = mailbox.take()) payloads.push(item.payload)
  return payloads
}

describe("a mailbox", () => {
  it("is first in, first out", () => {
    const mailbox = new Mailbox.Mailbox<Envelope.Letter>()
    for (const n of [1, 2, 3]) mailbox.offer(letter(n))
    expect(taken(mailbox)).toEqual([1, 2, 3])
  })

  it("takes as many as it holds and then refuses (reject, backpressure)", () => {
    for (const overflow of ["reject", "backpressure"] as const) {
      const mailbox = new Mailbox.Mailbox<Envelope.Letter>({ capacity: 2, overflow })
      expect([1, 2, 3].map((n) => mailbox.offer(letter(n)))).toEqual([true, true, false])
      expect(taken(mailbox)).toEqual([1, 2])
    }
  })

  it("lets the oldest message make room (dropOldest), never a signal", () => {
    const mailbox = new Mailbox.Mailbox<Envelope.Letter>({ capacity: 2, overflow: "dropOldest" })
    mailbox.push(letter("signal", true))
    for (const n of [1, 2, 3, 4]) expect(mailbox.offer(letter(n))).toBe(true)
    expect(mailbox.counters()).toMatchObject({ depth: 2, dropped: 2, taken: 4 })
    expect(taken(mailbox)).toEqual(["signal", 3, 4])
  })

  it("takes signals beyond its bound, in their order among the messages", () => {
    const mailbox = new Mailbox.Mailbox<Envelope.Letter>({ capacity: 1, overflow: "reject" })
    mailbox.offer(letter(1))
    mailbox.push(letter("a", true))
    mailbox.push(letter("b", true))
    expect([mailbox.size, mailbox.depth]).toEqual([3, 1])
    expect(taken(mailbox)).toEqual([1, "a", "b"])
  })

  it("admits who waits, in order, as soon as there is room; who has gone is passed over", () => {
    const mailbox = new Mailbox.Mailbox<Envelope.Letter>({ capacity: 1 })
    const settled: Array<unknown> = []
    mailbox.offer(letter(1))
    const waiting = [2, 3, 4].map((n) => {
      const item = letter(n)
      item.onSettled = (isTaken) => settled.push([n, isTaken])
      mailbox.park(item)
      return item
    })
    waiting[1]?.abandon()
    expect(mailbox.take()?.payload).toBe(1)
    expect(settled).toEqual([[2, true]])
    expect(taken(mailbox)).toEqual([2, 4])
    expect(mailbox.counters()).toMatchObject({ waiting: 0, waited: 3 })
  })

  it("refuses capacities that make no sense", () => {
    for (const capacity of [0, -1, 1.5, Number.NaN]) {
      expect(() => new Mailbox.Mailbox({ capacity })).toThrow(/at least 1/)
    }
  })

  it("does what a plain array would (random operations against a model)", () => {
    const operation = fc.oneof(
      { weight: 5, arbitrary: fc.record({ op: fc.constant("offer" as const), n: fc.nat() }) },
      { weight: 4, arbitrary: fc.record({ op: fc.constant("take" as const) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("push" as const), n: fc.nat() }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("takeSignal" as const) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("drain" as const) }) }
    )
    const overflows = fc.constantFrom("reject" as const, "dropOldest" as const)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), overflows, fc.array(operation), (capacity, overflow, operations) => {
        const mailbox = new Mailbox.Mailbox<Envelope.Letter>({ capacity, overflow })
        let model: Array<Envelope.Letter> = []
        const messages = () => model.filter((item) => !item.isSignal)
        for (const each of operations) {
          if (each.op === "offer") {
            const item = letter(each.n)
            const isFull = messages().length >= capacity
            if (isFull && overflow === "dropOldest") model.splice(model.indexOf(messages()[0] as Envelope.Letter), 1)
            if (!isFull || overflow === "dropOldest") model.push(item)
            expect(mailbox.offer(item)).toBe(!isFull || overflow === "dropOldest")
          } else if (each.op === "push") {
            const item = letter(each.n, true)
            mailbox.push(item)
            model.push(item)
          } else if (each.op === "take") {
            expect(mailbox.take()).toBe(model.shift() ?? null)
          } else if (each.op === "takeSignal") {
            const first = model.find((item) => item.isSignal) ?? null
            model = model.filter((item) => item !== first)
            expect(mailbox.takeWhere((item) => item.isSignal)).toBe(first)
          } else {
            expect(mailbox.drain()).toEqual(model)
            model = []
          }
          expect([mailbox.size, mailbox.depth]).toEqual([model.length, messages().length])
        }
        expect(mailbox.drain()).toEqual(model)
      })
    )
  })

  it("clears away the senders that have gone, before they are too many", () => {
    const mailbox = new Mailbox.Mailbox<Envelope.Letter>({ capacity: 1 })
    mailbox.offer(letter(0))
    let waitingMax = 0
    const stay: Array<number> = []
    for (let n = 1; n <= 10_000; n++) {
      const item = letter(n)
      mailbox.park(item)
      if (n % 1000 === 0) stay.push(n)
      else item.abandon()
      waitingMax = Math.max(waitingMax, mailbox.waiting)
    }
    expect(waitingMax).toBeLessThanOrEqual(64)
    expect(taken(mailbox)).toEqual([0, ...stay])
    expect(mailbox.counters()).toMatchObject({ waiting: 0, waited: 10_000, taken: 11 })
  })
})

describe("a full mailbox, for those who send", () => {
  const busy = (overflow: Mailbox.Overflow) =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [], { mailbox: { capacity: 2, overflow } })
      yield* Effect.fork(GenServer.call(stack, new Work({ ms: 1000 })))
      yield* settle
      for (const push of ["a", "b"]) expect(yield* GenServer.cast(stack, { push })).toBe(true)
      return stack
    })

  behaviour("backpressure: a cast waits until there is room", () =>
    Effect.gen(function* () {
      const stack = yield* busy("backpressure")
      const waits = yield* Effect.fork(GenServer.cast(stack, { push: "c" }))
      yield* Effect.sleep(500)
      expect([waits.unsafePoll(), Process.info(stack).mailbox.waiting]).toEqual([null, 1])
      expect(yield* Fiber.join(waits)).toBe(true)
      yield* settle
      expect(yield* GenServer.call(stack, new Pop())).toBe("c")
    })
  )

  behaviour("backpressure: a cast that is given up while it waits is never served", () =>
    Effect.gen(function* () {
      const stack = yield* busy("backpressure")
      const waits = yield* Effect.fork(GenServer.cast(stack, { push: "c" }))
      yield* settle
      yield* Fiber.interrupt(waits)
      yield* Effect.sleep(2000)
      expect(yield* GenServer.call(stack, new Size())).toBe(2)
    })
  )

  behaviour("backpressure: who waits for room learns that the process has ended", () =>
    Effect.gen(function* () {
      const stack = yield* busy("backpressure")
      const waits = yield* Effect.fork(GenServer.cast(stack, { push: "c" }))
      const asks = yield* Effect.fork(failure(GenServer.call(stack, new Size())))
      yield* settle
      yield* Process.exit(stack, { _tag: "killed" })
      expect([yield* Fiber.join(waits), yield* Fiber.join(asks)]).toEqual([false, "ProcessExited"])
    })
  )

  behaviour("backpressure: a call waits for room within its time-out", () =>
    Effect.gen(function* () {
      const stack = yield* busy("backpressure")
      expect(yield* failure(GenServer.call(stack, new Size(), { timeout: 500 }))).toBe("CallTimeout")
      expect(yield* GenServer.call(stack, new Size(), { timeout: 1000 })).toBe(2)
    })
  )

  behaviour("backpressure: synchronous doors cannot wait and are refused, and counted", () =>
    Effect.gen(function* () {
      const stack = yield* busy("backpressure")
      expect(GenServer.unsafeOffer(stack, { push: "c" })).toBe(false)
      expect(Process.info(stack).mailbox).toMatchObject({ depth: 2, rejected: 1, depthMax: 2 })
    })
  )

  behaviour("reject: casts are false, calls get MailboxFull at once, both counted", () =>
    Effect.gen(function* () {
      const stack = yield* busy("reject")
      expect(yield* GenServer.cast(stack, { push: "c" })).toBe(false)
      const error = yield* Effect.flip(GenServer.call(stack, new Size()))
      expect(error).toMatchObject({ _tag: "MailboxFull", capacity: 2 })
      expect(Process.info(stack).mailbox.rejected).toBe(2)
    })
  )

  behaviour("dropOldest: the newest get in, and the caller of a dropped call gets MailboxFull", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [], { mailbox: { capacity: 2, overflow: "dropOldest" } })
      yield* Effect.fork(GenServer.call(stack, new Work({ ms: 1000 })))
      yield* settle
      const dropped = yield* Effect.fork(failure(GenServer.call(stack, new Size())))
      yield* settle
      for (const push of ["a", "b"]) expect(yield* GenServer.cast(stack, { push })).toBe(true)
      expect(yield* Fiber.join(dropped)).toBe("MailboxFull")
      yield* Effect.sleep(1000)
      expect(yield* GenServer.call(stack, new Size())).toBe(2)
    })
  )

  behaviour("signals get in all the same: a full server can be stopped", () =>
    Effect.gen(function* () {
      const stack = yield* busy("reject")
      yield* GenServer.stop(stack)
      expect(Process.isAlive(stack)).toBe(false)
    })
  )
})
