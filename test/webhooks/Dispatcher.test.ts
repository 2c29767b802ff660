/** The dispatcher under its supervisor, against real HTTP servers, with time and chance that the tests hold. */
import type { ServerResponse } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import { Effect, HashMap, Logger, Random, Scope, TestClock } from "effect"
import { ExitReason, Process, Supervisor } from "../../src/actor/index.ts"
import type { Resolve } from "../../src/webhooks/EgressAgent.ts"
import { type GivenUp, type WebhookPort, Webhooks } from "../../src/webhooks/index.ts"
import { aWebhook, tenantCalled } from "./AWebhook.ts"
import { type Answer, quiet, receiver, status, until } from "./Receiver.ts"

const settings = { userAgent: "mimosa/0.0.0-test", egressAllow: ["127.0.0.1"] }

/** Webhooks with a running dispatcher, whose waits are the shortest that chance allows: 0.5, 2, 8 and 32 s. */
const running = (change: Partial<Webhooks.WebhooksSettings> = {}, resolve?: Resolve) =>
  Effect.gen(function* () {
    const webhooks = yield* Effect.provide(Webhooks.Webhooks, Webhooks.layer({ ...settings, ...change }, resolve))
    const supervisor = yield* Supervisor.start({ children: [webhooks.child] }).pipe(
      Effect.withRandom(Random.fixed([0]))
    )
    return { ...webhooks, ...webhooks.outbox, supervisor, stats: webhooks.outbox.stats }
  })

/** What the port tells of. */
const listening = (port: WebhookPort): Array<GivenUp> => {
  const heard: Array<GivenUp> = []
  port.listen({ onGivenUp: (webhook) => heard.push(webhook) })
  return heard
}

const dispatcherOf = (tree: Supervisor.TreeNode | null) => {
  const webhooks = tree?.children?.find(({ name }) => name === "webhooks")
  return webhooks?.children?.find(({ name }) => name === "dispatcher")
}

const processCalled = (label: string) => Process.list().find((pid) => pid.label === label && Process.isAlive(pid))

/** Answers nothing until it is told to, and then all that came in the meantime. */
const held = () => {
  const open: Array<ServerResponse> = []
  const answer: Answer = (response) => void open.push(response)
  const release = () => {
    for (const response of open.splice(0)) response.writeHead(200).end()
  }
  return { open, answer, release }
}

describe("a delivery", () => {
  it.scoped("is posted as JSON with its id, the time of the attempt, and the caller's headers", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* receiver(status(204))
      const { port, stats } = yield* running()
      yield* TestClock.setTime(1_700_000_000_999)
      port.offer(aWebhook({ id: "boot-7-0-expiry", url, body: '{"key":"ä"}', headers: { "x-team": "a" } }))
      yield* until(() => stats.delivered === 1)
      expect(requests).toMatchObject([
        {
          method: "POST",
          path: "/hook",
          body: '{"key":"ä"}',
          headers: {
            "webhook-id": "boot-7-0-expiry",
            "webhook-timestamp": "1700000000",
            "content-type": "application/json",
            "content-length": "12",
            "user-agent": "mimosa/0.0.0-test",
            "x-team": "a"
          }
        }
      ])
      expect(stats).toMatchObject({ pending: 0, pendingBytes: 0, inFlight: 0, retried: 0 })
    })
  )

  it.scoped("is tried again with the same id, later each time, until it is taken", () =>
    Effect.gen(function* () {
      const { url, requests, ids } = yield* receiver(status(500, 503, 408, 200))
      const { port, stats } = yield* running()
      port.offer(aWebhook({ id: "same", url }))
      for (const [n, waitMs] of [500, 2_000, 8_000].entries()) {
        yield* until(() => stats.retried === n + 1)
        yield* TestClock.adjust(waitMs - 1)
        yield* quiet
        expect(requests.length).toBe(n + 1)
        yield* TestClock.adjust(1)
      }
      yield* until(() => stats.delivered === 1)
      expect(ids()).toEqual(["same", "same", "same", "same"])
      expect(requests.map(({ headers }) => headers["webhook-timestamp"])).toEqual(["0", "0", "2", "10"])
    })
  )

  it.scoped("is given up after its last attempt, and listed with the reason", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* receiver(status(500))
      const { port, outbox, stats } = yield* running()
      const heard = listening(port)
      port.offer(aWebhook({ id: "n1", url }))
      for (const [n, waitMs] of [500, 2_000, 8_000, 32_000].entries()) {
        yield* until(() => stats.retried === n + 1)
        expect(heard).toEqual([])
        yield* TestClock.adjust(waitMs)
      }
      yield* until(() => stats.dead.attempts === 1)
      expect(requests.length).toBe(5)
      const destination = new URL(url).origin
      expect(heard).toEqual([
        { delivery: { ...aWebhook({ id: "n1", url }), attempt: 5 }, destination, reason: "status 500" }
      ])
      expect(outbox.deadLetters).toMatchObject([{ delivery: { id: "n1", attempt: 5 }, detail: "status 500" }])
      expect(stats).toMatchObject({ pending: 0, retried: 4, delivered: 0 })
    })
  )

  it.scoped("is given up at once when the receiver does not want it", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* receiver(status(410))
      const { port, outbox, stats } = yield* running()
      port.offer(aWebhook({ url }))
      yield* until(() => stats.dead.answer === 1)
      expect([requests.length, outbox.deadLetters[0]?.detail]).toEqual([1, "status 410"])
    })
  )

  it.scoped("waits as long as Retry-After asks", () =>
    Effect.gen(function* () {
      const { url, requests } = yield* receiver((response, n) =>
        response.writeHead(n === 0 ? 429 : 200, { "retry-after": "30" }).end()
      )
      const { port, stats } = yield* running()
      port.offer(aWebhook({ url }))
      yield* until(() => stats.retried === 1)
      yield* TestClock.adjust(29_999)
      yield* quiet
      expect(requests.length).toBe(1)
      yield* TestClock.adjust(1)
      yield* until(() => stats.delivered === 1)
    })
  )

  it.scoped("follows no redirect: it counts as a failed attempt", () =>
    Effect.gen(function* () {
      const target = yield* receiver()
      const { url } = yield* receiver((response) => response.writeHead(307, { location: target.url }).end())
      const { port, stats } = yield* running()
      port.offer(aWebhook({ url }))
      yield* until(() => stats.retried === 1)
      expect(target.requests).toEqual([])
    })
  )

  it.scoped("fails when nobody listens, and says so: to an operator with the address, to a tenant without", () =>
    Effect.gen(function* () {
      const gone = yield* Effect.scoped(receiver())
      const { port, outbox, stats } = yield* running({ retry: { ...Webhooks.defaultSettings.retry, attemptsMax: 1 } })
      const heard = listening(port)
      port.offer(aWebhook({ url: gone.url }))
      yield* until(() => stats.dead.attempts === 1)
      port.offer(aWebhook({ url: gone.url, tenant: tenantCalled("acme") }))
      yield* until(() => stats.dead.attempts === 2)
      const detail = `connect ECONNREFUSED 127.0.0.1:${gone.port}`
      expect(outbox.deadLetters.map((letter) => letter.detail)).toEqual([detail, detail])
      expect(heard.map(({ reason }) => reason)).toEqual([detail, "ECONNREFUSED"])
    })
  )

  it.scoped("that is given up is a line of the log: whose it is and where it went, and no more of the URL", () =>
    Effect.gen(function* () {
      const { url } = yield* receiver(status(410))
      const lines: Array<unknown> = []
      const logger = Logger.make(({ message, annotations }) => {
        lines.push([message, Object.fromEntries(HashMap.toEntries(annotations))])
      })
      const { port } = yield* running().pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      port.offer(aWebhook({ id: "n1", url: `${url}?key=secret`, tenant: tenantCalled("acme") }))
      yield* until(() => lines.length === 1)
      port.offer(aWebhook({ id: "n2", url }))
      yield* until(() => lines.length === 2)
      const message = ["webhook given up; the TRIGGER LOG of whoever it belongs to names it"]
      const facts = { destination: new URL(url).origin, trigger: "test", attempt: 1, reason: "status 410" }
      expect(lines).toEqual([
        [message, expect.objectContaining({ ...facts, webhook: "n1", tenant: "acme" })],
        [message, expect.objectContaining({ ...facts, webhook: "n2" })]
      ])
      expect(JSON.stringify(lines[1])).not.toContain("tenant")
      expect(JSON.stringify(lines)).not.toContain("secret")
    })
  )

  it.scoped("fails when there is no answer in time", () =>
    Effect.gen(function* () {
      const { answer, open } = held()
      const { url } = yield* receiver(answer)
      const { port, outbox, stats } = yield* running({ retry: { ...Webhooks.defaultSettings.retry, attemptsMax: 1 } })
      port.offer(aWebhook({ url }))
      yield* until(() => open.length === 1)
      yield* TestClock.adjust(9_999)
      expect(stats.inFlight).toBe(1)
      yield* TestClock.adjust(1)
      yield* until(() => stats.dead.attempts === 1)
      expect(outbox.deadLetters[0]?.detail).toBe("no answer within 10000 ms")
    })
  )

  it.scoped("is delivered by its status, however much the receiver goes on to say", () =>
    Effect.gen(function* () {
      const flood: Answer = (response) => {
        const more = () => {
          while (!response.destroyed && response.write("x".repeat(65_536)));
        }
        response.writeHead(200).on("drain", more)
        more()
      }
      const { url } = yield* receiver(flood)
      const { port, stats } = yield* running()
      port.offer(aWebhook({ url }))
      yield* until(() => stats.delivered === 1)
    })
  )

  it.scoped("is delivered by its status, however long the receiver takes to end", () =>
    Effect.gen(function* () {
      let begun = 0
      const { url } = yield* receiver((response) => response.writeHead(200).write("never ended", () => begun++))
      const { port, stats } = yield* running()
      port.offer(aWebhook({ url }))
      yield* until(() => begun === 1)
      yield* quiet
      expect(stats.delivered).toBe(0)
      yield* TestClock.adjust("1 second")
      yield* until(() => stats.delivered === 1)
    })
  )

  it.scoped("to a name that leads to a private address is given up without a connection", () =>
    Effect.gen(function* () {
      const { port: accepting, requests } = yield* receiver()
      const resolve: Resolve = () => Promise.resolve([{ address: "127.0.0.1", family: 4 }])
      const { port, outbox, stats } = yield* running({ egressAllow: [] }, resolve)
      const heard = listening(port)
      const url = `http://hooks.example:${accepting}/`
      expect(port.offer(aWebhook({ url }))).toBe(true)
      yield* until(() => stats.dead.egress === 1)
      expect(port.offer(aWebhook({ url, tenant: tenantCalled("acme") }))).toBe(true)
      yield* until(() => stats.dead.egress === 2)
      expect(outbox.deadLetters[0]?.detail).toContain("hooks.example leads to 127.0.0.1")
      expect(heard.map(({ reason }) => reason)).toEqual([
        outbox.deadLetters[0]?.detail,
        "it leads to no address that may be reached from here"
      ])
      expect(requests).toEqual([])
    })
  )
})

describe("the dispatcher", () => {
  it.scoped("keeps within its limits, in all and to one destination, and fills each place that gets free", () =>
    Effect.gen(function* () {
      const [a, b, c] = [held(), held(), held()]
      const to = { a: yield* receiver(a.answer), b: yield* receiver(b.answer), c: yield* receiver(c.answer) }
      const { port, stats } = yield* running({ inFlightMax: 5, inFlightPerDestinationMax: 2 })
      for (const { url } of Object.values(to)) for (let n = 0; n < 4; n++) port.offer(aWebhook({ url }))
      const open = () => [a, b, c].map((each) => each.open.length)
      yield* until(() => open().join() === "2,2,1")
      yield* quiet
      expect([open(), stats.inFlight]).toEqual([[2, 2, 1], 5])
      a.release()
      yield* until(() => open().join() === "1,2,2" || open().join() === "2,2,1")
      yield* quiet
      expect(stats).toMatchObject({ delivered: 2, inFlight: 5, pending: 10 })
      while (stats.pending > 0) {
        for (const each of [a, b, c]) each.release()
        yield* quiet
      }
      expect(Object.values(to).map(({ requests }) => requests.length)).toEqual([4, 4, 4])
    })
  )

  for (const reason of [ExitReason.killed, ExitReason.crashWith("test")]) {
    it.scoped(`comes back when it is ended (${ExitReason.format(reason)}), and sends what was in flight anew`, () =>
      Effect.gen(function* () {
        const { answer, open, release } = held()
        const { url, ids } = yield* receiver(answer)
        const { port, stats, supervisor } = yield* running({ inFlightPerDestinationMax: 2 })
        for (const id of ["n1", "n2", "n3"]) port.offer(aWebhook({ id, url }))
        yield* until(() => open.length === 2)
        const first = processCalled("dispatcher")
        if (first !== undefined) Process.unsafeExit(first, reason)
        yield* until(() => stats.recovered === 2)
        port.offer(aWebhook({ id: "n4", url }))
        while (stats.delivered < 4) {
          yield* quiet
          release()
        }
        expect(ids().slice(0, 2)).toEqual(["n1", "n2"])
        expect(ids().slice(2).sort()).toEqual(["n1", "n2", "n3", "n4"])
        expect(stats).toMatchObject({ offered: 4, pending: 0, retried: 0 })
        expect(dispatcherOf(yield* Supervisor.tree(supervisor))).toMatchObject({ restarts: 1, status: "running" })
      })
    )
  }

  it.scoped("does not count an attempt that was cut off by its own end", () =>
    Effect.gen(function* () {
      const { answer, open } = held()
      const { url } = yield* receiver(answer)
      const { port, stats } = yield* running({ retry: { ...Webhooks.defaultSettings.retry, attemptsMax: 1 } })
      port.offer(aWebhook({ url }))
      yield* until(() => open.length === 1)
      const first = processCalled("dispatcher")
      if (first !== undefined) Process.unsafeExit(first, ExitReason.killed)
      yield* until(() => open.length === 2)
      open[1]?.end()
      yield* until(() => stats.delivered === 1)
    })
  )

  it.scoped("survives an attempt that crashes, which then has failed", () =>
    Effect.gen(function* () {
      const { answer, open } = held()
      const { url } = yield* receiver(answer)
      const { port, outbox, stats, supervisor } = yield* running({
        retry: { ...Webhooks.defaultSettings.retry, attemptsMax: 1 }
      })
      const heard = listening(port)
      port.offer(aWebhook({ url }))
      yield* until(() => open.length === 1)
      const attempt = processCalled(`attempt ${new URL(url).origin}`)
      if (attempt !== undefined) Process.unsafeExit(attempt, ExitReason.killed)
      yield* until(() => stats.dead.attempts === 1)
      expect(outbox.deadLetters[0]?.detail).toBe("the attempt was cut off (killed)")
      expect(heard).toMatchObject([{ reason: "the attempt was cut off (killed)" }])
      expect(dispatcherOf(yield* Supervisor.tree(supervisor))).toMatchObject({ restarts: 0, status: "running" })
    })
  )
})

describe("a shutdown", () => {
  const stopping = (settle: (hold: ReturnType<typeof held>) => Effect.Effect<void>) =>
    Effect.gen(function* () {
      const lines: Array<readonly [message: unknown, count: unknown]> = []
      const logger = Logger.make(({ message, annotations }) => {
        lines.push([message, HashMap.unsafeGet(annotations, "count")])
      })
      const hold = held()
      const { url } = yield* receiver(hold.answer)
      const scope = yield* Scope.make()
      const { port, stats } = yield* running({ inFlightPerDestinationMax: 2 }).pipe(
        Scope.extend(scope),
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      for (const id of ["n1", "n2", "n3"]) port.offer(aWebhook({ id, url }))
      yield* until(() => hold.open.length === 2)
      const closing = yield* Effect.fork(Scope.close(scope, { _tag: "Success", value: undefined } as never))
      yield* quiet
      yield* settle(hold)
      yield* closing
      return { stats, lines, sent: hold.open.length }
    })

  it.scoped("waits for what is in flight, takes nothing more, and says how much is left", () =>
    Effect.gen(function* () {
      const { stats, lines } = yield* stopping(({ release }) => Effect.sync(release))
      expect(stats).toMatchObject({ delivered: 2, pending: 1 })
      expect(lines).toEqual([[["webhooks left undelivered"], 1]])
    })
  )

  it.scoped("does not wait for ever", () =>
    Effect.gen(function* () {
      const { stats, lines, sent } = yield* stopping(() => TestClock.adjust("3 seconds"))
      expect([stats.delivered, stats.pending, sent]).toEqual([0, 3, 2])
      expect(lines).toEqual([[["webhooks left undelivered"], 3]])
    })
  )
})

describe("the layer", () => {
  it.effect("names the item of the allow list that it cannot read", () =>
    Effect.gen(function* () {
      const layer = Webhooks.layer({ ...settings, egressAllow: ["a.example,10.0.0.0/99"] })
      expect(yield* Effect.flip(Effect.provide(Webhooks.Webhooks, layer))).toMatchObject({ item: "10.0.0.0/99" })
    })
  )
})
