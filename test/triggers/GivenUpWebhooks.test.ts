/** From the trigger that asks for a webhook to the record that nobody took it, with all that lies between. */
import { expect, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { Cache, Mimosa, Tenants, Triggers } from "../../src/index.ts"
import { receiver, status, until } from "../webhooks/Receiver.ts"

it.scoped("a webhook that nobody took is in the TRIGGER LOG of whose trigger it was, and in no other", () =>
  Effect.gen(function* () {
    const { port, url } = yield* receiver(status(410))
    const layer = Layer.merge(Mimosa.layer({ egressAllow: ["127.0.0.1"], origin: "boot" }), silent)
    const services = yield* Layer.build(layer)
    const [cache, triggers, tenants] = yield* Effect.provide(Effect.all([Cache, Triggers, Tenants]), services)
    const [a, b] = [yield* tenants.create({ id: "a" }), yield* tenants.create({ id: "b" })]
    const all = [triggers, triggers.of(a), triggers.of(b)]
    const source = `cache.webhook("${url}?key=secret", event.value)`
    for (const each of all) yield* each.set({ name: "tell", pattern: "*", events: ["ON_WRITE"], source })
    const logs = () => all.map((each) => each.inBytes.log(9))
    a.keyspace.set("k", "v")
    yield* until(() => logs()[1]?.length === 1)
    const record = { trigger: "tell", event: "ON_WRITE", sequence: 1, kind: "failed:webhook", count: 1 }
    const message = `given up after 1 attempt at http://127.0.0.1:${port}: status 410`
    const ofTenant = [{ ...record, key: "k", message: `${message} (webhook boot:a:1-tell-1)` }]
    expect(logs()).toMatchObject([[], ofTenant, []])
    yield* cache.set("m", "v")
    yield* until(() => logs()[0]?.length === 1)
    const ofMain = [{ ...record, key: "m", message: `${message} (webhook boot-1-tell-1)` }]
    expect(logs()).toMatchObject([ofMain, ofTenant, []])
  })
)

const silent = Logger.remove(Logger.defaultLogger)
