import { Context, Effect, Layer } from "effect"
import * as Memory from "../../../src/coherence/transport/Memory.ts"
import { CoherenceTransport } from "../../../src/coherence/transport/Transport.ts"
import { coherenceTransportContract } from "../../contracts/coherenceTransport.ts"

coherenceTransportContract("Memory", {
  makeWorld: Effect.map(
    Layer.build(Layer.provide(Memory.layer, Memory.layerNetwork)),
    (services) => Context.get(services, CoherenceTransport).open
  )
})
