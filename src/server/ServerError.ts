/** What can keep a server from serving. What a client can be answered is in RespError.ts. */
import { Data } from "effect"

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
    const code = (cause as { readonly code?: string } | null)?.code ?? ""
    return `${listener} cannot listen on ${host}:${port}: ${reasons[code] ?? String(cause)}`
  }
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use; stop what listens there, or choose another port",
  EACCES: "the system does not allow it; ports from 1024 up need no privilege",
  EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 is always there, 0.0.0.0 means all of them",
  ENOTFOUND: "the host name leads to no address"
}
