/**
 * Where the registered triggers outlive the process, with their versions: two documents in the data directory, until
 * the durable log comes.
 *
 * `triggers.json` holds all of them as they once were, `triggers-recent.json` those that changed since. A change writes
 * the small one; when that has grown to about the square root of the large one, the large one is written anew. So ten
 * thousand registrations one after the other write some hundred times what they hold, not ten thousand times. Whoever
 * stops between the two writes finds changes that the large document has already, which is no harm.
 *
 * A process writes them. Those who ask while it is busy are answered by the next write together.
 */
import { Cause, Context, Effect, Layer, Request, Schema } from "effect"
import { GenServer, type Process, Registry, type Supervisor } from "../actor/index.ts"
import {
  DataDirectory,
  type DocumentFile,
  FileCorrupt,
  type StorageError,
  type StorageIo,
  type VersionedDocument
} from "../storage/index.ts"
import { defineTrigger, optionsDefault, type TriggerDefinition, triggerEventNames, triggerScopes } from "./Trigger.ts"
import { InvalidTrigger, TriggersNotSaved } from "./TriggerError.ts"
import type { TriggerHistory } from "./TriggerRegistry.ts"

/** Names a tenant in what may outlive it. Another one of this id, later, was made at another time. */
export interface TenantRef {
  readonly id: string
  readonly createdAtMs: number
}

export const refOf = ({ id, createdAtMs }: TenantRef): TenantRef => ({ id, createdAtMs })

/** What is kept of a name, and whose it is; null for no tenant's. */
export interface SavedHistory {
  readonly tenant: TenantRef | null
  readonly history: TriggerHistory
}

/** Knows what there is to be saved. */
export interface TriggersToSave {
  /** What is kept of a name; null where it is gone. */
  history(tenant: TenantRef | null, name: string): TriggerHistory | null
  histories(): readonly SavedHistory[]
}

/** What was saved of a name, and the file in which it stands. */
export interface SavedTrigger extends SavedHistory {
  readonly path: string
}

export interface TriggerStoreService {
  /** The triggers that were saved last; none on a first start. */
  readonly saved: readonly SavedTrigger[]
  /** Returns when a change of the trigger of this name would survive a crash of the machine. */
  readonly save: (
    tenant: TenantRef | null,
    name: string,
    triggers: TriggersToSave
  ) => Effect.Effect<void, TriggersNotSaved>
  /**
   * Has changes of these names written that nobody waits for: soon, or with what is written next. Where it comes to
   * nothing, what is left of a tenant that is gone is harmless: it is nobody's.
   */
  readonly note: (tenant: TenantRef, names: readonly string[], triggers: TriggersToSave) => void
  /** The process that writes, where there is one. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class TriggerStore extends Context.Tag("mimosa-cache/triggers/TriggerStore")<
  TriggerStore,
  TriggerStoreService
>() {
  /** Keeps nothing: for a library that registers its triggers in code. */
  static readonly layerNone: Layer.Layer<TriggerStore> = Layer.succeed(TriggerStore, {
    saved: [],
    save: () => Effect.void,
    note: () => {},
    children: []
  })

  /** Keeps them in the data directory. What is there and cannot be read is an error, never overwritten. */
  static readonly layer: Layer.Layer<TriggerStore, StorageError, DataDirectory.DataDirectory> = Layer.effect(
    TriggerStore,
    Effect.gen(function* () {
      const directory = yield* DataDirectory.DataDirectory
      const all = yield* directory.open(allDocument)
      const recent = yield* directory.open(recentDocument)
      const saved = new Map<string, SavedTrigger>()
      for (const each of all.initial ?? []) {
        const key = keyOf(each.tenant, nameOf(each.history))
        if (saved.has(key)) yield* savedTwice(each.tenant, nameOf(each.history), all.path)
        saved.set(key, { ...each, path: all.path })
      }
      const changed = new Map<string, Change>()
      for (const change of recent.initial ?? []) {
        const { tenant, name, history } = change
        const key = keyOf(tenant, name)
        if (changed.has(key)) yield* savedTwice(tenant, name, recent.path)
        changed.set(key, change)
        if (history === null) saved.delete(key)
        else saved.set(key, { tenant, history, path: recent.path })
      }
      for (const [key, each] of saved) yield* check(key, each)
      const names = Registry.unsafeMake({ keys: "unique" })
      const name = Registry.via<GenServer.RefOf<WriterProtocol>>(names, "storage")
      // Kept here, above the process: what it has written is to be written again when it was restarted.
      const files: Files = { all, recent, changed, savedCount: saved.size }
      return {
        saved: [...saved.values()],
        save: (tenant, changedName, triggers) =>
          GenServer.call(name, new Save({ changes: [{ tenant, name: changedName }], triggers })).pipe(
            Effect.mapError((cause) => (cause instanceof TriggersNotSaved ? cause : new TriggersNotSaved({ cause })))
          ),
        note: (tenant, changedNames, triggers) => {
          const changes = changedNames.map((each) => ({ tenant, name: each }))
          if (!GenServer.unsafeOffer(name, { changes, triggers })) apply(changes, triggers, changed)
        },
        children: [GenServer.childSpec(Writer, files, { name })]
      }
    })
  )
}

/** The name of what is kept: that of the version that runs. */
export const nameOf = ({ live, versions }: TriggerHistory): string =>
  (versions.find(({ version }) => version === live) ?? versions[0])?.definition.name ?? ""

/** Whoever has edited a file by hand is told what is wrong in it. */
export const corruptTrigger = (tenant: TenantRef | null, name: string, path: string, reason: string): FileCorrupt => {
  const owner = tenant === null ? "" : ` of the tenant '${tenant.id}'`
  return new FileCorrupt({ path, reason: `the trigger '${name}'${owner}: ${reason}` })
}

const savedTwice = (tenant: TenantRef | null, name: string, path: string): FileCorrupt =>
  corruptTrigger(tenant, name, path, "it stands there twice; keep one of them, with the versions of both if need be")

/** Neither ids nor names have a slash. */
const keyOf = (tenant: TenantRef | null, name: string): string => `${tenant === null ? "" : tenant.id}/${name}`

const check = (key: string, { tenant, history, path }: SavedTrigger): Effect.Effect<void, FileCorrupt> =>
  Effect.gen(function* () {
    const { live, versions } = history
    const name = key.slice(key.indexOf("/") + 1)
    const corrupt = (reason: string) => corruptTrigger(tenant, name, path, reason)
    if (!versions.some(({ version }) => version === live)) yield* corrupt(`there is no version ${live}, which runs`)
    for (const { definition } of versions) {
      const refused = defineTrigger(definition)
      if (refused instanceof InvalidTrigger) yield* corrupt(refused.message)
      if (definition.name !== name) yield* corrupt(`a version of it has the name '${definition.name}'`)
    }
  })

const definitionFields = {
  name: Schema.String,
  pattern: Schema.String,
  events: Schema.Array(Schema.Literal(...triggerEventNames)),
  source: Schema.String,
  timeoutUs: Schema.Int,
  memoryBytes: Schema.Int,
  priority: Schema.Int
}

const TriggerHistoryJson = Schema.Struct({
  live: Schema.Int,
  versions: Schema.Array(
    Schema.Struct({
      version: Schema.Int,
      registeredAtMs: Schema.Number,
      definition: Schema.Struct({
        ...definitionFields,
        whenChanged: Schema.Boolean,
        sample: Schema.Int,
        includeFill: Schema.Boolean,
        includeFlush: Schema.Boolean,
        scope: Schema.Literal(...triggerScopes),
        failClosed: Schema.Boolean,
        isolate: Schema.Boolean,
        isEnabled: Schema.Boolean
      })
    })
  )
})

/** The first format: definitions without versions, and fewer options. */
const DefinitionsJson = Schema.Array(Schema.Struct(definitionFields))

const TenantJson = Schema.NullOr(Schema.Struct({ id: Schema.String, createdAtMs: Schema.Number }))
const SavedHistoryJson = Schema.Struct({ tenant: TenantJson, history: TriggerHistoryJson })
const ChangeJson = Schema.Struct({
  tenant: TenantJson,
  name: Schema.String,
  /** Null for one that is gone. */
  history: Schema.NullOr(TriggerHistoryJson)
})
type Change = typeof ChangeJson.Type

/** A format that is only read. */
const earlierFormat = <Old, I, A>(schema: Schema.Schema<Old, I>, now: Schema.Schema<A>, upgrade: (old: Old) => A) =>
  Schema.transform(schema, Schema.typeSchema(now), {
    strict: true,
    decode: upgrade,
    encode: (): Old => {
      throw new Error("what is written has the format of now")
    }
  })

const allDocument: VersionedDocument<readonly SavedHistory[], readonly SavedHistory[]> = {
  kind: "triggers",
  version: 3,
  schema: Schema.Array(SavedHistoryJson),
  earlier: [
    {
      version: 2,
      schema: earlierFormat(Schema.Array(TriggerHistoryJson), Schema.Array(SavedHistoryJson), (histories) =>
        histories.map((history) => ({ tenant: null, history }))
      )
    },
    {
      version: 1,
      schema: earlierFormat(DefinitionsJson, Schema.Array(SavedHistoryJson), (definitions) =>
        definitions.map((each) => ({ tenant: null, history: firstVersion({ ...optionsDefault, ...each }) }))
      )
    }
  ]
}

const firstVersion = (definition: TriggerDefinition): TriggerHistory => ({
  live: 1,
  versions: [{ version: 1, registeredAtMs: 0, definition }]
})

const recentDocument: VersionedDocument<readonly Change[], readonly Change[]> = {
  kind: "triggers-recent",
  version: 2,
  schema: Schema.Array(ChangeJson),
  earlier: [
    {
      version: 1,
      schema: earlierFormat(
        Schema.Array(Schema.Struct({ name: Schema.String, history: Schema.NullOr(TriggerHistoryJson) })),
        Schema.Array(ChangeJson),
        (changes) => changes.map((change) => ({ tenant: null, ...change }))
      )
    }
  ]
}

interface Files {
  readonly all: DocumentFile<readonly SavedHistory[]>
  readonly recent: DocumentFile<readonly Change[]>
  /** What has changed since `all` was written. */
  readonly changed: Map<string, Change>
  savedCount: number
}

type Named = Pick<Change, "tenant" | "name">

/** Whose triggers have changed, and which. */
interface Changed {
  readonly changes: readonly Named[]
  readonly triggers: TriggersToSave
}

class Save extends Request.TaggedClass("Save")<void, TriggersNotSaved, Changed> {}

interface WriterProtocol extends GenServer.Protocol {
  readonly call: Save
  readonly cast: Changed
}

interface WriterState {
  readonly files: Files
  /** Who waits for the next write. */
  waiting: Array<GenServer.FromOf<Save>>
  /** What it is to write, by key. */
  changes: Map<string, Named>
  triggers: TriggersToSave | null
  writes: number
}

const Writer = GenServer.define<WriterProtocol>()({
  name: "storage",
  init: (files: Files) =>
    GenServer.Ok<WriterState>({ files, waiting: [], changes: new Map(), triggers: null, writes: 0 }),
  handleCall: {
    Save: (changed, state, from) => {
      state.waiting.push(from)
      return take(changed, state)
    }
  },
  handleCast: take,
  handleInfo: (message, state) => (message._tag === "Timeout" ? write(state) : GenServer.NoReply(state)),
  inspect: ({ files, writes }) => ({ path: files.all.path, recent: files.changed.size, writes })
})

/**
 * The write comes when the mailbox is empty, and answers all that were in it. They wait for it, so it does get empty.
 */
const whenNobodyElseAsks = { timeout: 0 }

function take({ changes, triggers }: Changed, state: WriterState) {
  for (const change of changes) state.changes.set(keyOf(change.tenant, change.name), change)
  state.triggers = triggers
  return GenServer.NoReply(state, whenNobodyElseAsks)
}

const write = (state: WriterState) =>
  Effect.gen(function* () {
    const { files, changes, triggers, waiting } = state
    if (triggers === null) return GenServer.NoReply(state)
    state.waiting = []
    state.changes = new Map()
    state.writes++
    const failure = yield* writeFiles(files, changes, triggers).pipe(
      Effect.as(undefined),
      Effect.catchAllCause((cause) => Effect.succeed(new TriggersNotSaved({ cause: Cause.squash(cause) })))
    )
    for (const from of waiting) {
      yield* failure === undefined ? GenServer.reply(from, undefined) : GenServer.replyFail(from, failure)
    }
    return GenServer.NoReply(state)
  })

const writeFiles = (
  files: Files,
  changes: WriterState["changes"],
  triggers: TriggersToSave
): Effect.Effect<void, StorageIo> =>
  Effect.suspend(() => {
    const { all, recent, changed } = files
    apply(changes.values(), triggers, changed)
    if (changed.size <= Math.max(recentMin, Math.sqrt(files.savedCount))) {
      return recent.replace([...changed.values()])
    }
    const histories = triggers.histories()
    return Effect.zipRight(
      all.replace(histories),
      Effect.suspend(() => {
        changed.clear()
        files.savedCount = histories.length
        return recent.replace([])
      })
    )
  })

const apply = (changes: Iterable<Named>, triggers: TriggersToSave, to: Files["changed"]): void => {
  for (const { tenant, name } of changes) {
    to.set(keyOf(tenant, name), { tenant, name, history: triggers.history(tenant, name) })
  }
}

const recentMin = 32 // triggers; below, writing all of them costs as little
