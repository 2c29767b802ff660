/** Commands on keys whatever they hold: presence, time to live, walks over all of them. */
import { parseInt64, parseNumber } from "../../cache/Int64.ts"
import { Cause, causeBit, type Entry, entrySize, isLiteral, type Keyspace, SetFlag } from "../../kernel/index.ts"
import { asOne, type CommandFamily, type Handler } from "../Command.ts"
import { GlobWalk, stepsPerWork } from "../GlobWalk.ts"
import { type ExpiryUnit, toInstant } from "../Options.ts"
import { RespError } from "../RespError.ts"

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

/** KEYS glob, in as many turns as it takes: a key that is there from its beginning to its end is found. */
const keys: Handler = (client, args) => {
  const { reply, server } = client
  const { channelBytesMax, replyBytesMax } = server.settings
  const glob = args[1] as string
  if (glob.length > channelBytesMax) return client.fail(RespError.globTooLong(channelBytesMax))
  const walk = new GlobWalk(client, glob)
  if (isLiteral(walk.pattern)) {
    if (walk.keyspace.peek(walk.pattern) !== undefined) walk.add(walk.pattern)
    return reply.bulks(walk.found)
  }
  let cursor = 0
  return client.inTurns(() => {
    for (;;) {
      const [steps, found] = [walk.steps, walk.found.length]
      cursor = walk.advance(cursor, walk.placesPerLook)
      const isTooLarge = walk.bytes > replyBytesMax
      const refusal = isTooLarge ? RespError.replyTooLarge(replyBytesMax) : walk.refusal
      if (refusal !== undefined) {
        client.fail(refusal)
        return true
      }
      if (cursor === 0) break
      const work = 1 + walk.placesPerLook / 8 + walk.found.length - found // empty places are walked over, too
      if (server.turns.spend(work + Math.floor((walk.steps - steps) / stepsPerWork))) return false
    }
    reply.bulks(walk.found)
    return true
  })
}

/**
 * SCAN cursor [MATCH glob] [COUNT n] [TYPE name]. The cursor is a slot, so it stays small and costs nothing to keep.
 * One call looks into at most `scanSlotsMax` slots, and fewer where the glob makes it long work; the cursor says to go
 * on.
 */
const scan: Handler = (client, args) => {
  const { reply, server } = client
  const { channelBytesMax } = server.settings
  if (!cursorPattern.test(args[1] as string)) return client.fail(RespError.invalidCursor)
  const cursor = Math.min(Number(args[1]), Number.MAX_SAFE_INTEGER)
  let pattern = "*"
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
    } else if (option === "match") pattern = value
    else if (option === "type") isStrings = value.toLowerCase() === "string"
    else return client.fail(RespError.syntax)
  }
  if (pattern.length > channelBytesMax) return client.fail(RespError.globTooLong(channelBytesMax))
  const walk = new GlobWalk(client, pattern)
  let [next, slots] = [cursor, 0]
  for (; slots < count && walk.steps < scanStepsMax && walk.bytes < scanBytesMax; slots++) {
    next = walk.advance(next, 1)
    if (next === 0) break
  }
  if (walk.refusal !== undefined) return client.fail(walk.refusal)
  server.turns.count(slots + Math.floor(walk.steps / stepsPerWork))
  reply.array(2)
  reply.bulk(String(next))
  reply.bulks(isStrings ? walk.found : [])
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

const scanSlotsMax = 1_000 // slots; what Redis recommends at most
const scanStepsMax = 1_000_000 // steps of a glob, before the key that passes it; some 2 ms
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
    fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
      fills: "peers",
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
          fills: "peers",
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
          fills: "peers",
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
          fills: "peers",
          syntax: "<key> [SAMPLES <count>]",
          summary: "Returns the bytes that a key counts towards the limit.",
          since: "4.0.0",
          run: memoryUsage
        }
      ]
    }
  ]
}
