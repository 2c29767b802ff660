/** The event bus as a service: one a program, shared by what publishes and what subscribes. */
import { Context, Effect, Layer, Runtime } from "effect"
import { EventBus } from "./EventBus.ts"

export class Bus extends Context.Tag("mimosa-cache/cache/Bus")<Bus, EventBus>() {
  static readonly layer: Layer.Layer<Bus> = Layer.effect(
    Bus,
    Effect.map(Effect.runtime(), (runtime) => {
      let failed = 0
      return new EventBus((error, channel) => {
        // Told when it has doubled: a receiver that always throws would fill the log. `failed` counts all.
        if ((++failed & (failed - 1)) !== 0) return
        Runtime.runSync(runtime)(Effect.logError("a subscriber has thrown", { channel, failed, error }))
      })
    })
  )
}
