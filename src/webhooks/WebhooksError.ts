import { Data } from "effect"

/** The egress policy does not let a request go where it was meant to go. */
export class EgressRefused extends Data.TaggedError("EgressRefused")<{
  /** Scheme, host and port where they are known; never the whole URL, which may carry a secret. */
  readonly destination: string
  readonly reason: string
}> {
  override get message() {
    return `request to ${this.destination} refused: ${this.reason}`
  }
}

/** An item of the setting `egressAllow`, `--egress-allow` on the command line, that cannot be read. */
export class EgressAllowInvalid extends Data.TaggedError("EgressAllowInvalid")<{
  readonly item: string
  readonly reason: string
}> {
  override get message() {
    return `egressAllow (--egress-allow): "${this.item}" ${this.reason}; an item is host[:port], ip[:port], [ipv6]:port, ip/bits or *`
  }
}

/** An item of the setting `httpAllow`, `--http-allow` on the command line, that cannot be read. */
export class HttpAllowInvalid extends Data.TaggedError("HttpAllowInvalid")<{
  readonly item: string
  readonly reason: string
}> {
  override get message() {
    return `httpAllow (--http-allow): "${this.item}" ${this.reason}; an item is host[:port], *.host[:port], ip[:port], [ipv6]:port or *`
  }
}
