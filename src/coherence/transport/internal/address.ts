/** Addresses of members: `host:port`, an IPv6 host in brackets; and of brokers, which are URLs. */
import { BlockList, isIP } from "node:net"

export interface Address {
  readonly host: string
  readonly port: number
}

/** Null when it is no `host:port`. The host may be empty (`:7777`), which an address in a HELLO may have. */
export const parseAddress = (text: string): Address | null => {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text)
  if (match === null) return null
  const port = Number(match[3])
  return port > 0 && port < 65_536 ? { host: match[1] ?? match[2] ?? "", port } : null
}

export const formatAddress = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/**
 * URLs, separated by commas, as people have written them but for what may be secret: credentials, path and query.
 * Throws a `TypeError` where one is none.
 */
export const shownUrls = (urls: string): string =>
  urls
    .split(",")
    .map((url) => new URL(url.trim()))
    .map(({ protocol, host }) => `${protocol}//${host}`)
    .join(",")

/** As a socket gives it, without the prefix of an IPv4 address that came in over IPv6. */
export const plainHost = (host: string): string =>
  host.startsWith("::ffff:") && isIP(host.slice(7)) === 4 ? host.slice(7) : host

/** Whether a numeric address, or `localhost`, is on this host for certain. */
export const isLoopback = (host: string): boolean => {
  const plain = plainHost(host)
  const family = isIP(plain)
  return family === 0 ? plain === "localhost" : loopback.check(plain, family === 4 ? "ipv4" : "ipv6")
}

/** Whether a host has to be looked up, and may be another one, or one of several, each time. */
export const isName = (host: string): boolean => isIP(host) === 0 && !isLoopback(host)

const loopback = new BlockList()
loopback.addSubnet("127.0.0.0", 8, "ipv4")
loopback.addAddress("::1", "ipv6")
