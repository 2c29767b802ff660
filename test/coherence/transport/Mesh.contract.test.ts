import { Context, Effect, Layer } from "effect"
import * as Mesh from "../../../src/coherence/transport/Mesh.ts"
import { CoherenceTransport } from "../../../src/coherence/transport/Transport.ts"
import { coherenceTransportContract } from "../../contracts/coherenceTransport.ts"

/** Nothing is configured: they find each other by the beacon, on the loopback interface. */
coherenceTransportContract("Mesh", {
  makeWorld: Effect.map(Layer.build(Mesh.layer()), (services) => Context.get(services, CoherenceTransport).open)
})
