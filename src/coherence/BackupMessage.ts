/**
 * What instances say to each other of expiries that somebody else is to tell of (Backups.ts), as the payload of a BACKUP
 * frame: a list, as `ValueCodec` writes one.
 *
 * A batch is [0, number, is the first, puts, drops], its answer [1, number, refused]. What is behind that is of a newer
 * instance and is skipped, as are messages of other kinds. `decode` never throws, and answers undefined for what is none.
 */
import { InvalidBytes } from "../cache/CacheError.ts"
import { decodeValue, encodeValue } from "../cache/ValueCodec.ts"
import type { Nested } from "../kernel/index.ts"

/** An expiry that somebody else is to tell of, where who hands it over is gone. */
export interface BackupPut {
  /** Of the displayed key. */
  readonly hash: number
  /** The write that made it: these two name the expiry. */
  readonly writer: number
  readonly version: number
  /** Remaining life in ms when it was sent; not above 0 where it has passed. */
  readonly ttlMs: number
  /** What the keys of its keyspace are displayed with. */
  readonly head: string
  readonly key: string
  /** Value and what is attached, as `PeerValueCodec` has encoded them. */
  readonly payload: Uint8Array
}

/** An expiry that need not be told of any more: it was told, or the entry is not what it was. */
export interface BackupDrop {
  readonly hash: number
  readonly writer: number
  /** What was written later stays. */
  readonly version: number
}

export type BackupMessage =
  | {
      readonly type: "batch"
      /** Grows; said again until it is answered. */
      readonly number: number
      /** Whatever was handed over before is void. */
      readonly isFirst: boolean
      readonly puts: readonly BackupPut[]
      readonly drops: readonly BackupDrop[]
    }
  /** The batch has come. */
  | {
      readonly type: "answer"
      readonly number: number
      /** Puts for which there was no room. */
      readonly refused: number
    }

export const encodeBackup = (message: BackupMessage): Uint8Array => {
  if (message.type === "answer") return encodeValue([kinds.answer, message.number, message.refused])
  const puts = message.puts.map(({ hash, writer, version, ttlMs, head, key, payload }) => [
    ...[hash, writer, version, ttlMs, head, key],
    payload
  ])
  const drops = message.drops.map(({ hash, writer, version }) => [hash, writer, version])
  return encodeValue([kinds.batch, message.number, message.isFirst, puts, drops])
}

export const decodeBackup = (payload: Uint8Array): BackupMessage | undefined => {
  const list = decodeValue(payload)
  if (list instanceof InvalidBytes || !Array.isArray(list)) return undefined
  const [kind, number, third, fourth, fifth] = list as readonly Nested[]
  if (!isCount(number)) return undefined
  if (kind === kinds.answer) return isCount(third) ? { type: "answer", number, refused: third } : undefined
  if (kind !== kinds.batch || typeof third !== "boolean") return undefined
  const puts = listOf(fourth, putOf)
  const drops = listOf(fifth, dropOf)
  return puts && drops && { type: "batch", number, isFirst: third, puts, drops }
}

const kinds = { batch: 0, answer: 1 }

const putOf = (item: readonly Nested[]): BackupPut | undefined => {
  const drop = dropOf(item)
  const [, , , ttlMs, head, key, payload] = item
  if (drop === undefined || typeof ttlMs !== "number" || !Number.isSafeInteger(ttlMs)) return undefined
  if (!isBytes(head) || !isBytes(key) || !(payload instanceof Uint8Array)) return undefined
  return { ...drop, ttlMs, head, key, payload }
}

const dropOf = ([hash, writer, version]: readonly Nested[]): BackupDrop | undefined =>
  isCount(hash) && isCount(writer) && isCount(version) ? { hash, writer, version } : undefined

/** All of the list, or undefined where one of it is none. */
const listOf = <A>(list: Nested | undefined, of: (item: readonly Nested[]) => A | undefined): A[] | undefined => {
  if (!Array.isArray(list)) return undefined
  const items: A[] = []
  for (const each of list as readonly Nested[]) {
    const item = Array.isArray(each) ? of(each as readonly Nested[]) : undefined
    if (item === undefined) return undefined
    items.push(item)
  }
  return items
}

const isCount = (value: Nested | undefined): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** Keys are bytes, as latin1. */
const isBytes = (value: Nested | undefined): value is string => typeof value === "string" && !/[^\0-\xff]/.test(value)
