/** What the services of triggers stand on in tests: keyspaces, the runner, and the rooms below, over the given stores. */
import { Layer } from "effect"
import { Bus, CacheClock, CacheFills, Keyspaces, Wakeups } from "../../src/cache/index.ts"
import { Sandbox } from "../../src/sandbox/index.ts"
import { Journal, layerRunner } from "../../src/triggers/index.ts"
import { Webhooks } from "../../src/webhooks/index.ts"

export const ground = <Stores, E>(stores: Layer.Layer<Stores, E>) =>
  Keyspaces.layer().pipe(
    Layer.provideMerge(layerRunner({ origin: "boot" })),
    Layer.provideMerge(
      Layer.mergeAll(
        CacheClock.layer,
        Layer.provide(CacheFills.layer(), CacheClock.layer),
        Bus.layer,
        Wakeups.layer,
        Sandbox.layer,
        Journal.layer,
        stores,
        Webhooks.layer({ userAgent: "mimosa/test" })
      )
    )
  )
