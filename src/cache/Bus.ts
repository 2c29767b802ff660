/** The event bus as a service: one a program, shared by what publishes and what subscribes. */
import { Context, Effect, Layer } from "effect"
import { logAnnotation, repeatedError } from "../telemetry/index.ts"
import { EventBus } from "./EventBus.ts"

export class Bus extends Context.Tag("mimosa-cache/cache/Bus")<Bus, EventBus>() {
  static readonly layer: Layer.Layer<Bus> = Layer.effect(
    Bus,
    Effect.map(
      repeatedError("a subscriber has thrown"),
      (log) => new EventBus((error, channel) => log(error, { [logAnnotation.channel]: channel }))
    )
  )
}
