/**
 * What registers of definitions say to each other, as the payload of a DEFINE frame: JSON in UTF-8.
 *
 * Definitions are few and change seldom, their bodies are text: nothing is won by a format of our own. `decode` never
 * throws: it answers a message in which every field has its type and its bounds, or undefined. Fields that it does not
 * know are skipped, kinds of messages that it does not know are undefined.
 */
import { Buffer } from "node:buffer"

/** Names a definition. */
export interface DefinitionId {
  /** `tenant`, `trigger`, `script`; others come from newer instances, and are passed on. */
  readonly kind: string
  /** The tenant whose it is, by its id; "" for nobody's. */
  readonly owner: string
  readonly name: string
}

export interface Definition extends DefinitionId {
  readonly version: number
  /** The origin that has made it. Order of two of one id: version first, then author. */
  readonly author: number
  /**
   * The version with which this came anew after it had been removed, else 0: what it owns and is not younger belongs to
   * the one before, and is void.
   */
  readonly since: number
  /** Text; null where it was removed. */
  readonly body: string | null
}

/** A definition without what it says. */
export type Stamp = readonly [hash: number, version: number, author: number]

export type DefinitionMessage =
  /** A sum of the stamps of each bucket of hashes; the same of the receiver is expected back where `wantsAnswer`. */
  | { readonly type: "digest"; readonly wantsAnswer: boolean; readonly sums: readonly number[] }
  /** The stamps of a bucket: a part of them where `isWhole` is false, and then no answer is expected. */
  | {
      readonly type: "stamps"
      readonly bucket: number
      readonly isWhole: boolean
      readonly stamps: readonly Stamp[]
    }
  /** Asks for the definitions of these hashes. */
  | { readonly type: "ask"; readonly hashes: readonly number[] }
  /** Definitions. As an answer: of hashes that are not here, these; and whether that is the end of it. */
  | {
      readonly type: "definitions"
      readonly definitions: readonly Definition[]
      readonly unknown: readonly number[]
      readonly isAnswer: boolean
    }

/** Buckets of hashes in a digest: of 100,000 definitions each has some 1,600, whose stamps are 60 KB. */
export const bucketCount = 64

/** Bytes of a body, as a JSON string: a source of 64 KB in which every byte has to be escaped. */
export const bodyBytesMax = 512 * 1024

const listMax = 100_000 // stamps or hashes in a message; more is nobody's
const numberMax = 2 ** 47 // as the protocol's: a higher version would be the last word

export const encodeMessage = (message: DefinitionMessage): Uint8Array => Buffer.from(JSON.stringify(message))

export const decodeMessage = (payload: Uint8Array): DefinitionMessage | undefined => {
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString())
  } catch {
    return undefined
  }
  return messageOf(json)
}

const messageOf = (json: unknown): DefinitionMessage | undefined => {
  if (!isRecord(json)) return undefined
  const { type, wantsAnswer, sums, bucket, isWhole, stamps, hashes, definitions, unknown, isAnswer } = json
  switch (type) {
    case "digest":
      return typeof wantsAnswer === "boolean" && isListOf(sums, isNumber) && sums.length === bucketCount
        ? { type, wantsAnswer, sums }
        : undefined
    case "stamps":
      return isNumber(bucket) && bucket < bucketCount && typeof isWhole === "boolean" && isListOf(stamps, isStamp)
        ? { type, bucket, isWhole, stamps }
        : undefined
    case "ask":
      return isListOf(hashes, isNumber) ? { type, hashes } : undefined
    case "definitions":
      return isListOf(definitions, isDefinition) && isListOf(unknown, isNumber) && typeof isAnswer === "boolean"
        ? { type, definitions, unknown, isAnswer }
        : undefined
    default:
      return undefined
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null

const isListOf = <A>(value: unknown, is: (item: unknown) => item is A): value is readonly A[] =>
  Array.isArray(value) && value.length <= listMax && value.every(is)

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const isVersion = (value: unknown): value is number => isNumber(value) && value <= numberMax

const isStamp = (value: unknown): value is Stamp =>
  Array.isArray(value) && value.length >= 3 && isNumber(value[0]) && isVersion(value[1]) && isNumber(value[2])

export const isDefinition = (value: unknown): value is Definition => {
  if (!isRecord(value)) return false
  const { kind, owner, name, version, author, since, body } = value
  return (
    isText(kind, 16) &&
    isText(owner, 64) &&
    isText(name, 128) &&
    isVersion(version) &&
    isNumber(author) &&
    isVersion(since) &&
    (body === null || isText(body, bodyBytesMax))
  )
}

const isText = (value: unknown, lengthMax: number): value is string =>
  typeof value === "string" && value.length <= lengthMax
