export { BytePool } from "./BytePool.ts"
export { allCauses, allInterests, Cause, type CauseName, causeBit, causeNames } from "./Cause.ts"
export { CompiledGlob } from "./CompiledGlob.ts"
export { EventLog, eventLogBytesDefault } from "./EventLog.ts"
export { Freshness } from "./Freshness.ts"
export { type Gate, PendingWrite } from "./Gate.ts"
export { globMatches, isLiteral } from "./Glob.ts"
export { type EventOrigin, type EventSink, isPeers, KeyEvent } from "./KeyEvent.ts"
export { bucketOf, KeyHash, prefixBytesMax, prefixesMax } from "./KeyHash.ts"
export {
  type Clock,
  Entry,
  EntrySource,
  entryBytes,
  entrySize,
  Keyspace,
  type KeyspaceOptions,
  SetFlag
} from "./Keyspace.ts"
export { Lease } from "./Lease.ts"
export { type Pattern, PatternError, parsePattern, patternMatches } from "./Pattern.ts"
export { globBytesMax, globsMax, Match, PatternTrie, unmatched, type Watcher } from "./PatternTrie.ts"
export type { Replica } from "./Replica.ts"
export {
  byteSize,
  bytesMark,
  type Meta,
  metaByteSize,
  type Nested,
  noMeta,
  type Structured,
  sameValue,
  toFloat,
  type Value,
  type ValueArray,
  type ValueMap,
  type ValueObject,
  type WholeFloat,
  withPlainKeys
} from "./Value.ts"
