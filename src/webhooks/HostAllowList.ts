/**
 * The hosts that scripts may reach by name: the first question of `http.request`, before `EgressPolicy` asks where a name
 * leads. Webhooks go to any public host, since an operator has registered what sends them; scripts are their tenants' own,
 * so they reach what is named here and nothing else.
 *
 * Names are compared as URLs have them (lower case, punycode, no trailing dot), so one host has one spelling.
 */
import { Either } from "effect"
import { defaultPort, hostOf } from "./EgressPolicy.ts"
import { HttpAllowInvalid } from "./WebhooksError.ts"

interface Item {
  /** Null for any host. */
  readonly host: string | null
  /** `*.example.com`: hosts below it, not itself. */
  readonly isBelow: boolean
  /** Undefined for every port. */
  readonly port: number | undefined
}

export class HostAllowList {
  static readonly none = new HostAllowList([])

  private constructor(private readonly items: ReadonlyArray<Item>) {}

  /**
   * Reads a list; each text may hold several items with commas between them.
   *
   * @example
   * HostAllowList.parse(["api.example.com, *.internal:8080", "*"])
   */
  static parse(texts: ReadonlyArray<string>): Either.Either<HostAllowList, HttpAllowInvalid> {
    const words = texts.flatMap((text) => text.split(",")).map((word) => word.trim())
    const items = Either.all(words.filter((word) => word !== "").map(parseItem))
    return Either.map(items, (read) => new HostAllowList(read))
  }

  get isEmpty(): boolean {
    return this.items.length === 0
  }

  /** Whether a request to this URL may be tried, as far as the name of its host goes. */
  allows(url: URL): boolean {
    const host = hostOf(url)
    const port = url.port === "" ? defaultPort(url.protocol) : Number(url.port)
    return this.items.some(
      (item) => (item.port === undefined || item.port === port) && (item.host === null || isAt(item, item.host, host))
    )
  }
}

const isAt = ({ isBelow }: Item, wanted: string, host: string): boolean =>
  isBelow ? host.endsWith(`.${wanted}`) : host === wanted

const parseItem = (item: string): Either.Either<Item, HttpAllowInvalid> => {
  const invalid = (reason: string) => Either.left(new HttpAllowInvalid({ item, reason }))
  const [, hostText = "", portText] = /^(.*?)(?::(\d+))?$/.exec(item) ?? []
  const port = portText === undefined ? undefined : Number(portText)
  if (port !== undefined && (port < 1 || port > 65_535)) return invalid("has a port that is not from 1 to 65535")
  if (hostText === "*") return Either.right({ host: null, isBelow: false, port })
  const isBelow = hostText.startsWith("*.")
  const name = isBelow ? hostText.slice(2) : hostText
  const isPlain = name !== "" && !/[*/?#@\\\s]/.test(name)
  if (!isPlain || !URL.canParse(`http://${name}/`)) return invalid("has a host that cannot be one")
  const url = new URL(`http://${name}/`)
  if (url.port !== "") return invalid("is an IPv6 address without its brackets")
  return Either.right({ host: hostOf(url), isBelow, port })
}
