/**
 * Commands on values as bytes. A structured value reads as its JSON; an integer among them counts up and stays one.
 *
 * Metadata, tags, cost and TTL: SET replaces them unless told otherwise, what changes a value in place keeps them.
 */
import type { FillScope } from "../../cache/Fills.ts"
import { addInt64, asInt64, type Int64, parseInt64, parseNumber } from "../../cache/Int64.ts"
import { appendBytes, asText, onePiece, valueAsBytes } from "../../cache/Values.ts"
import {
  Cause,
  causeBit,
  type Entry,
  entrySize,
  type Meta,
  noMeta,
  SetFlag,
  toFloat,
  type Value,
  type ValueObject
} from "../../kernel/index.ts"
import type { Client } from "../Client.ts"
import { asOne, type CommandFamily, type Handler } from "../Command.ts"
import { addDecimal, parseDecimal } from "../LongDouble.ts"
import { type ExpiryUnit, expiryUnits, parseExpiry, parseMetadata } from "../Options.ts"
import { RespError } from "../RespError.ts"

const get: Handler = ({ keyspace, reply }, args) => {
  const value = keyspace.get(args[1] as string)
  if (value === undefined) reply.nil()
  else reply.bulk(valueAsBytes(value))
}

/** What a SET needs to know of the entry that was there. */
const dependsOnOld = (args: readonly string[]): FillScope | undefined => {
  for (let at = 3; at < args.length; at++) {
    const option = (args[at] as string).toLowerCase()
    if (option === "get") return "all"
    if (/^(?:nx|xx|keepttl|keepmeta)$/.test(option)) return "peers"
  }
  return undefined
}

const set: Handler = (client, args) => {
  if (args.length > 3) return setWithOptions(client, args)
  if (client.keyspace.set(args[1] as string, args[2] as string)) client.reply.ok()
  else refuse(client, args[1] as string, args[2] as string)
}

/**
 * SET key value [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] [NX | XX] [GET] [META json | KEEPMETA] [TAGS n tag …]
 * [COST n] [LOCAL] [OWNER writer | cluster]. Up to GET as Redis 7.0, t_string.c, parseExtendedStringArgumentsOrReply.
 */
const setWithOptions = asOne((client, args) => {
  const { keyspace, reply } = client
  let expiry: ExpiryUnit | undefined
  let expiryText = ""
  let condition = ""
  let answersOld = false
  let flags = 0
  let metadata: ValueObject | null = null
  let tags: readonly string[] = noMeta.tags
  let cost = 0
  for (let at = 3; at < args.length; at++) {
    const option = (args[at] as string).toLowerCase()
    const next = args[at + 1]
    if (option === "nx" || option === "xx") {
      if (condition !== "" && condition !== option) return client.fail(RespError.syntax)
      condition = option
    } else if (option === "get") answersOld = true
    else if (option === "keepttl" && expiry === undefined) flags |= SetFlag.keepTtl
    else if (Object.hasOwn(expiryUnits, option) && next !== undefined && (flags & SetFlag.keepTtl) === 0) {
      const unit = expiryUnits[option] as ExpiryUnit
      if (expiry !== undefined && expiry !== unit) return client.fail(RespError.syntax)
      expiry = unit
      expiryText = next
      at++
    } else if (option === "keepmeta" && metadata === null && tags.length === 0 && cost === 0) flags |= SetFlag.keepMeta
    else if (option === "local") flags |= SetFlag.local
    else if (option === "owner" && next !== undefined) {
      const owner = next.toLowerCase()
      if (owner !== "writer" && owner !== "cluster") return client.fail(RespError.notOwner)
      if (owner === "cluster") flags |= SetFlag.cluster
      at++
    } else if ((flags & SetFlag.keepMeta) !== 0 || next === undefined) return client.fail(RespError.syntax)
    else if (option === "meta") {
      const parsed = parseMetadata(next)
      if (parsed === undefined) return client.fail(RespError.notMetadata)
      metadata = parsed
      at++
    } else if (option === "tags") {
      const count = parseNumber(next)
      if (count === undefined || count < 1 || count > tagsMax) return client.fail(RespError.tagCount(tagsMax))
      if (at + 1 + count >= args.length) return client.fail(RespError.syntax)
      tags = Object.freeze([...new Set(args.slice(at + 2, at + 2 + count))])
      at += 1 + count
    } else if (option === "cost") {
      cost = Number(next)
      if (!isCost.test(next) || !Number.isFinite(cost)) return client.fail(RespError.notCost)
      at++
    } else return client.fail(RespError.syntax)
  }
  if ((flags & SetFlag.cluster) !== 0) {
    if ((flags & SetFlag.local) !== 0) return client.fail(RespError.ownerOfLocal)
    if (expiry === undefined && (flags & SetFlag.keepTtl) === 0) return client.fail(RespError.ownerWithoutTtl)
  }
  let expiresAtMs = 0
  if (expiry !== undefined) {
    const instant = parseExpiry(client, expiryText, expiry, "set")
    if (instant === undefined) return
    expiresAtMs = instant
  }
  const [key, value] = [args[1] as string, args[2] as string]
  const old = answersOld ? keyspace.get(key) : undefined
  const oldBytes = old === undefined ? undefined : valueAsBytes(old)
  const isHeld = condition !== "" && (keyspace.peek(key) === undefined) === (condition === "xx")
  if (!isHeld) {
    const isPlain = metadata === null && tags.length === 0 && cost === 0
    const meta: Meta = isPlain ? noMeta : Object.freeze({ metadata, tags, cost })
    if (!keyspace.set(key, value, expiresAtMs, meta, flags)) return refuse(client, key, value)
  }
  if (answersOld) answer(client, oldBytes)
  else if (isHeld) reply.nil()
  else reply.ok()
})

const answer = ({ reply }: Client, bytes: string | undefined): void =>
  bytes === undefined ? reply.nil() : reply.bulk(bytes)

/** Says why the keyspace did not take a value. */
const refuse = (client: Client, key: string, value: Value): void => {
  const { refusal } = client.keyspace
  if (refusal === null) refuseTooLarge(client, key, value)
  else client.reject(refusal)
}

const refuseTooLarge = (client: Client, key: string, value: Value): void =>
  client.fail(RespError.tooLarge(entrySize(key, value, noMeta), client.keyspace.maxBytes))

const setNx: Handler = (client, args) => {
  const [key, value] = [args[1] as string, args[2] as string]
  if (client.keyspace.peek(key) !== undefined) client.reply.integer(0)
  else if (client.keyspace.set(key, value)) client.reply.integer(1)
  else refuse(client, key, value)
}

const setFor =
  (command: string, unit: ExpiryUnit): Handler =>
  (client, args) => {
    const [key, value] = [args[1] as string, args[3] as string]
    const expiresAtMs = parseExpiry(client, args[2] as string, unit, command)
    if (expiresAtMs === undefined) return
    if (client.keyspace.set(key, value, expiresAtMs)) client.reply.ok()
    else refuse(client, key, value)
  }

const getSet = asOne((client, args) => {
  const [key, value] = [args[1] as string, args[2] as string]
  const old = client.keyspace.get(key)
  const oldBytes = old === undefined ? undefined : valueAsBytes(old)
  if (client.keyspace.set(key, value)) answer(client, oldBytes)
  else refuse(client, key, value)
})

const getDel = asOne((client, args) => {
  const value = client.keyspace.get(args[1] as string)
  if (value === undefined) return client.reply.nil()
  client.keyspace.delete(args[1] as string)
  if (client.keyspace.refusal === null) client.reply.bulk(valueAsBytes(value))
  else client.reject(client.keyspace.refusal)
})

/** GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] */
const getEx = asOne((client, args) => {
  let unit: ExpiryUnit | undefined
  let text = ""
  let persists = false
  for (let at = 2; at < args.length; at++) {
    const option = (args[at] as string).toLowerCase()
    const next = args[at + 1]
    if (option === "persist" && unit === undefined) persists = true
    else if (Object.hasOwn(expiryUnits, option) && next !== undefined && !persists) {
      if (unit !== undefined && unit !== expiryUnits[option]) return client.fail(RespError.syntax)
      unit = expiryUnits[option]
      text = next
      at++
    } else return client.fail(RespError.syntax)
  }
  const key = args[1] as string
  const value = client.keyspace.get(key)
  if (value === undefined) return client.reply.nil()
  const bytes = valueAsBytes(value)
  if (unit !== undefined) {
    const expiresAtMs = parseExpiry(client, text, unit, "getex")
    if (expiresAtMs === undefined) return
    client.keyspace.expireAt(key, expiresAtMs)
  } else if (persists) client.keyspace.expireAt(key, 0)
  client.reply.bulk(bytes)
})

/** The bytes are counted before the reply is put together: a few short commands may ask for more than memory holds. */
const mget: Handler = (client, args) => {
  const { keyspace, reply, server } = client
  const { replyBytesMax } = server.settings
  const found: Array<string | undefined> = []
  let bytes = 0
  return client.overKeys(
    args,
    (key) => {
      const value = bytes > replyBytesMax ? undefined : keyspace.get(key)
      const shown = value === undefined ? undefined : valueAsBytes(value)
      if (shown !== undefined) bytes += shown.length
      found.push(shown)
    },
    () => {
      if (bytes > replyBytesMax) return client.fail(RespError.replyTooLarge(replyBytesMax))
      reply.array(found.length)
      for (const each of found) answer(client, each)
    }
  )
}

/** All or nothing: what is too large or rejected refuses them all before the first is stored. */
const storePairs = (client: Client, args: readonly string[]): boolean => {
  const { keyspace } = client
  if ((keyspace.trie.mask & beforeWriteBit) !== 0) return storePairsThroughGate(client, args)
  for (let i = 1; i < args.length; i += 2) {
    const [key, value] = [args[i] as string, args[i + 1] as string]
    if (entrySize(key, value, noMeta) <= keyspace.maxBytes) continue
    refuseTooLarge(client, key, value)
    return false
  }
  for (let i = 1; i < args.length; i += 2) keyspace.set(args[i] as string, args[i + 1] as string)
  return true
}

const storePairsThroughGate = (client: Client, args: readonly string[]): boolean => {
  const { keyspace } = client
  const writes: Array<readonly [key: string, value: Value, expiresAtMs: number, meta: Meta]> = []
  for (let i = 1; i < args.length; i += 2) {
    const key = args[i] as string
    const write = keyspace.gateWrite(key, args[i + 1] as string)
    if (typeof write === "string") {
      client.reject(write)
      return false
    }
    const { value, expiresAtMs, meta } = write
    if (entrySize(key, value, meta) > keyspace.maxBytes) {
      refuseTooLarge(client, key, value)
      return false
    }
    writes.push([key, value, expiresAtMs, meta])
  }
  for (const [key, value, expiresAtMs, meta] of writes) keyspace.set(key, value, expiresAtMs, meta, SetFlag.passed)
  return true
}

/** Answers an error and returns false where there are more pairs than are stored in one turn. */
const isWithinTurn = (client: Client, args: readonly string[]): boolean => {
  const { atomicKeysMax } = client.server.settings
  if ((args.length - 1) / 2 <= atomicKeysMax) return true
  client.fail(RespError.tooManyKeys(atomicKeysMax))
  return false
}

const mset = asOne((client, args) => {
  if (args.length % 2 === 0) client.fail(RespError.arity("mset"))
  else if (isWithinTurn(client, args) && storePairs(client, args)) client.reply.ok()
})

const msetNx = asOne((client, args) => {
  if (args.length % 2 === 0) return client.fail(RespError.arity("msetnx"))
  if (!isWithinTurn(client, args)) return
  for (let i = 1; i < args.length; i += 2) {
    if (client.keyspace.peek(args[i] as string) !== undefined) return client.reply.integer(0)
  }
  if (storePairs(client, args)) client.reply.integer(1)
})

// What changes a value in place

/**
 * Stores a new value under the entry's metadata and deadline, or a new entry. Returns what was stored, which is another
 * value where a gate rewrote it; undefined when it was refused, which is answered then.
 */
const replaceValue = (client: Client, key: string, entry: Entry | undefined, value: Value): Value | undefined => {
  const { keyspace } = client
  const local = entry?.isLocal === true ? SetFlag.local : 0
  const flags = entry === undefined ? 0 : SetFlag.keepTtl | SetFlag.keepMeta | local
  if ((keyspace.trie.mask & beforeWriteBit) === 0) {
    if (keyspace.set(key, value, 0, noMeta, flags)) return value
  } else {
    const wasHeld = keyspace.hold() // what is asked and what is stored are one operation
    try {
      const write = keyspace.gateWrite(key, value, 0, noMeta, flags)
      if (typeof write === "string") {
        client.reject(write)
        return undefined
      }
      const stored = write.value
      if (keyspace.set(key, stored, write.expiresAtMs, write.meta, local | SetFlag.passed)) return stored
      refuseTooLarge(client, key, stored)
      return undefined
    } finally {
      keyspace.release(wasHeld)
    }
  }
  refuse(client, key, value)
  return undefined
}

/** What was stored in the place of an integer, as the integer that it is; as bytes where a gate made it something else. */
const answerInteger = ({ reply }: Client, stored: Value): void => {
  const integer = asInt64(stored)
  if (integer === undefined) reply.bulk(valueAsBytes(stored))
  else reply.integer(integer)
}

const increment = (client: Client, key: string, by: Int64) => {
  const entry = client.keyspace.peek(key)
  const old = entry === undefined ? 0 : asInt64(entry.value)
  if (old === undefined) return client.fail(RespError.notInteger)
  const sum = addInt64(old, by)
  if (sum === undefined) return client.fail(RespError.overflow)
  const isBytes = entry === undefined || typeof entry.value === "string"
  const stored = replaceValue(client, key, entry, isBytes ? String(sum) : sum)
  if (stored !== undefined) answerInteger(client, stored)
}

const incr: Handler = (client, args) => increment(client, args[1] as string, 1)
const decr: Handler = (client, args) => increment(client, args[1] as string, -1)

const incrBy: Handler = (client, args) => {
  const by = parseInt64(args[2] as string)
  if (by === undefined) client.fail(RespError.notInteger)
  else increment(client, args[1] as string, by)
}

const decrBy: Handler = (client, args) => {
  const by = parseInt64(args[2] as string)
  if (by === undefined) return client.fail(RespError.notInteger)
  const negated = addInt64(0, typeof by === "bigint" ? -by : -by)
  if (negated === undefined) client.fail(RespError.decrementOverflow)
  else increment(client, args[1] as string, negated)
}

const incrByFloat: Handler = (client, args) => {
  const key = args[1] as string
  const entry = client.keyspace.peek(key)
  const old = entry === undefined ? parseDecimal("0") : parseDecimal(valueAsBytes(entry.value))
  const by = parseDecimal(args[2] as string)
  if (old === undefined || by === undefined) return client.fail(RespError.notFloat)
  const sum = addDecimal(old, by)
  if (sum === undefined) return client.fail(RespError.notFinite)
  const value = entry === undefined || typeof entry.value === "string" ? sum : sumLike(entry.value, sum)
  const stored = replaceValue(client, key, entry, value)
  if (stored !== undefined) client.reply.bulk(stored === value ? sum : valueAsBytes(stored))
}

/** A sum of the kind of the number that was added to: an integer stays one where the sum is whole, a float is a float. */
const sumLike = (old: Value, sum: string): Value => {
  const isInteger = asInt64(old) !== undefined
  return (isInteger ? parseInt64(sum) : undefined) ?? toFloat(Number(sum))
}

const append: Handler = (client, args) => {
  const [key, addition] = [args[1] as string, args[2] as string]
  const entry = client.keyspace.peek(key)
  if (entry !== undefined && typeof entry.value !== "string") return client.fail(RespError.wrongType)
  const value = entry === undefined ? addition : appendBytes(entry.value as string, addition)
  if (value.length > client.server.settings.limits.bulkBytesMax) return client.fail(RespError.stringTooLong)
  const stored = replaceValue(client, key, entry, value)
  if (stored !== undefined) client.reply.integer(valueAsBytes(stored).length)
}

const setRange: Handler = (client, args) => {
  const [key, part] = [args[1] as string, args[3] as string]
  const offset = parseNumber(args[2] as string)
  if (offset === undefined) return client.fail(RespError.notInteger)
  if (offset < 0) return client.fail(RespError.offsetRange)
  const entry = client.keyspace.peek(key)
  if (entry !== undefined && typeof entry.value !== "string") return client.fail(RespError.wrongType)
  const old = (entry?.value ?? "") as string
  if (part.length === 0) return client.reply.integer(old.length)
  if (offset + part.length > client.server.settings.limits.bulkBytesMax) return client.fail(RespError.stringTooLong)
  const head = old.length < offset ? old + "\0".repeat(offset - old.length) : old.slice(0, offset)
  const value = onePiece(head + part + old.slice(offset + part.length))
  const stored = replaceValue(client, key, entry, value)
  if (stored !== undefined) client.reply.integer(valueAsBytes(stored).length)
}

const strLen: Handler = ({ keyspace, reply }, args) => {
  const entry = keyspace.peek(args[1] as string)
  reply.integer(entry === undefined ? 0 : valueAsBytes(entry.value).length)
}

const getRange: Handler = (client, args) => {
  let [start, end] = [parseNumber(args[2] as string), parseNumber(args[3] as string)]
  if (start === undefined || end === undefined) return client.fail(RespError.notInteger)
  const value = client.keyspace.get(args[1] as string)
  const bytes = value === undefined ? "" : valueAsBytes(value)
  if (start < 0 && end < 0 && start > end) return client.reply.bulk("")
  if (start < 0) start = Math.max(0, bytes.length + start)
  if (end < 0) end = Math.max(0, bytes.length + end)
  client.reply.bulk(bytes.slice(start, end + 1))
}

/** META key: what is attached to the value, as JSON. Mimosa's own. */
const readMeta: Handler = ({ keyspace, reply }, args) => {
  const entry = keyspace.peek(args[1] as string)
  if (entry === undefined) return reply.nil()
  const { metadata, tags, cost } = entry.meta
  const { version, isLocal: local } = entry
  reply.bulk(valueAsBytes({ metadata, tags: tags.map(asText), cost, version, local }))
}

const beforeWriteBit = causeBit(Cause.beforeWrite)
const isCost = /^\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const tagsMax = 64 // tags of one entry: each will cost a place in an index

export const strings: CommandFamily = {
  group: "string",
  commands: [
    {
      name: "get",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key",
      summary: "Returns the value of a key.",
      since: "1.0.0",
      run: get
    },
    {
      name: "set",
      arity: -3,
      flags: ["write", "denyoom"],
      keys: [1, 1, 1],
      fills: dependsOnOld,
      syntax:
        "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL] [META json|KEEPMETA] [TAGS count tag ...] [COST number] [LOCAL] [OWNER writer|cluster]",
      summary: "Sets the value of a key.",
      since: "1.0.0",
      run: set
    },
    {
      name: "setnx",
      arity: 3,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "peers",
      syntax: "key value",
      summary: "Sets the value of a key that is not there.",
      since: "1.0.0",
      run: setNx
    },
    {
      name: "setex",
      arity: 4,
      flags: ["write", "denyoom"],
      keys: [1, 1, 1],
      syntax: "key seconds value",
      summary: "Sets the value and the time to live of a key.",
      since: "2.0.0",
      run: setFor("setex", expiryUnits.ex as ExpiryUnit)
    },
    {
      name: "psetex",
      arity: 4,
      flags: ["write", "denyoom"],
      keys: [1, 1, 1],
      syntax: "key milliseconds value",
      summary: "Sets the value and the time to live of a key, in milliseconds.",
      since: "2.6.0",
      run: setFor("psetex", expiryUnits.px as ExpiryUnit)
    },
    {
      name: "getset",
      arity: 3,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key value",
      summary: "Sets the value of a key and returns the old one.",
      since: "1.0.0",
      run: getSet
    },
    {
      name: "getdel",
      arity: 2,
      flags: ["write", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key",
      summary: "Returns the value of a key and deletes it.",
      since: "6.2.0",
      run: getDel
    },
    {
      name: "getex",
      arity: -2,
      flags: ["write", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
      summary: "Returns the value of a key and changes its time to live.",
      since: "6.2.0",
      run: getEx
    },
    {
      name: "mget",
      arity: -2,
      flags: ["readonly", "fast"],
      keys: [1, -1, 1],
      fills: "all",
      syntax: "key [key ...]",
      summary: "Returns the values of keys.",
      since: "1.0.0",
      run: mget
    },
    {
      name: "mset",
      arity: -3,
      flags: ["write", "denyoom"],
      keys: [1, -1, 2],
      syntax: "key value [key value ...]",
      summary: "Sets the values of keys.",
      since: "1.0.1",
      run: mset
    },
    {
      name: "msetnx",
      arity: -3,
      flags: ["write", "denyoom"],
      keys: [1, -1, 2],
      fills: "peers",
      syntax: "key value [key value ...]",
      summary: "Sets the values of keys when none of them is there.",
      since: "1.0.1",
      run: msetNx
    },
    {
      name: "incr",
      arity: 2,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key",
      summary: "Adds one to the integer of a key.",
      since: "1.0.0",
      run: incr
    },
    {
      name: "decr",
      arity: 2,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key",
      summary: "Takes one from the integer of a key.",
      since: "1.0.0",
      run: decr
    },
    {
      name: "incrby",
      arity: 3,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key increment",
      summary: "Adds to the integer of a key.",
      since: "1.0.0",
      run: incrBy
    },
    {
      name: "decrby",
      arity: 3,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key decrement",
      summary: "Takes from the integer of a key.",
      since: "1.0.0",
      run: decrBy
    },
    {
      name: "incrbyfloat",
      arity: 3,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key increment",
      summary: "Adds to the number of a key.",
      since: "2.6.0",
      run: incrByFloat
    },
    {
      name: "append",
      arity: 3,
      flags: ["write", "denyoom", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key value",
      summary: "Appends to the value of a key.",
      since: "2.0.0",
      run: append
    },
    {
      name: "strlen",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key",
      summary: "Returns the length of a value.",
      since: "2.2.0",
      run: strLen
    },
    {
      name: "getrange",
      arity: 4,
      flags: ["readonly"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key start end",
      summary: "Returns a part of a value.",
      since: "2.4.0",
      run: getRange
    },
    {
      name: "substr",
      arity: 4,
      flags: ["readonly"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key start end",
      summary: "Returns a part of a value (old name of GETRANGE).",
      since: "1.0.0",
      run: getRange
    },
    {
      name: "setrange",
      arity: 4,
      flags: ["write", "denyoom"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key offset value",
      summary: "Overwrites a part of a value.",
      since: "2.2.0",
      run: setRange
    },
    {
      name: "meta",
      arity: 2,
      flags: ["readonly", "fast"],
      keys: [1, 1, 1],
      fills: "all",
      syntax: "key",
      summary: "Returns metadata, tags, cost and version of a key as JSON.",
      since: "mimosa",
      run: readMeta
    }
  ]
}
