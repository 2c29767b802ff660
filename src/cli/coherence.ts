/** `mimosa coherence …`: what servers say of the instances that share their keys. Each is COHERENCE … of each of them. */
import { askServers, type ServersOptions } from "./coherenceServers.ts"
import { type Fields, factsOf, recordOf, recordsOf, tableOf } from "./Fields.ts"
import { visible } from "./visible.ts"

type Arguments = readonly string[]

export const status = (options: ServersOptions) =>
  askServers(
    options,
    async (client) => recordOf(await client.send("COHERENCE", "STATUS")),
    (stands) => {
      const [only] = stands
      if (stands.length === 1) return factsOf(withoutNothing(only?.answer as Fields))
      const columns = ["server", "name", "state", "members", "region", "transport", "written", "degradedWhy"]
      return tableOf(columns, beside(stands))
    }
  )

/** How it stands, without why it does not, and with what has been counted at all. */
const withoutNothing = (stands: Fields): Fields =>
  Object.fromEntries(
    Object.entries(stands).filter(([name, value]) => (value !== 0 && value !== "") || alwaysShown.has(name))
  )

const alwaysShown: ReadonlySet<string> = new Set(["members", "written", "sent"])

export const peers = (options: ServersOptions) =>
  ofMembers(options, "PEERS", ["name", "state", "address", "region", "heardMsAgo", "advertised", "contiguous", "lag"])

export const lag = (options: ServersOptions) =>
  ofMembers(options, "LAG", ["name", "state", "heardMsAgo", "lag", "missingForMs", "acknowledged"])

const ofMembers = (options: ServersOptions, subcommand: string, columns: readonly string[]) =>
  askServers(
    options,
    async (client) => recordsOf(await client.send("COHERENCE", subcommand)),
    (answers) => {
      const rows = answers.flatMap(({ server, answer }) => answer.map((member) => ({ server, ...member })))
      if (rows.length === 0) return "there are no other instances"
      return tableOf(answers.length === 1 ? columns : ["server", ...columns], rows)
    }
  )

export const trace = (options: ServersOptions, [key = ""]: Arguments) =>
  askServers(
    options,
    async (client) => (await client.send("COHERENCE", "TRACE", key)) as readonly string[],
    (traces) =>
      traces
        .map(({ server, answer }) => [...(traces.length === 1 ? [] : [server]), ...answer].map(visible).join("\n"))
        .join("\n\n")
  )

export const forget = (options: ServersOptions, [name = ""]: Arguments) =>
  askServers(
    options,
    async (client) => {
      await client.send("COHERENCE", "FORGET", name)
      return { forgotten: name }
    },
    (done) => done.map(({ server }) => visible(`${server} waits for ${name} no more`)).join("\n")
  )

const beside = (answers: ReadonlyArray<{ readonly server: string; readonly answer: Fields }>) =>
  answers.map(({ server, answer }) => ({ server, ...answer }))
