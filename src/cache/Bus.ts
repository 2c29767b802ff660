/** The event bus as a service: one a program, shared by what publishes and what subscribes. */
import { Context, Layer } from "effect"
import { EventBus } from "./EventBus.ts"

export class Bus extends Context.Tag("mimosa-cache/cache/Bus")<Bus, EventBus>() {
  static readonly layer: Layer.Layer<Bus> = Layer.sync(Bus, () => new EventBus())
}
