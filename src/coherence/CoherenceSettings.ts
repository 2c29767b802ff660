/** How instances of a namespace find and tell each other, as programs and the command line say it. */
import type { Layer } from "effect"
import type { AckMode } from "../cache/index.ts"
import type { Parameters } from "./protocol/Parameters.ts"
import { shownUrls } from "./transport/internal/address.ts"
import * as Mesh from "./transport/Mesh.ts"
import * as Nats from "./transport/Nats.ts"
import * as Redis from "./transport/Redis.ts"
import type { CoherenceTransport, TransportError } from "./transport/Transport.ts"
import type { WarmingMode, WarmingSettings } from "./Warming.ts"

export interface CoherenceSettings {
  /** `mesh`, the default: instances are connected with each other. Or a server of one's own: `nats://…`, `redis://…`. */
  readonly transport?: string
  /** What all instances of the namespace know; at least 16 bytes. Without one the mesh listens on loopback alone. */
  readonly secret?: string
  /** Instances of one region hear each other directly; regions are connected by two of their instances each. */
  readonly region?: string
  /** For writes that do not say how long they wait for others. Default `async`. */
  readonly ackMode?: AckMode
  /** What happens to copies while others cannot be heard: capped (the default), not used, or used on. */
  readonly whenDegraded?: "cap" | "bypass" | "serve"
  /** ms that copies live at most while others cannot be heard. Default 5,000. */
  readonly partitionTtlMs?: number
  /**
   * What is fetched from its writer before anybody asks for it, after another instance has written a key that is here:
   * nothing, what is `likely` to be read soon (the default), or `always` everything.
   */
  readonly warming?: WarmingMode
  /** What that may fetch at most. Default 1 MiB a second. */
  readonly warmingBytesPerSecond?: number
  /**
   * Whether the log is told who comes and goes, and when this instance is not coherent for longer than a moment. Default
   * false; `mimosa serve` is always told.
   */
  readonly logsMembers?: boolean
  readonly mesh?: Mesh.MeshOptions
}

/** The transport that the settings name. */
export const transportOf = (settings: CoherenceSettings): Layer.Layer<CoherenceTransport, TransportError> => {
  const { transport = "mesh", mesh = {} } = settings
  if (transport === "mesh") return Mesh.layer(mesh)
  return /^rediss?:/.test(transport) ? Redis.layer(transport) : Nats.layer(transport)
}

/** The broker that the settings name, for people: its URL without credentials. Null with a mesh. */
export const brokerOf = ({ transport = "mesh" }: CoherenceSettings): string | null =>
  transport === "mesh" ? null : shownUrls(transport)

/** The protocol's numbers that a program may set. */
export const parametersOf = ({ whenDegraded, partitionTtlMs }: CoherenceSettings): Partial<Parameters> => ({
  ...(whenDegraded === undefined ? {} : { degraded: whenDegraded }),
  ...(partitionTtlMs === undefined ? {} : { partitionTtlMs })
})

/** What is fetched ahead. */
export const warmingOf = ({ warming, warmingBytesPerSecond }: CoherenceSettings): Partial<WarmingSettings> => ({
  ...(warming === undefined ? {} : { mode: warming }),
  ...(warmingBytesPerSecond === undefined ? {} : { bytesPerSecond: warmingBytesPerSecond })
})
