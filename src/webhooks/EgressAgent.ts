/**
 * The undici Agent through which requests leave: it connects only to addresses that the policy has seen.
 *
 * A name is resolved here, once for each new connection; every address is checked, and the socket is given a `lookup`
 * that knows nothing but the addresses that passed. So a name server that answers differently the second time (DNS
 * rebinding) is never asked a second time. Literal addresses, which Node connects to without a lookup, are checked in the
 * same place. A connection in use again was checked when it was opened.
 *
 * Redirects are not followed by `undici.request`. Who wants to follow one calls `EgressPolicy.checkUrl` on its target
 * and requests it through the same agent, which checks the addresses again.
 */
import { promises as dns, type LookupAddress } from "node:dns"
import { isIP, type LookupFunction } from "node:net"
import { Effect, type Scope } from "effect"
import { Agent, buildConnector } from "undici"
import { bareHost, defaultPort, type EgressPolicy } from "./EgressPolicy.ts"
import { EgressRefused } from "./WebhooksError.ts"

export interface EgressAgentOptions {
  readonly policy: EgressPolicy
  /** Connections at most to one origin; requests beyond wait. */
  readonly connectionsPerOrigin: number
  /** Milliseconds for a connection to be made, with TLS. */
  readonly connectTimeoutMs: number
  /** All addresses of a name. Default: the system's resolver. */
  readonly resolve?: Resolve
}

export type Resolve = (hostname: string) => Promise<ReadonlyArray<LookupAddress>>

/** An agent that lives as long as the scope; its connections are cut when the scope closes. */
export const make = (options: EgressAgentOptions): Effect.Effect<Agent, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(
      () =>
        new Agent({
          connect: connector(options),
          connections: options.connectionsPerOrigin,
          keepAliveMaxTimeout: keepAliveMsMax,
          headersTimeout: 0, // whoever requests holds the clock
          bodyTimeout: 0
        })
    ),
    (agent) => Effect.promise(() => agent.destroy())
  )

const keepAliveMsMax = 10_000 // ms; a server may ask for less, not for sockets that stay

const connector =
  ({ policy, connectTimeoutMs, resolve = resolveBySystem }: EgressAgentOptions): buildConnector.connector =>
  (target, callback) => {
    permittedAddresses(policy, target, resolve).then(
      (addresses) => connectorTo(addresses, connectTimeoutMs)(target, callback),
      (error: Error) => callback(error, null)
    )
  }

const permittedAddresses = async (
  policy: EgressPolicy,
  { hostname, host = hostname, protocol, port }: buildConnector.Options,
  resolve: Resolve
): Promise<ReadonlyArray<LookupAddress>> => {
  const name = bareHost(hostname)
  const family = isIP(name)
  const found = family === 0 ? await resolve(name) : [{ address: name, family }]
  const portNumber = port === "" ? defaultPort(protocol) : Number(port)
  const permitted: Array<LookupAddress> = []
  let reason = `${name} has no address`
  for (const candidate of found) {
    const refusal = policy.refusalOfAddress(name, candidate.address, portNumber)
    if (refusal === undefined) permitted.push(candidate)
    else reason = refusal
  }
  if (permitted.length === 0) throw new EgressRefused({ destination: `${protocol}//${host}`, reason })
  return permitted
}

/** A connector of its own for each connection: undici's takes its lookup when it is built. */
const connectorTo = (addresses: ReadonlyArray<LookupAddress>, timeout: number): buildConnector.connector =>
  buildConnector({ timeout, lookup: pinned(addresses), maxCachedSessions: 0 })

const pinned =
  (addresses: ReadonlyArray<LookupAddress>): LookupFunction =>
  (_hostname, options, callback) => {
    const [first] = addresses as [LookupAddress]
    if (options.all === true) callback(null, [...addresses])
    else callback(null, first.address, first.family)
  }

const resolveBySystem: Resolve = (hostname) => dns.lookup(hostname, { all: true })
