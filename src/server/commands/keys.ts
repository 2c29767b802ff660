/** Commands on keys whatever they hold: presence, time to live, walks over all of them. */
import { parseInt64, parseNumber } from "../../cache/Int64.ts"
import {
  Cause,
  causeBit,
  type Entry,
  entrySize,
  globMatches,
  isLiteral,
  type Keyspace,
  SetFlag
} from "../../kernel/index.ts"
import { asOne, type CommandFamily, type Handler } from "../Command.ts"
import { type ExpiryUnit, toInstant } from "../Options.ts"
import { RespError } from "../RespError.ts"
import { walkedTenant } from "../TenantRoutes.ts"

const del: Handler = (client, args) => {
  const { keyspace, reply } = client
  if (args.length === 2) {
    if (keyspace.delete(args[1] as string)) reply.integer(1)
    else if (keyspace.refusal === null) reply.integer(0)
    else client.reject(keyspace.refusal)
    return
  }
  if ((keyspace.trie.mask & beforeDeleteBit) !== 0) return deleteAllOrNone(client, args)
  let removed = 0
  return client.overKeys(
    args,
    (key) => {
      if (keyspace.delete(key)) removed++
    },
    () => reply.integer(removed)
  )
}

/** Where somebody may refuse a delete: all are asked for first, and one refusal keeps every key. */
const deleteAllOrNone = asOne((client, args) => {
  const { keyspace, reply, server } = client
  const { atomicKeysMax } = server.settings
  if (args.length - 1 > atomicKeysMax) return client.fail(RespError.tooManyKeys(atomicKeysMax))
  for (let i = 1; i < args.length; i++) {
    const refusal = keyspace.gateDelete(args[i] as string)
    if (refusal !== null) return client.reject(refusal)
  }
  let removed = 0
  for (let i = 1; i < args.length; i++) if (keyspace.delete(args[i] as string, Cause.delete, true)) removed++
  reply.integer(removed)
})

const exists: Handler = (client, args) => {
  const { keyspace, reply } = client
  let found = 0
  return client.overKeys(
    args,
    (key) => {
      if (keyspace.peek(key) !== undefined) found++
    },
    () => reply.integer(found)
  )
}

/** EXPIRE and its kin: key time [NX | XX | GT | LT]. Source: Redis 7.0, expire.c, expireGenericCommand. */
const expireBy =
  (command: string, unit: ExpiryUnit): Handler =>
  (client, args) => {
    const { keyspace, reply } = client
    let [nx, xx, gt, lt] = [false, false, false, false]
    for (let at = 3; at < args.length; at++) {
      const option = (args[at] as string).toLowerCase()
      if (option === "nx") nx = true
      else if (option === "xx") xx = true
      else if (option === "gt") gt = true
      else if (option === "lt") lt = true
      else return client.fail(RespError.unsupportedOption(args[at] as string))
    }
    if (nx && (xx || gt || lt)) return client.fail(RespError.expireConflictNx)
    if (gt && lt) return client.fail(RespError.expireConflictGtLt)
    const value = parseInt64(args[2] as string)
    if (value === undefined) return client.fail(RespError.notInteger)
    const expiresAtMs = toInstant(client, value, unit)
    if (expiresAtMs === undefined) return client.fail(RespError.invalidExpire(command))
    const key = args[1] as string
    const entry = keyspace.peek(key)
    if (entry === undefined) return reply.integer(0)
    const current = entry.expiresAtMs
    const isRefused =
      (nx && current !== 0) ||
      (xx && current === 0) ||
      (gt && (current === 0 || expiresAtMs <= current)) ||
      (lt && current !== 0 && expiresAtMs >= current)
    // A deadline of 0 would mean "none"; any instant that has passed is an expiry now.
    if (!isRefused) keyspace.expireAt(key, expiresAtMs <= 0 ? 1 : expiresAtMs)
    reply.integer(isRefused ? 0 : 1)
  }

/** -2 without the key, -1 without a deadline, else what `show` makes of it. */
const deadlineAs =
  (show: (expiresAtMs: number, nowMs: number) => number): Handler =>
  ({ keyspace, reply, server }, args) => {
    const entry = keyspace.peek(args[1] as string)
    if (entry === undefined) reply.integer(-2)
    else if (entry.expiresAtMs === 0) reply.integer(-1)
    else reply.integer(BigInt(show(entry.expiresAtMs, server.clock.nowMs())))
  }

const persist: Handler = ({ keyspace, reply }, args) => {
  const entry = keyspace.peek(args[1] as string)
  const hasDeadline = entry !== undefined && entry.expiresAtMs !== 0
  if (hasDeadline) keyspace.expireAt(args[1] as string, 0)
  reply.integer(hasDeadline ? 1 : 0)
}

/** Everything is a string to Redis' clients, and structured values read as one. */
const type: Handler = ({ keyspace, reply }, args) =>
  reply.simple(keyspace.peek(args[1] as string) === undefined ? "none" : "string")

/**
 * KEYS glob, in as many turns as it takes: a key that is there from its beginning to its end is found. An operator's glob
 * whose literal head names a tenant finds that tenant's keys, as they are displayed; any other finds the operators' own.
 */
const keys: Handler = (client, args) => {
  const { reply, server } = client
  const { replyBytesMax } = server.settings
  if ((args[1] as string).length > globBytesMax) return client.fail(RespError.globTooLong(globBytesMax))
  const walked = walkedTenant(client, args[1] as string)
  const pattern = walked?.pattern ?? (args[1] as string)
  const keyspace = walked?.tenant.keyspace ?? client.keyspace
  const displayed = (found: string[]) =>
    walked === undefined ? found : found.map((key) => walked.tenant.displayed(key))
  const found: string[] = []
  if (isLiteral(pattern)) {
    if (keyspace.peek(pattern) !== undefined) found.push(pattern)
    return reply.bulks(displayed(found))
  }
  let [cursor, bytes, work, tooLong] = [0, 0, 0, 0]
  const visit = ({ key }: Entry) => {
    const steps = pattern === "*" ? 0 : pattern.length * key.length
    work += 1 + Math.floor(steps / stepsPerWork)
    if (steps > stepsMax) tooLong = key.length
    else if (pattern !== "*" && !globMatches(pattern, key)) return
    found.push(key)
    bytes += key.length + bulkBytes
  }
  return client.inTurns(() => {
    for (;;) {
      work = slotsPerLook / 8 // empty slots are walked over, too
      cursor = keyspace.scan(cursor, slotsPerLook, visit)
      if (bytes > replyBytesMax || tooLong > 0) {
        client.fail(tooLong > 0 ? RespError.globTooSlow(tooLong) : RespError.replyTooLarge(replyBytesMax))
        return true
      }
      if (cursor === 0) break
      if (server.turns.spend(work)) return false
    }
    reply.bulks(displayed(found))
    return true
  })
}

/**
 * SCAN cursor [MATCH glob] [COUNT n] [TYPE name]. The cursor is a slot, so it stays small and costs nothing to keep. One
 * call looks into at most `scanSlotsMax` slots, and fewer where the glob makes it long work; the cursor says to go on.
 * Whose keys it walks over is said by the glob, as for KEYS.
 */
const scan: Handler = (client, args) => {
  const { reply, server } = client
  if (!cursorPattern.test(args[1] as string)) return client.fail(RespError.invalidCursor)
  const cursor = Math.min(Number(args[1]), Number.MAX_SAFE_INTEGER)
  let pattern: string | undefined
  let count = 10
  let isStrings = true
  for (let at = 2; at < args.length; at += 2) {
    const option = (args[at] as string).toLowerCase()
    const value = args[at + 1]
    if (value === undefined) return client.fail(RespError.syntax)
    if (option === "count") {
      const parsed = parseNumber(value)
      if (parsed === undefined) return client.fail(RespError.notInteger)
      if (parsed < 1) return client.fail(RespError.syntax)
      count = Math.min(parsed, scanSlotsMax)
    } else if (option === "match") pattern = value === "*" ? undefined : value
    else if (option === "type") isStrings = value.toLowerCase() === "string"
    else return client.fail(RespError.syntax)
  }
  if (pattern !== undefined && pattern.length > globBytesMax) return client.fail(RespError.globTooLong(globBytesMax))
  const walked = pattern === undefined ? undefined : walkedTenant(client, pattern)
  if (walked !== undefined) pattern = walked.pattern === "*" ? undefined : walked.pattern
  const keyspace = walked?.tenant.keyspace ?? client.keyspace
  const found: string[] = []
  let [steps, bytes, tooLong] = [0, 0, 0]
  const visit = ({ key }: Entry) => {
    if (pattern !== undefined) steps += pattern.length * key.length
    if (pattern !== undefined && pattern.length * key.length > stepsMax) tooLong = key.length
    else if (!isStrings || (pattern !== undefined && !globMatches(pattern, key))) return
    found.push(walked === undefined ? key : walked.tenant.displayed(key))
    bytes += key.length + bulkBytes
  }
  let [next, slots] = [cursor, 0]
  for (; slots < count && steps < scanStepsMax && bytes < scanBytesMax; slots++) {
    next = keyspace.scan(next, 1, visit)
    if (next === 0) break
  }
  if (tooLong > 0) return client.fail(RespError.globTooSlow(tooLong))
  server.turns.count(slots + Math.floor(steps / stepsPerWork))
  reply.array(2)
  reply.bulk(String(next))
  reply.bulks(found)
}

const randomKey: Handler = ({ keyspace, reply }) => {
  const key = keyspace.size === 0 ? undefined : pickRandom(keyspace)
  if (key === undefined) reply.nil()
  else reply.bulk(key)
}

/** A key from a slot drawn at random; after too many empty ones, the first that stands behind one. */
const pickRandom = (keyspace: Keyspace): string | undefined => {
  const slots = slotCount(keyspace)
  let found: string | undefined
  const visit = (entry: Entry) => {
    found ??= entry.key
  }
  for (let tries = 0; tries < randomTriesMax && found === undefined; tries++) {
    keyspace.scan(Math.floor(Math.random() * slots), 1, visit)
  }
  for (let cursor = 0, rest = slots; rest > 0 && found === undefined; rest -= 64) {
    cursor = keyspace.scan(cursor, 64, visit)
  }
  return found
}

/** How many slots there are: the first cursor at which a walk is over, found by doubling and halving. */
const slotCount = (keyspace: Keyspace): number => {
  const isWithin = (cursor: number) => keyspace.scan(cursor, 0, () => {}) !== 0
  let high = Math.max(1, keyspace.size)
  while (isWithin(high)) high *= 2
  let low = Math.floor(high / 2)
  while (low + 1 < high) {
    const middle = Math.floor((low + high) / 2)
    if (isWithin(middle)) low = middle
    else high = middle
  }
  return high
}

const touch: Handler = exists

/** RENAME and RENAMENX: a delete of the one and a write of the other, with all that is attached to it. */
const renameWith = (isNx: boolean): Handler =>
  asOne((client, args) => {
    const { keyspace, reply } = client
    const [from, to] = [args[1] as string, args[2] as string]
    const entry = keyspace.peek(from)
    if (entry === undefined) return client.fail(RespError.noSuchKey)
    const succeed = () => (isNx ? reply.integer(1) : reply.ok())
    if (isNx && keyspace.peek(to) !== undefined) return reply.integer(0)
    if (from === to) return succeed()
    const { value, meta, expiresAtMs, isLocal } = entry
    const flags = isLocal ? SetFlag.local : 0
    if ((keyspace.trie.mask & beforeBits) === 0) {
      const bytes = entry.bytes - from.length + to.length
      if (bytes > keyspace.maxBytes) return client.fail(RespError.tooLarge(bytes, keyspace.maxBytes))
      keyspace.delete(from)
      keyspace.set(to, value, expiresAtMs, meta, flags)
      return succeed()
    }
    const refusal = keyspace.gateDelete(from)
    const write = refusal ?? keyspace.gateWrite(to, value, expiresAtMs, meta, flags)
    if (typeof write === "string") return client.reject(write)
    const bytes = entrySize(to, write.value, write.meta)
    if (bytes > keyspace.maxBytes) return client.fail(RespError.tooLarge(bytes, keyspace.maxBytes))
    const { value: newValue, expiresAtMs: newExpiresAtMs, meta: newMeta } = write
    keyspace.delete(from, Cause.delete, true)
    keyspace.set(to, newValue, newExpiresAtMs, newMeta, flags | SetFlag.passed)
    succeed()
  })

/** OBJECT ENCODING: Redis' word for how such bytes would lie in its memory; "structured" for what it has not. */
const objectEncoding: Handler = (client, args) => {
  const entry = client.keyspace.peek(args[2] as string)
  if (entry === undefined) return client.reply.nil()
  const { value } = entry
  if (typeof value !== "string") client.reply.bulk("structured")
  else if (parseInt64(value) !== undefined) client.reply.bulk("int")
  else client.reply.bulk(value.length <= embeddedBytesMax ? "embstr" : "raw")
}

const objectRefcount: Handler = ({ keyspace, reply }, args) => {
  if (keyspace.peek(args[2] as string) === undefined) reply.nil()
  else reply.integer(1)
}

/** MEMORY USAGE key [SAMPLES count]: what the entry counts towards the limit. */
const memoryUsage: Handler = (client, args) => {
  for (let at = 3; at < args.length; at += 2) {
    if ((args[at] as string).toLowerCase() !== "samples" || at + 1 === args.length) return client.fail(RespError.syntax)
    const samples = parseNumber(args[at + 1] as string)
    if (samples === undefined) return client.fail(RespError.notInteger)
    if (samples < 0) return client.fail(RespError.syntax)
  }
  const entry = client.keyspace.peek(args[2] as string)
  if (entry === undefined) client.reply.nil()
  else client.reply.integer(entry.bytes)
}

const globBytesMax = 1024 // with a key of the usual length, 10 to 100 µs at worst
const stepsMax = 64 * 1024 * 1024 // steps of a glob on one key, 0.2 s at worst: a pattern of 1 KB on a key of 64 KB
const slotsPerLook = 64
const stepsPerWork = 32 // steps of a glob that take as long as looking at a key
const bulkBytes = 16 // what a key costs in a reply beside its name, rounded up
const scanSlotsMax = 1_000 // slots; what Redis recommends at most
const scanStepsMax = 1_000_000 // steps of a glob; 2 to 5 ms
const scanBytesMax = 1024 * 1024
const beforeDeleteBit = causeBit(Cause.beforeDelete)
const beforeBits = beforeDeleteBit | causeBit(Cause.beforeWrite)
const cursorPattern = /^\d{1,20}$/
const randomTriesMax = 100 // as Redis; a table with less than a hundredth of its slots taken is walked instead
const embeddedBytesMax = 44 // Redis' OBJ_ENCODING_EMBSTR_SIZE_LIMIT

const seconds = { isAbsolute: false, unitMs: 1000 } as const
const milliseconds = { isAbsolute: false, unitMs: 1 } as const
const atSeconds = { isAbsolute: true, unitMs: 1000 } as const
const atMilliseconds = { isAbsolute: true, unitMs: 1 } as const

const expireRow = (name: string, since: string, unit: ExpiryUnit, argument: string) =>
  ({
    name,
    arity: -3,
    flags: ["write", "fast"],
    keys: [1, 1, 1],
    syntax: `key ${argument} [NX|XX|GT|LT]`,
    summary: `Sets when a key expires, ${unit.isAbsolute ? "as a Unix time" : "counted from now"}, in ${unit.unitMs === 1 ? "milliseconds" : "seconds"}.`,
    since,
    run: expireBy(name, unit)
  }) as const

export const keyCommands: CommandFamily = {
  group: "generic",
  commands: [
    {
      name: "del",
      arity: -2,
      flags: ["write"],
      keys: [1, -1, 1],
      syntax: "key [key ...]",
      summary: "Deletes keys.",
      since: "1.0.0",
      run: del
    },
    {
      name: "unlink",
      arity: -2,
      flags: ["write", "fast"],
      keys: [1, -1, 1],
      syntax: "key [key ...]",
      summary: "Deletes keys.",
      since: "4.0.0",
      run: del
    },
    {
      name: "exists",
      arity: -2,
      flags: ["readonly", "fast"],
      keys: [1, -1, 1],
      syntax: "key [key ...]",
      summary: "Counts which of the keys are there.",
      since: "1.0.0",
      run: exists
    },
    {
      name: "touch",
      arity: -2,
      flags: ["readonly", "fast"],
      keys: [1, -1, 1],
      syntax: "key [key ...]",
      summary: "Counts which of the keys are there.",
      since: "3.2.1",
      run: touch
    },
    expireRow("expire", "1.0.0", seconds, "seconds"),
    expireRow("pexpire", "2.6.0", milliseconds, "milliseconds"),
    expireRow("expireat", "1.2.0", atSeconds, "unix-time-seconds"),
    expireRow("pexpireat", "2.6.0", atMilliseconds, "unix-time-milliseconds"),
    {
      name: "ttl",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      syntax: "key",
      summary: "Returns the time to live in seconds.",
      since: "1.0.0",
      run: deadlineAs((at, now) => Math.floor((at - now + 500) / 1000))
    },
    {
      name: "pttl",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      syntax: "key",
      summary: "Returns the time to live in milliseconds.",
      since: "2.6.0",
      run: deadlineAs((at, now) => at - now)
    },
    {
      name: "expiretime",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      syntax: "key",
      summary: "Returns when the key expires as a Unix time in seconds.",
      since: "7.0.0",
      run: deadlineAs((at) => Math.floor((at + 500) / 1000))
    },
    {
      name: "pexpiretime",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      syntax: "key",
      summary: "Returns when the key expires as a Unix time in milliseconds.",
      since: "7.0.0",
      run: deadlineAs((at) => at)
    },
    {
      name: "persist",
      arity: 2,
      flags: ["write", "fast"],
      keys: [1, 1, 1],
      syntax: "key",
      summary: "Removes the time to live.",
      since: "2.2.0",
      run: persist
    },
    {
      name: "type",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      syntax: "key",
      summary: "Returns the type of a value: string, or none.",
      since: "1.0.0",
      run: type
    },
    {
      name: "keys",
      arity: 2,
      flags: ["no_multi", "readonly"],
      reach: "own",
      syntax: "pattern",
      summary: "Returns all keys that match a glob.",
      since: "1.0.0",
      run: keys
    },
    {
      name: "scan",
      arity: -2,
      flags: ["readonly"],
      reach: "own",
      syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
      summary: "Walks over the keys in steps.",
      since: "2.8.0",
      run: scan
    },
    {
      name: "randomkey",
      arity: 1,
      flags: ["readonly"],
      reach: "own",
      summary: "Returns a key drawn at random.",
      since: "1.0.0",
      run: randomKey
    },
    {
      name: "rename",
      arity: 3,
      flags: ["write"],
      keys: [1, 2, 1],
      syntax: "key newkey",
      summary: "Renames a key, overwriting the other.",
      since: "1.0.0",
      run: renameWith(false)
    },
    {
      name: "renamenx",
      arity: 3,
      flags: ["write", "fast"],
      keys: [1, 2, 1],
      syntax: "key newkey",
      summary: "Renames a key when the other is not there.",
      since: "1.0.0",
      run: renameWith(true)
    },
    {
      name: "object",
      arity: -2,
      flags: [],
      summary: "A container for commands about how a value is kept.",
      since: "2.2.3",
      subcommands: [
        {
          name: "encoding",
          arity: 3,
          flags: ["readonly"],
          keys: [2, 2, 1],
          syntax: "<key>",
          summary: "Returns how the value is encoded.",
          since: "2.2.3",
          run: objectEncoding
        },
        {
          name: "refcount",
          arity: 3,
          flags: ["readonly"],
          keys: [2, 2, 1],
          syntax: "<key>",
          summary: "Returns the number of references to the value.",
          since: "2.2.3",
          run: objectRefcount
        }
      ]
    },
    {
      name: "memory",
      arity: -2,
      flags: [],
      summary: "A container for commands about memory.",
      since: "4.0.0",
      subcommands: [
        {
          name: "usage",
          arity: -3,
          flags: ["readonly"],
          keys: [2, 2, 1],
          syntax: "<key> [SAMPLES <count>]",
          summary: "Returns the bytes that a key counts towards the limit.",
          since: "4.0.0",
          run: memoryUsage
        }
      ]
    }
  ]
}
