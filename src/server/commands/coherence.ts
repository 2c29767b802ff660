/**
 * COHERENCE …: who shares these keys, how far each has come, and what is known of a key. INVALIDATE …: what is known to be
 * stale, here and on every other instance. Mimosa's own.
 */
import { parseNumber } from "../../cache/Int64.ts"
import { type Diagnosis, type MemberStatus, samplesDefault, samplesMax } from "../../coherence/index.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { type Fields, writeFields } from "../Fields.ts"
import { RespError } from "../RespError.ts"
import type { CoherencePort } from "./CoherencePort.ts"

const withCoherence =
  (run: (client: Client, coherence: CoherencePort, args: readonly string[]) => void): Handler =>
  (client, args) => {
    const { coherence } = client.server
    if (coherence === undefined) client.fail(RespError.noCoherence)
    else run(client, coherence, args)
  }

const status = withCoherence(({ reply }, coherence) => {
  const { state, degradedWhy, degradedForMs, members, transport, counters, ...own } = coherence.status()
  const first = { state, degradedWhy: degradedWhy.join("; "), degradedForMs, members: members.length, transport }
  writeFields(reply, { ...first, ...own, ...counters })
})

const writeMembers = (
  { reply }: Client,
  coherence: CoherencePort,
  fieldsOf: (member: MemberStatus) => Fields
): void => {
  const { members } = coherence.status()
  reply.array(members.length)
  for (const member of members) writeFields(reply, fieldsOf(member))
}

const peers = withCoherence((client, coherence) => writeMembers(client, coherence, (member) => ({ ...member })))

const lag = withCoherence((client, coherence) =>
  writeMembers(client, coherence, ({ name, state, heardMsAgo, lag, missingForMs, acknowledged }) => ({
    name,
    state,
    heardMsAgo,
    lag,
    missingForMs,
    acknowledged
  }))
)

const trace = withCoherence(({ reply }, coherence, args) => {
  const lines = coherence.trace(args[2] as string)
  reply.array(lines.length)
  for (const line of lines) reply.bulk(line)
})

const forget = withCoherence((client, coherence, args) => {
  const name = args[2] as string
  if (coherence.forget(name)) client.reply.ok()
  else client.fail(RespError.noMember(name))
})

/** COHERENCE DOCTOR [SAMPLES n]: answered when the examination is over, after 11 seconds at most. */
const doctor: Handler = (client, args) => {
  const { coherence } = client.server
  const samples = args.length === 2 ? samplesDefault : parseNumber(args[3] ?? "")
  const isAsked = args.length === 2 || (args.length === 4 && (args[2] as string).toLowerCase() === "samples")
  if (!isAsked || samples === undefined || samples < 1 || samples > samplesMax) {
    return client.fail(RespError.doctorSyntax(samplesMax))
  }
  if (coherence === undefined) return client.fail(RespError.noCoherence)
  return coherence.examine(samples).then((diagnosis) => {
    if (diagnosis === "busy") client.fail(RespError.doctorBusy)
    else writeFields(client.reply, fieldsOfDiagnosis(diagnosis))
  })
}

const fieldsOfDiagnosis = ({ windows, traces, silent, ...facts }: Diagnosis): Fields => ({
  ...facts,
  silent,
  ...Object.fromEntries(windows.map(({ afterMs, lower }) => [`lowerAfter${afterMs}ms`, lower])),
  ...Object.fromEntries(windows.map(({ afterMs, perBillionMax }) => [`perBillionMax${afterMs}ms`, perBillionMax])),
  traces: traces.flatMap(({ key, forMs, isStale, lines }) => [
    `${key}: ${isStale ? "stale" : "lower"} for at least ${forMs} ms`,
    ...lines.map((line) => `${key}: ${line}`)
  ])
})

/** WAIT numreplicas timeout, as Redis, replication.c, waitCommand: of other instances. One is waited for, or all that live. */
const wait: Handler = (client, args) => {
  const [wanted, timeoutMs] = [parseNumber(args[1] as string), parseNumber(args[2] as string)]
  if (wanted === undefined || timeoutMs === undefined) return client.fail(RespError.notInteger)
  if (timeoutMs < 0) return client.fail(RespError.negativeTimeout)
  const { coherence } = client.server
  if (coherence === undefined || wanted < 1) return client.reply.integer(0)
  const answered = coherence.acknowledged(wanted === 1 ? "one" : "live").then(({ acked }) => acked)
  return within(timeoutMs, answered).then((acked) => client.reply.integer(acked))
}

/** What was promised; 0 where that takes longer. A time of 0 is no limit. */
const within = (ms: number, promised: Promise<number>): Promise<number> => {
  if (ms === 0) return promised
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(0), Math.min(ms, timerMsMax))
    void promised.then((count) => {
      clearTimeout(timer)
      resolve(count)
    })
  })
}

const timerMsMax = 2 ** 31 - 1 // what a Node timer can count

const invalidateKeys: Handler = (client, args) => {
  const { keyspace, reply } = client
  let removed = 0
  const wasHeld = keyspace.hold()
  try {
    for (let at = 2; at < args.length; at++) if (keyspace.invalidate(args[at] as string)) removed++
  } finally {
    keyspace.release(wasHeld)
  }
  reply.integer(removed)
}

const invalidateTags: Handler = ({ keyspace, reply }, args) => {
  keyspace.invalidateTags(args.slice(2))
  reply.ok()
}

const invalidatePrefixes: Handler = (client, args) => {
  const { keyspace, reply } = client
  const prefixes = args.slice(2)
  // Of a tenant's own prefix, in its displayed form, nothing is left here: then all of its keys are meant.
  if (!prefixes.every((prefix) => keyspace.isPrefix(prefix))) return client.fail(RespError.notPrefix)
  for (const prefix of prefixes) keyspace.invalidatePrefix(prefix)
  reply.ok()
}

export const coherence: CommandFamily = {
  group: "coherence",
  commands: [
    {
      name: "invalidate",
      arity: -2,
      flags: [],
      summary: "A container for commands that say what is stale, on every instance.",
      since: "mimosa",
      subcommands: [
        {
          name: "key",
          arity: -3,
          flags: ["write"],
          keys: [2, -1, 1],
          syntax: "<key> [<key> ...]",
          summary: "Removes keys everywhere, as stale; returns how many were here.",
          since: "mimosa",
          run: invalidateKeys
        },
        {
          name: "tag",
          arity: -3,
          flags: ["write"],
          reach: "own",
          syntax: "<tag> [<tag> ...]",
          summary: "Removes everywhere what was stored with one of these tags before.",
          since: "mimosa",
          run: invalidateTags
        },
        {
          name: "prefix",
          arity: -3,
          flags: ["write"],
          keys: [2, -1, 1],
          syntax: "<prefix:> [<prefix:> ...]",
          summary: "Removes everywhere the keys that begin so; a prefix ends with a colon.",
          since: "mimosa",
          run: invalidatePrefixes
        }
      ]
    },
    {
      name: "wait",
      arity: 3,
      flags: ["no_multi"],
      reach: "own",
      syntax: "numreplicas timeout",
      summary: "Waits until other instances have applied what was written; returns how many have.",
      since: "3.0.0",
      run: wait
    },
    {
      name: "coherence",
      arity: -2,
      flags: ["admin"],
      summary: "A container for commands about the instances that share these keys.",
      since: "mimosa",
      subcommands: [
        {
          name: "status",
          arity: 2,
          flags: ["admin"],
          reach: "operator",
          summary: "Returns how this instance stands: coherent or degraded, why and for how long, members, counters.",
          since: "mimosa",
          run: status
        },
        {
          name: "peers",
          arity: 2,
          flags: ["admin"],
          reach: "operator",
          summary: "Returns the other instances, and how far each has come.",
          since: "mimosa",
          run: peers
        },
        {
          name: "lag",
          arity: 2,
          flags: ["admin"],
          reach: "operator",
          summary:
            "Returns for each other instance when it was heard of, and how many of its records are missing here.",
          since: "mimosa",
          run: lag
        },
        {
          name: "trace",
          arity: 3,
          flags: ["admin"],
          reach: "operator",
          syntax: "<key>",
          summary: "Returns what is known of a key: the entry here, who wrote it last, who would be asked for it.",
          since: "mimosa",
          run: trace
        },
        {
          name: "doctor",
          arity: -2,
          flags: ["admin", "no_multi"],
          reach: "operator",
          syntax: "[SAMPLES <n>]",
          summary: "Compares entries at random with what other instances know of them; returns what is stale, and why.",
          since: "mimosa",
          run: doctor
        },
        {
          name: "forget",
          arity: 3,
          flags: ["admin"],
          reach: "operator",
          syntax: "<name>",
          summary: "Stops waiting for an instance that will not come back, so that the others are coherent again.",
          since: "mimosa",
          run: forget
        }
      ]
    }
  ]
}
