/** What COHERENCE … and the HTTP API ask of the service that shares keys with other instances. */
import type { CoherenceService } from "../../coherence/index.ts"

export type CoherencePort = Pick<CoherenceService, "status" | "trace" | "forget" | "acknowledged" | "examine" | "look">
