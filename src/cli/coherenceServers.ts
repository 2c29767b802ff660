/** One server, or several that are asked the same at once. */
import type { Address } from "./Address.ts"
import { CliError } from "./CliError.ts"
import type { ClientOptions } from "./ping.ts"
import { print } from "./print.ts"
import { type RespClient, withClient } from "./RespClient.ts"

export interface ServersOptions extends ClientOptions {
  /** In the place of host and port: `host:port`, or several with commas. */
  readonly server: readonly string[]
}

export interface Answered<A> {
  /** host:port */
  readonly server: string
  readonly answer: A
}

/**
 * Asks all of them at once and prints what they answer: for people as `show` has it, as JSON by server, or the answer
 * itself where `--server` names none. Fails afterwards with what those said that did not.
 */
export const askServers = async <A>(
  options: ServersOptions,
  ask: (client: RespClient) => Promise<A>,
  show: (answers: ReadonlyArray<Answered<A>>) => string,
  silenceMsMax?: number
): Promise<void> => {
  const { password, json } = options
  const dialled = { password, ...(silenceMsMax === undefined ? {} : { silenceMsMax }) }
  const isNamed = options.server.length > 0
  const addresses = isNamed ? options.server.flatMap((list) => list.split(",")).map(addressOf) : [options]
  const asked = await Promise.allSettled(addresses.map(({ host, port }) => withClient({ host, port, ...dialled }, ask)))
  const answers: Array<Answered<A>> = []
  const failed: Error[] = []
  for (const [at, outcome] of asked.entries()) {
    const server = shown(addresses[at] as Address)
    if (outcome.status === "fulfilled") answers.push({ server, answer: outcome.value })
    else failed.push(isNamed ? new CliError(`${server}: ${outcome.reason.message}`) : outcome.reason)
  }
  if (answers.length > 0) {
    const plain = isNamed ? Object.fromEntries(answers.map((each) => [each.server, each.answer])) : answers[0]?.answer
    print(json ? plain : show(answers))
  }
  const [first] = failed
  if (failed.length > 1) throw new CliError(failed.map(({ message }) => message).join("\n"))
  if (first !== undefined) throw first
}

/** `host:port`, `[ipv6]:port`. */
const addressOf = (text: string): Address => {
  const [, ipv6, name, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text.trim()) ?? []
  const host = ipv6 ?? name
  const port = Number(digits)
  if (host === undefined || !(port >= 1 && port <= 65_535)) {
    throw new CliError(`--server is host:port, as 10.0.0.1:6380, not '${text.slice(0, 80)}'`)
  }
  return { host, port }
}

const shown = ({ host, port }: Address): string => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`)
