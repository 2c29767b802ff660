/** What can keep a server from serving. What a client can be answered is in RespError.ts. */
import { Data } from "effect"
import { whyNotListening } from "../telemetry/index.ts"

/** A port cannot be listened on; `cause` is Node's error. */
export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  /** What people call the listener: "RESP", "HTTP". */
  readonly listener: string
  readonly host: string
  readonly port: number
  readonly cause: unknown
}> {
  override get message(): string {
    const { listener, host, port, cause } = this
    return `${listener} cannot listen on ${host}:${port}: ${whyNotListening(cause)}`
  }
}
