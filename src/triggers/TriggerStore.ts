/**
 * Where the registered triggers outlive the process, with their versions: two documents in the data directory, until the
 * durable log comes.
 *
 * `triggers.json` holds all of them as they once were, `triggers-recent.json` those that changed since. A change writes
 * the small one; when that has grown to about the square root of the large one, the large one is written anew. So ten
 * thousand registrations one after the other write some hundred times what they hold, not ten thousand times. Whoever
 * stops between the two writes finds changes that the large document has already, which is no harm.
 *
 * A process writes them. Those who ask while it is busy are answered by the next write together.
 */
import { Context, Effect, Layer, Request, Schema } from "effect"
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

/** Knows what there is to be saved. */
export interface TriggersToSave {
  /** What is kept of a name; anything else than a history where it is gone. */
  history(name: string): TriggerHistory | object
  histories(): readonly TriggerHistory[]
}

/** What was saved of a name, and the file in which it stands. */
export interface SavedTrigger {
  readonly history: TriggerHistory
  readonly path: string
}

export interface TriggerStoreService {
  /** The triggers that were saved last; none on a first start. */
  readonly saved: readonly SavedTrigger[]
  /** Returns when a change of the trigger of this name would survive a crash of the machine. */
  readonly save: (name: string, triggers: TriggersToSave) => Effect.Effect<void, TriggersNotSaved>
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
      for (const history of all.initial ?? []) {
        const name = nameOf(history)
        if (saved.has(name)) yield* namedTwice(name, all.path)
        saved.set(name, { history, path: all.path })
      }
      const changed = new Map<string, TriggerHistory | null>()
      for (const { name, history } of recent.initial ?? []) {
        if (changed.has(name)) yield* namedTwice(name, recent.path)
        changed.set(name, history)
        if (history === null) saved.delete(name)
        else saved.set(name, { history, path: recent.path })
      }
      for (const [name, each] of saved) yield* check(name, each)
      const names = Registry.unsafeMake({ keys: "unique" })
      const name = Registry.via<GenServer.RefOf<WriterProtocol>>(names, "storage")
      // Kept here, above the process: what it has written is to be written again when it was restarted.
      const files: Files = { all, recent, changed, savedCount: saved.size }
      return {
        saved: [...saved.values()],
        save: (changedName, triggers) =>
          GenServer.call(name, new Save({ name: changedName, triggers })).pipe(
            Effect.mapError((cause) => (cause instanceof TriggersNotSaved ? cause : new TriggersNotSaved({ cause })))
          ),
        children: [GenServer.childSpec(Writer, files, { name })]
      }
    })
  )
}

/** The name of what is kept: that of the version that runs. */
export const nameOf = ({ live, versions }: TriggerHistory): string =>
  (versions.find(({ version }) => version === live) ?? versions[0])?.definition.name ?? ""

/** Whoever has edited a file by hand is told what is wrong in it. */
export const corruptTrigger = (name: string, path: string, reason: string): FileCorrupt =>
  new FileCorrupt({ path, reason: `the trigger '${name}': ${reason}` })

const namedTwice = (name: string, path: string): FileCorrupt =>
  corruptTrigger(name, path, "it stands there twice; keep one of them, with the versions of both if need be")

const check = (name: string, { history, path }: SavedTrigger): Effect.Effect<void, FileCorrupt> =>
  Effect.gen(function* () {
    const { live, versions } = history
    const corrupt = (reason: string) => corruptTrigger(name, path, reason)
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

const allDocument: VersionedDocument<readonly TriggerHistory[], readonly TriggerHistory[]> = {
  kind: "triggers",
  version: 2,
  schema: Schema.Array(TriggerHistoryJson),
  earlier: [
    {
      version: 1,
      schema: Schema.transform(DefinitionsJson, Schema.typeSchema(Schema.Array(TriggerHistoryJson)), {
        strict: true,
        decode: (definitions) => definitions.map((each) => firstVersion({ ...optionsDefault, ...each })),
        encode: () => []
      })
    }
  ]
}

const firstVersion = (definition: TriggerDefinition): TriggerHistory => ({
  live: 1,
  versions: [{ version: 1, registeredAtMs: 0, definition }]
})

interface Change {
  readonly name: string
  /** Null for one that is gone. */
  readonly history: TriggerHistory | null
}

const recentDocument: VersionedDocument<readonly Change[], readonly Change[]> = {
  kind: "triggers-recent",
  version: 1,
  schema: Schema.Array(Schema.Struct({ name: Schema.String, history: Schema.NullOr(TriggerHistoryJson) }))
}

interface Files {
  readonly all: DocumentFile<readonly TriggerHistory[]>
  readonly recent: DocumentFile<readonly Change[]>
  /** What has changed since `all` was written. */
  readonly changed: Map<string, TriggerHistory | null>
  savedCount: number
}

class Save extends Request.TaggedClass("Save")<
  void,
  TriggersNotSaved,
  { readonly name: string; readonly triggers: TriggersToSave }
> {}

interface WriterProtocol extends GenServer.Protocol {
  readonly call: Save
}

interface WriterState {
  readonly files: Files
  /** Who waits for the next write. */
  waiting: Array<GenServer.FromOf<Save>>
  /** What they want to be written. */
  names: Set<string>
  triggers: TriggersToSave | null
  writes: number
}

const Writer = GenServer.define<WriterProtocol>()({
  name: "storage",
  init: (files: Files) =>
    GenServer.Ok<WriterState>({ files, waiting: [], names: new Set(), triggers: null, writes: 0 }),
  handleCall: {
    Save: ({ name, triggers }, state, from) => {
      state.waiting.push(from)
      state.names.add(name)
      state.triggers = triggers
      return GenServer.NoReply(state, whenNobodyElseAsks)
    }
  },
  handleInfo: (message, state) => (message._tag === "Timeout" ? write(state) : GenServer.NoReply(state)),
  inspect: ({ files, writes }) => ({ path: files.all.path, recent: files.changed.size, writes })
})

/** The write comes when the mailbox is empty, and answers all that were in it. They wait for it, so it does get empty. */
const whenNobodyElseAsks = { timeout: 0 }

const write = (state: WriterState) =>
  Effect.gen(function* () {
    const { files, names, triggers, waiting } = state
    if (triggers === null) return GenServer.NoReply(state)
    state.waiting = []
    state.names = new Set()
    state.writes++
    const failure = yield* writeFiles(files, names, triggers).pipe(
      Effect.as(undefined),
      Effect.catchAllCause((cause) => Effect.succeed(new TriggersNotSaved({ cause })))
    )
    for (const from of waiting) {
      yield* failure === undefined ? GenServer.reply(from, undefined) : GenServer.replyFail(from, failure)
    }
    return GenServer.NoReply(state)
  })

const writeFiles = (files: Files, names: Iterable<string>, triggers: TriggersToSave): Effect.Effect<void, StorageIo> =>
  Effect.suspend(() => {
    const { all, recent, changed } = files
    for (const name of names) {
      const history = triggers.history(name)
      changed.set(name, "versions" in history ? (history as TriggerHistory) : null)
    }
    if (changed.size <= Math.max(recentMin, Math.sqrt(files.savedCount))) {
      return recent.replace(Array.from(changed, ([name, history]) => ({ name, history })))
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

const recentMin = 32 // triggers; below, writing all of them costs as little
