/**
 * `cache` as tenants' scripts see it: what Cachex's Lua module gives, over the tenant's own keyspace.
 *
 * Keys are bare, and the keyspace that they are looked up in is the run's: no key, whatever its bytes, names an entry
 * of anybody else. Each call is a client's operation of its own (law 4): it fires triggers, counts as use, and is done
 * when the call returns, whatever becomes of the run.
 *
 * What is wrong in the program is a Lua error at its line: a key that is none, a number that is none, an argument too
 * many, which would else be dropped without a word (`put(key, value, 60)` would never expire). What is wrong with the
 * data is an answer (false, or nil from `incr`), and the reason is in the script's log: a value that cannot be stored
 * or does not fit, a sum past 64 bits, the refusal of a BEFORE_ trigger. A time to live is data for `put_ttl` and
 * `touch`, to which what is left until a past moment may well be given; for `incr` it is a setting of the program.
 *
 * A key is bytes. A number is the key that `..` would make of it, so 5 and 5.0 are two keys, as "n" .. 5 and "n" .. 5.0.
 *
 * A key that is missed and that a peer, a tier or a loader may have suspends the script until it is filled, within the
 * time that the run may wait. Where nothing can be suspended (in a comparator, a metamethod), or the default is nothing
 * that could be kept meanwhile (a function), only what is in the cache counts.
 *
 * Cost: get and put of a short string are one crossing each, without an allocation but for a new entry's.
 */
import { addInt64, asInt64, type Int64 } from "../cache/Int64.ts"
import { type FillScope, type Fills, Loans, lossyText, ttlMsOf, ttlSecondsMax } from "../cache/index.ts"
import { Cause, causeBit, entrySize, type Keyspace, noMeta, SetFlag, type Value } from "../kernel/index.ts"
import { type HostCall, type HostFunction, type HostTable, type LuaValue, Refusal } from "../sandbox/index.ts"
import { KeyWalk } from "./KeyWalk.ts"
import { freeze, freezeFuel, kindOf, pays } from "./LuaData.ts"
import type { Current, RunningScript } from "./ScriptRun.ts"

/** `fills`: has keys looked for that are not in the cache; without it a miss is a miss. */
export const makeCacheModule = (current: Current, fills?: Fills): HostTable => {
  /** A function whose first argument is a key. `usage`: what it takes, for whoever gives it more. */
  const keyed =
    (
      name: string,
      countMax: number,
      usage: string,
      perform: (call: HostCall, key: string, keyspace: Keyspace, run: RunningScript) => void
    ): HostFunction =>
    (call) => {
      const { run } = current
      if (run.keyspace === null) return call.fail(noCache)
      if (call.count > countMax) return call.fail(tooMany(name, usage, call.count))
      const key = call.string(1)
      if (key === undefined) call.fail(`cache.${name} takes a key (a string) first, not ${kindOf(call, 1)}`)
      else if (key.length > keyBytesMax) {
        call.fail(`cache.${name}: a key has at most ${keyBytesMax} bytes, this one has ${key.length}`)
      } else perform(call, key, run.keyspace, run)
    }
  const walks = new WeakMap<RunningScript, KeyWalk>()
  /** Whether a key is not here, and a script can be suspended until it has been looked for. */
  const mayCome = (keyspace: Keyspace, key: string, scope: FillScope): boolean =>
    fills?.isWanted(keyspace, key, scope) === true
  /** Suspends the script until then; `answer` is made when it goes on. False where nothing can be suspended. */
  const waits = (call: HostCall, name: string, key: string, scope: FillScope, answer: Answer | null): boolean => {
    const { run } = current
    const { keyspace } = run
    if (fills === undefined || keyspace === null || answer === null) return false
    return waitForFill(call, run, name, (loans, signal) => fills.borrow(loans, keyspace, key, scope, signal), answer)
  }
  return {
    get: keyed("get", 2, "a key and a default", (call, key, keyspace) => {
      const workBefore = keyspace.reactionWork
      const value = keyspace.get(key)
      if (!paysReactions(call, keyspace, workBefore)) return
      if (typeof value === "string") call.returnString(value)
      else if (value !== undefined) call.returnValue(value, true)
      else if (mayCome(keyspace, key, "all") && waits(call, "get", key, "all", keptDefault(call))) return
      else if (call.count > 1) call.returnArgument(2)
      else call.returnNil()
    }),

    put: keyed("put", 2, "a key and a value", (call, key, keyspace, run) => store(call, run, keyspace, "put", key, 0)),

    put_ttl: keyed("put_ttl", 3, "a key, a value and a number of seconds", (call, key, keyspace, run) => {
      const expiresAtMs = deadlineOf(call, 3, run, "put_ttl")
      if (expiresAtMs === undefined) return
      if (expiresAtMs === 0) refuseTtl(call, 3, run, "put_ttl")
      else store(call, run, keyspace, "put_ttl", key, expiresAtMs)
    }),

    delete: keyed("delete", 1, "a key", (call, key, keyspace, run) => {
      const isAway = mayCome(keyspace, key, "peers")
      if (isAway && waits(call, "delete", key, "peers", () => removed(keyspace, key, run))) return
      const workBefore = keyspace.reactionWork
      const wasThere = removed(keyspace, key, run)
      if (paysReactions(call, keyspace, workBefore)) call.returnBoolean(wasThere)
    }),

    has: keyed("has", 1, "a key", (call, key, keyspace) => {
      const isAway = mayCome(keyspace, key, "peers")
      if (isAway && waits(call, "has", key, "peers", () => keyspace.peek(key) !== undefined)) return
      call.returnBoolean(keyspace.peek(key) !== undefined)
    }),

    incr: keyed("incr", 3, "a key, the integer to add and a number of seconds", (call, key, keyspace, run) => {
      const by = stepOf(call)
      if (by === undefined) return
      const isExpiring = isGiven(call, 3)
      const expiresAtMs = isExpiring ? deadlineOf(call, 3, run, "incr") : 0
      if (expiresAtMs === undefined) return
      if (isExpiring && expiresAtMs === 0) return call.fail(noTtl(call, 3, "incr"))
      const isAway = mayCome(keyspace, key, "all")
      if (isAway && waits(call, "incr", key, "all", () => increment(keyspace, key, by, expiresAtMs, run))) return
      const workBefore = keyspace.reactionWork
      const sum = increment(keyspace, key, by, expiresAtMs, run)
      if (!paysReactions(call, keyspace, workBefore)) return
      if (typeof sum === "number") return call.returnInteger(sum)
      if (typeof sum === "bigint") return call.returnValue(sum)
      call.returnNil()
    }),

    touch: keyed("touch", 2, "a key and a number of seconds", (call, key, keyspace, run) => {
      const isAway = mayCome(keyspace, key, "peers")
      if (!isGiven(call, 2)) {
        if (isAway && waits(call, "touch", key, "peers", () => keyspace.use(key))) return
        return call.returnBoolean(keyspace.use(key))
      }
      const expiresAtMs = deadlineOf(call, 2, run, "touch")
      if (expiresAtMs === undefined) return
      if (expiresAtMs === 0) return refuseTtl(call, 2, run, "touch")
      const touched = () => keyspace.use(key) && keyspace.expireAt(key, expiresAtMs)
      if (isAway && waits(call, "touch", key, "peers", touched)) return
      const workBefore = keyspace.reactionWork
      const isThere = touched()
      if (paysReactions(call, keyspace, workBefore)) call.returnBoolean(isThere)
    }),

    ttl: keyed("ttl", 1, "a key", (call, key, keyspace, run) => {
      if (mayCome(keyspace, key, "peers") && waits(call, "ttl", key, "peers", () => secondsLeft(keyspace, key, run)))
        return
      const seconds = secondsLeft(keyspace, key, run)
      if (seconds === null) call.returnNil()
      else call.returnNumber(seconds)
    }),

    keys: {
      source: keysInLua,
      host: {
        /** Starts a walk; answers why it cannot, else nothing. */
        begin(call) {
          const { run } = current
          if (run.keyspace === null) return call.returnString(noCache)
          if (call.count > 2) return call.returnString(tooMany("keys", "a prefix and a limit", call.count))
          const prefix = call.string(1)
          if (prefix === undefined) {
            return call.returnString(`cache.keys takes a prefix (a string) first, not ${kindOf(call, 1)}`)
          }
          const limit = isGiven(call, 2) ? call.number(2) : keysDefault
          if (limit === undefined || !(limit >= 1 && limit <= keysMax && Number.isInteger(limit))) {
            return call.returnString(`cache.keys: the limit is an integer from 1 to ${keysMax}`)
          }
          walks.set(run, new KeyWalk(run.keyspace, prefix, limit))
        },

        /** Goes on with it: true while it looks, then the keys in portions, nil at the end. */
        next(call) {
          const { run } = current
          const walk = walks.get(run)
          if (walk === undefined) return call.returnNil()
          if (walk.isLooking) {
            walk.look()
            if (call.charge(walk.work)) call.returnBoolean(true)
            return
          }
          const keys = walk.take()
          if (keys.length > 0) return call.returnValue(keys)
          walks.delete(run)
          call.returnNil()
        }
      }
    }
  }
}

/** Work in portions, so that the script can be paused between them; the walk is the host's, the list is the run's. */
const keysInLua = `
local host = ...
local begin, next, error = host.begin, host.next, error
return function(...)
  local problem = begin(...)
  if problem then error(problem, 2) end
  local keys, count = {}, 0
  local portion = next()
  while portion do
    if portion ~= true then
      for i = 1, #portion do keys[count + i] = portion[i] end
      count = count + #portion
    end
    portion = next()
  end
  return keys
end
`

const noCache = "this run has no cache: give it a cachePrefix"

/** Said to who has given more arguments than are heard. */
const tooMany = (name: string, usage: string, count: number): string => {
  const other = name === "put" ? "; cache.put_ttl(key, value, seconds) gives it a time to live" : ""
  return `cache.${name} takes ${usage}, not ${count} arguments${other}`
}

const keyBytesMax = 64 << 10
const keysDefault = 1_000
const keysMax = 10_000

const isGiven = (call: HostCall, index: number): boolean => index <= call.count && call.kind(index) !== "nil"

/** Stores the second argument, and answers whether it could. */
const store = (
  call: HostCall,
  run: RunningScript,
  keyspace: Keyspace,
  name: string,
  key: string,
  expiresAtMs: number
): void => {
  if (call.count < 2) {
    call.fail(`cache.${name} takes a key and a value; nil is one, nothing is none`)
    return
  }
  const given = call.value(2)
  if (given instanceof Refusal) {
    if (given.reason === "fuel") return // the run is over
    run.refuse(`cache.${name}: ${given.message}`)
    call.returnBoolean(false)
    return
  }
  if (!pays(call, given, freezeFuel)) return
  const value = freeze(given as LuaValue & Value)
  const workBefore = keyspace.reactionWork
  const wasSet = keyspace.set(key, value, expiresAtMs)
  if (!wasSet) run.refuse(`cache.${name}: ${whyNotSet(keyspace, key, value)}`)
  if (paysReactions(call, keyspace, workBefore)) call.returnBoolean(wasSet)
}

/**
 * Takes the fuel that the triggers of an operation have spent: what they compute is the script's computing, or one that
 * sets off a few of them in a loop would hold the thread unseen. False where the run has no more, and is over.
 */
const paysReactions = (call: HostCall, keyspace: Keyspace, workBefore: number): boolean =>
  keyspace.reactionWork === workBefore || call.charge(keyspace.reactionWork - workBefore)

/** Why the keyspace has just refused to set this. */
const whyNotSet = (keyspace: Keyspace, key: string, value: Value): string => {
  if (keyspace.refusal !== null) return rejected(keyspace.refusal)
  const size = entrySize(key, value, noMeta)
  return `the entry '${shown(key)}' takes ${size} bytes, more than the ${keyspace.maxBytes} that all entries may (maxBytes)`
}

const rejected = (reason: string): string => `rejected by a trigger: ${reason}`

const shown = (key: string): string => lossyText(key.slice(0, 80))

/**
 * The argument, a number of seconds from now, as a deadline; 0 where that is none. Undefined where it is no number,
 * which fails the call.
 */
const deadlineOf = (call: HostCall, index: number, run: RunningScript, name: string): number | undefined => {
  const seconds = call.number(index)
  if (seconds === undefined) {
    call.fail(`cache.${name}: argument ${index} is a number of seconds, not ${kindOf(call, index)}`)
    return undefined
  }
  const ttlMs = ttlMsOf(seconds)
  return ttlMs === undefined ? 0 : run.nowMs() + ttlMs
}

/** Answers false to seconds for which nothing can be kept. */
const refuseTtl = (call: HostCall, index: number, run: RunningScript, name: string): void => {
  run.refuse(noTtl(call, index, name))
  call.returnBoolean(false)
}

const noTtl = (call: HostCall, index: number, name: string): string =>
  `cache.${name}: a TTL is a number of seconds above 0, up to ${ttlSecondsMax}; this one is ${call.number(index)}`

/** What is left of the life of an entry; null where there is none, or it has no end. */
const secondsLeft = (keyspace: Keyspace, key: string, run: RunningScript): number | null => {
  const expiresAtMs = keyspace.peek(key)?.expiresAtMs ?? 0
  return expiresAtMs === 0 ? null : (expiresAtMs - run.nowMs()) / 1000
}

/** What `incr` adds: 1, or its second argument. Undefined where that is no integer, which fails the call. */
const stepOf = (call: HostCall): Int64 | undefined => {
  if (!isGiven(call, 2)) return 1
  const number = call.number(2)
  if (number !== undefined && Number.isSafeInteger(number)) return number
  const exact = number === undefined ? null : call.value(2)
  if (typeof exact === "bigint") return exact
  const given = number === undefined ? kindOf(call, 2) : shown(call.string(2) ?? "")
  call.fail(`cache.incr: argument 2 is the integer to add, not ${given}`)
  return undefined
}

/** Removes a key; false where there was none, or where that was refused, which the run's log says. */
const removed = (keyspace: Keyspace, key: string, run: RunningScript): boolean => {
  const wasThere = keyspace.delete(key)
  if (!wasThere && keyspace.refusal !== null) run.refuse(`cache.delete: ${rejected(keyspace.refusal)}`)
  return wasThere
}

/** Adds to what the key holds. The new integer, or null: then the run's log says why there is none. */
const increment = (
  keyspace: Keyspace,
  key: string,
  by: Int64,
  expiresAtMs: number,
  run: RunningScript
): Int64 | null => {
  const sum = sumOf(keyspace, key, by, expiresAtMs)
  if (typeof sum !== "string") return sum
  run.refuse(`cache.incr: ${sum}`)
  return null
}

/** The same; the new integer, or why there is none. */
const sumOf = (keyspace: Keyspace, key: string, by: Int64, expiresAtMs: number): Int64 | string => {
  const entry = keyspace.peek(key)
  const old = entry === undefined ? 0 : asInt64(entry.value)
  if (old === undefined) return `'${shown(key)}' holds no integer`
  const sum = addInt64(old, by)
  if (sum === undefined) return `'${shown(key)}' would exceed 64 bits`
  // A key that it makes holds an integer, not bytes: it is Lua that reads it back, and compares it.
  const value = typeof entry?.value === "string" ? String(sum) : sum
  const local = entry?.isLocal === true ? SetFlag.local : 0
  const flags = entry === undefined ? 0 : SetFlag.keepTtl | SetFlag.keepMeta | local
  if ((keyspace.trie.mask & beforeWriteBit) !== 0) return replaceThroughGate(keyspace, key, value, expiresAtMs, flags)
  return keyspace.set(key, value, expiresAtMs, noMeta, flags) ? sum : whyNotSet(keyspace, key, value)
}

/** Stores what a BEFORE_WRITE trigger makes of the integer. That, or why there is none. */
const replaceThroughGate = (
  keyspace: Keyspace,
  key: string,
  value: Value,
  expiresAtMs: number,
  flags: number
): Int64 | string => {
  const wasHeld = keyspace.hold() // what is asked and what is stored are one operation
  try {
    const write = keyspace.gateWrite(key, value, expiresAtMs, noMeta, flags)
    if (typeof write === "string") return rejected(write)
    const stored = write.value
    const wasSet = keyspace.set(key, stored, write.expiresAtMs, write.meta, (flags & SetFlag.local) | SetFlag.passed)
    if (!wasSet) return whyNotSet(keyspace, key, stored)
    return asInt64(stored) ?? `a trigger has made of '${shown(key)}' what is no integer`
  } finally {
    keyspace.release(wasHeld)
  }
}

const beforeWriteBit = causeBit(Cause.beforeWrite)

/** What a script that has waited for a key is answered: with the value, if it has come from somewhere. */
type Answer = (value: Value | undefined) => LuaValue

/** The value as Lua sees it, or the second argument; null where that is nothing that could be kept meanwhile. */
const keptDefault = (call: HostCall): Answer | null => {
  const other = call.value(2)
  if (other instanceof Refusal) return null
  return (value) => {
    if (value === undefined) return other
    return typeof value === "string" ? Buffer.from(value, "latin1") : (value as LuaValue)
  }
}

/**
 * Suspends the script until the key is filled; false where that cannot be. A load that fails is a miss, and the reason
 * in the script's log.
 */
const waitForFill = (
  call: HostCall,
  run: RunningScript,
  name: string,
  borrow: (loans: Loans, signal: AbortSignal) => Promise<Value | undefined>,
  answer: Answer
): boolean => {
  const leftMs = Math.floor(run.waitLeftMs()) - goOnMs
  if (leftMs < 1) return false
  run.wait(async (signal) => {
    const giveUp = new AbortController()
    const stop = (): void => giveUp.abort(new Error("nobody waits for it any more"))
    const timer = setTimeout(() => giveUp.abort(new Error("the fill takes longer than the run may wait")), leftMs)
    signal.addEventListener("abort", stop, { once: true })
    const loans = new Loans()
    let value: Value | undefined
    try {
      value = await borrow(loans, giveUp.signal)
    } catch (error) {
      run.refuse(`cache.${name}: ${error instanceof Error ? error.message : String(error)}`)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener("abort", stop)
    }
    return loans.use(() => answer(value))
  })
  return call.wait()
}

const goOnMs = 10 // ms that the run may still wait when it gives up a fill: for its turn, to make something of it
