/**
 * Where requests to the outside may go. URLs come from scripts, so each is taken as an attempt to reach what stands
 * behind the firewall (server-side request forgery).
 *
 * Two checks, because a name says nothing about its address:
 * 1. `checkUrl`, synchronous, when a request is asked for: scheme, credentials, literal addresses, names of this host.
 * 2. `refusalOfAddress`, for every connection, on the very address that is connected to (EgressAgent.ts). It alone
 *    is what keeps the promise; the first gives an early and clear answer.
 *
 * Public addresses are open. Everything else (loopback, private, link-local, shared, mapped, tunnelled, multicast,
 * reserved) is closed unless the allow list names the host, the address or a network around it. All spellings of an
 * address meet here in one form: the URL parser [1] turns 2130706433, 0x7f.1, 0177.0.0.1 and full-width digits into
 * 127.0.0.1, and ipaddr.js turns ::ffff:7f00:1 into that. Addresses that carry another one inside (6to4, Teredo, NAT64)
 * count as not public: where they lead is not ours to know.
 *
 * [1] WHATWG URL, host parsing.
 */
import { isIP } from "node:net"
import { Either } from "effect"
import ipaddr from "ipaddr.js"
import { EgressAllowInvalid, EgressRefused } from "./WebhooksError.ts"

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** One item of the allow list. No port means every port. */
type Rule =
  | { readonly type: "any" }
  | { readonly type: "host"; readonly host: string; readonly port: number | undefined }
  | { readonly type: "network"; readonly network: Address; readonly bits: number; readonly port: number | undefined }

export class EgressPolicy {
  /** Public addresses only. */
  static readonly publicOnly = new EgressPolicy([])

  private constructor(private readonly rules: ReadonlyArray<Rule>) {}

  /**
   * Reads an allow list; each text may hold several items with commas between them.
   *
   * @example
   * EgressPolicy.parse(["hooks.internal:8080, 10.0.0.0/8", "[::1]:9000"])
   */
  static parse(texts: ReadonlyArray<string>): Either.Either<EgressPolicy, EgressAllowInvalid> {
    const items = texts.flatMap((text) => text.split(",")).map((item) => item.trim())
    const rules = Either.all(items.filter((item) => item !== "").map(parseRule))
    return Either.map(rules, (read) => new EgressPolicy(read))
  }

  /** The URL when a request to it may be tried. Its name is not resolved here. A few µs. */
  checkUrl(text: string): URL | EgressRefused {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url === undefined) return new EgressRefused({ destination: "an unreadable URL", reason: "not an absolute URL" })
    const refuse = (reason: string) => new EgressRefused({ destination: destinationOf(url), reason })
    if (url.protocol !== "http:" && url.protocol !== "https:") return refuse("only http and https are allowed")
    if (url.username !== "" || url.password !== "")
      return refuse("credentials in the URL are not allowed; use a header")

    const host = hostOf(url)
    const addresses = isIP(host) !== 0 ? [host] : isLoopbackName(host) ? loopbackAddresses : []
    const reasons = addresses.map((address) => this.refusalOfAddress(host, address, portOf(url)))
    const [reason] = reasons
    return reason === undefined || reasons.includes(undefined) ? url : refuse(reason)
  }

  /**
   * Why a connection to `address` may not be opened, or undefined when it may. `host` is the name that led there, as
   * `hostOf` gives it, or the address itself.
   */
  refusalOfAddress(host: string, address: string, port: number): string | undefined {
    const ip = parseAddress(address)
    if (ip === undefined) return `${address} is no IP address`
    const range = rangeOf(ip)
    if (range === publicRange || this.rules.some((rule) => allows(rule, host, ip, port))) return undefined
    const item = ip.kind() === "ipv6" ? `[${ip}]:${port}` : `${ip}:${port}`
    const led = host === address || host === ip.toString() ? ip.toString() : `${host} leads to ${ip}, which`
    return `${led} is not a public address (${range}); egressAllow: ["${item}"] (--egress-allow ${item}) would allow it`
  }
}

/** The host of a URL as rules and resolvers know it: no brackets, no trailing dot. */
export const hostOf = (url: URL): string => bareHost(url.hostname)

/** What concurrency and pending work are counted by, and logs may show: scheme, host and port. */
export const destinationOf = (url: URL): string => `${url.protocol}//${url.host}`

export const bareHost = (hostname: string): string =>
  hostname.startsWith("[") ? hostname.slice(1, -1) : hostname.endsWith(".") ? hostname.slice(0, -1) : hostname

const portOf = (url: URL): number => (url.port === "" ? defaultPort(url.protocol) : Number(url.port))

export const defaultPort = (protocol: string): number => (protocol === "https:" ? 443 : 80)

/** RFC 6761, 6.3: these never leave the machine, whatever a resolver says. */
const isLoopbackName = (host: string): boolean => host === "localhost" || host.endsWith(".localhost")
const loopbackAddresses = ["127.0.0.1", "::1"]

const parseAddress = (text: string): Address | undefined => (isIP(text) === 0 ? undefined : ipaddr.process(text))

const publicRange = "unicast"

/**
 * ipaddr.js calls "unicast" whatever its list of special ranges does not name; of IPv6 only 2000::/3 is in public use,
 * and among the rest is ::/96, which still means an IPv4 address to some systems (::7f00:1 is 127.0.0.1).
 */
const rangeOf = (ip: Address): string => {
  const range = ip.range()
  return range === publicRange && ip instanceof ipaddr.IPv6 && !ip.match(globalUnicast) ? "unassigned" : range
}

const globalUnicast = ipaddr.IPv6.parseCIDR("2000::/3")

const allows = (rule: Rule, host: string, ip: Address, port: number): boolean => {
  if (rule.type === "any") return true
  if (rule.port !== undefined && rule.port !== port) return false
  if (rule.type === "host") return rule.host === host
  return rule.network.kind() === ip.kind() && ip.match(rule.network, rule.bits)
}

const parseRule = (item: string): Either.Either<Rule, EgressAllowInvalid> => {
  const invalid = (reason: string) => Either.left(new EgressAllowInvalid({ item, reason }))
  if (item === "*") return Either.right({ type: "any" })
  if (item.includes("/")) return parseNetwork(item, invalid)

  const parts = /^(\[[^\]]*\]|[^:]*|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(?::(\d+))?$/.exec(item)
  const hostText = parts?.[1]
  if (hostText === undefined) return invalid("is not a host, an address or a network")
  const port = parts?.[2] === undefined ? undefined : Number(parts[2])
  if (port !== undefined && (port < 1 || port > 65_535)) return invalid("has a port that is not from 1 to 65535")

  const url = parseHost(hostText)
  if (url === undefined) return invalid("has a host that cannot be one")
  const host = hostOf(url)
  const address = parseAddress(host)
  if (address === undefined) return Either.right({ type: "host", host, port })
  return Either.right({ type: "network", network: address, bits: address.kind() === "ipv6" ? 128 : 32, port })
}

const parseNetwork = (
  item: string,
  invalid: (reason: string) => Either.Either<never, EgressAllowInvalid>
): Either.Either<Rule, EgressAllowInvalid> => {
  if (!ipaddr.isValidCIDR(item)) return invalid("is not a network")
  const [network, bits] = ipaddr.parseCIDR(item)
  if (network.kind() === "ipv4" && !/^\d+\.\d+\.\d+\.\d+\//.test(item))
    return invalid("is not a network of four numbers")
  return Either.right({ type: "network", network, bits, port: undefined })
}

/** Reads a host as URLs do, so that an item and the URL it is meant for come out alike. */
const parseHost = (text: string): URL | undefined => {
  const host = text.includes(":") && !text.startsWith("[") ? `[${text}]` : text
  const isPlain = host !== "" && !/[*/?#@\\\s]/.test(host)
  return isPlain && URL.canParse(`http://${host}/`) ? new URL(`http://${host}/`) : undefined
}
