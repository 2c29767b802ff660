/** Options that several commands share: times to live and metadata. */
import { InvalidJson, InvalidValue } from "../cache/CacheError.ts"
import { int64Max, int64Min, parseInt64 } from "../cache/Int64.ts"
import { fromJson, toMetadata, toText } from "../cache/Values.ts"
import type { ValueObject } from "../kernel/index.ts"
import type { Client } from "./Client.ts"
import { RespError } from "./RespError.ts"

/** How an expiry is given: relative or absolute, in seconds or milliseconds. */
export interface ExpiryUnit {
  readonly isAbsolute: boolean
  readonly unitMs: 1 | 1000
}

export const expiryUnits: Readonly<Record<string, ExpiryUnit>> = {
  ex: { isAbsolute: false, unitMs: 1000 },
  px: { isAbsolute: false, unitMs: 1 },
  exat: { isAbsolute: true, unitMs: 1000 },
  pxat: { isAbsolute: true, unitMs: 1 }
}

/**
 * The instant at which a value stored now expires, in ms since the epoch; it is above zero. Where the text is no time
 * above zero, the error is answered and undefined returned. Source: Redis 7.0, t_string.c, getExpireMillisecondsOrReply.
 */
export const parseExpiry = (client: Client, text: string, unit: ExpiryUnit, command: string): number | undefined => {
  const value = parseInt64(text)
  if (value === undefined) {
    client.fail(RespError.notInteger)
    return undefined
  }
  if (typeof value === "number" && value > 0 && value < plainMax) {
    return unit.isAbsolute ? value * unit.unitMs : client.server.clock.nowMs() + value * unit.unitMs
  }
  const atMs = toInstant(client, value, unit)
  if (value <= 0 || atMs === undefined || atMs <= 0) {
    client.fail(RespError.invalidExpire(command))
    return undefined
  }
  return atMs
}

/** The instant as a number, exact up to 2^53; undefined where it does not fit into 64 bits. */
export const toInstant = (client: Client, value: number | bigint, unit: ExpiryUnit): number | undefined => {
  const base = unit.isAbsolute ? 0n : BigInt(client.server.clock.nowMs())
  const scaled = BigInt(value) * BigInt(unit.unitMs)
  if (scaled > int64Max || scaled < int64Min || scaled > int64Max - base) return undefined
  return Number(scaled + base)
}

/** What META is given: a JSON object, as the kernel keeps it. Undefined where it is none, too large or too deep. */
export const parseMetadata = (json: string): ValueObject | undefined => {
  const text = toText(json)
  if (text === undefined || json.length > metadataBytesMax) return undefined
  const read = fromJson(text)
  const metadata = read instanceof InvalidJson ? read : toMetadata(read)
  return metadata instanceof InvalidJson || metadata instanceof InvalidValue ? undefined : metadata
}

const plainMax = 1e12 // seconds or ms; below, every sum and product is an exact number
const metadataBytesMax = 64 * 1024 // it rides along with every event of the key
