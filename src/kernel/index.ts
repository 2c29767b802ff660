export { allCauses, Cause, type CauseName, causeBit, causeNames } from "./Cause.ts"
export { EventLog } from "./EventLog.ts"
export { type EventOrigin, type EventSink, KeyEvent } from "./KeyEvent.ts"
export { type Clock, Entry, entryBytes, Keyspace, type KeyspaceOptions, SetFlag } from "./Keyspace.ts"
export { type Pattern, PatternError, parsePattern } from "./Pattern.ts"
export { Match, PatternTrie, unmatched, type Watcher } from "./PatternTrie.ts"
export {
  byteSize,
  type Meta,
  metaByteSize,
  type Nested,
  noMeta,
  type Structured,
  sameValue,
  type Value,
  type ValueArray,
  type ValueMap,
  type ValueObject
} from "./Value.ts"
